// Which sockets are there in this network namespace, and how is one destroyed (sock_diag(7), inet_diag)? Pure encoding and parsing.

import { addressText } from '../address.ts';
import type { Address } from '../model/model.ts';
import { encodeMessage, messagesIn, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST, viewOf } from './netlink.ts';

const SOCK_DIAG_BY_FAMILY = 20;
/** kernel 4.5, where CONFIG_INET_DIAG_DESTROY is set. */
const SOCK_DESTROY = 21;

export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;
const AF_INET = 2;
const AF_INET6 = 10;
export const AF_BOTH = [AF_INET, AF_INET6] as const;

/** Bits of socket states (net/tcp_states.h): a connected socket, an unconnected UDP socket, a listener. */
export const ESTABLISHED = 1 << 1;
export const UNCONNECTED = 1 << 7;
export const LISTENING = 1 << 10;

/** struct inet_diag_msg: 4 bytes, then struct inet_diag_sockid of 48. */
const SOCKID_AT = 4;
const SOCKID_SIZE = 48;
const REQUEST_SIZE = 8 + SOCKID_SIZE;

/** A socket of this namespace. */
export interface SocketEntry {
  readonly family: number;
  readonly cookie: bigint;
  readonly port: number;
  readonly peerAddress: Address;
  readonly peerPort: number;
  /** struct inet_diag_sockid as the kernel gave it: its name when it is to be destroyed. */
  readonly id: Uint8Array;
}

/** Asks for the sockets of a family (AF_INET, AF_INET6) and protocol in the states of the mask. */
export function socketsRequest(family: number, protocol: number, states: number): Uint8Array {
  const fixed = new Uint8Array(REQUEST_SIZE);
  fixed[0] = family;
  fixed[1] = protocol;
  viewOf(fixed).setUint32(4, states, true);
  return encodeMessage(SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, fixed);
}

/** Destroys exactly this socket: the kernel compares the cookie. Its process gets ECONNABORTED. */
export function destroyRequest(socket: SocketEntry, protocol: number): Uint8Array {
  const fixed = new Uint8Array(REQUEST_SIZE);
  fixed[0] = socket.family;
  fixed[1] = protocol;
  viewOf(fixed).setUint32(4, 0xffffffff, true);
  fixed.set(socket.id, 8);
  return encodeMessage(SOCK_DESTROY, NLM_F_REQUEST | NLM_F_ACK, fixed);
}

/** The sockets in the answer to socketsRequest. */
export function* socketsIn(answer: Uint8Array): Generator<SocketEntry> {
  for (const { body } of messagesIn(answer)) {
    const view = viewOf(body);
    const family = view.getUint8(0);
    const addressSize = family === AF_INET ? 4 : 16;
    yield {
      family,
      cookie: view.getBigUint64(SOCKID_AT + 40, true),
      port: view.getUint16(SOCKID_AT, false),
      peerAddress: addressText(body.subarray(SOCKID_AT + 20, SOCKID_AT + 20 + addressSize)),
      peerPort: view.getUint16(SOCKID_AT + 2, false),
      id: body.subarray(SOCKID_AT, SOCKID_AT + SOCKID_SIZE),
    };
  }
}
