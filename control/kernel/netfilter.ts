// What does the kernel's own packet filter hold? Tables and chains by name, and the connections that it translates, asked by netlink and
// not by tools, which a node need not have. Pure encodings, and the questions that use them.

import { addressBytes, addressText } from '../address.ts';
import type { Address } from '../model/model.ts';
import type { Native } from './native.ts';
import { attributesIn, encodeMessage, messagesIn, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from './netlink.ts';

export const NETLINK_NETFILTER = 12;

/** linux/netfilter/nfnetlink.h: subsystems. */
const CONNTRACK = 1;
const NFTABLES = 10;
const NLM_F_EXCL = 0x200;
const NLM_F_CREATE = 0x400;
const [CONNTRACK_NEW, CONNTRACK_GET] = [0, 1];
const [GET_TABLE, DELETE_TABLE, GET_CHAIN] = [1, 2, 4];
const [BATCH_BEGIN, BATCH_END] = [16, 17];
const [IPS_SRC_NAT, IPS_DST_NAT] = [1 << 4, 1 << 5];

/** Address families of netfilter. */
export const NFPROTO = { ip: 2, ip6: 10 } as const;
export type NetfilterFamily = keyof typeof NFPROTO;

const text = (value: string) => new TextEncoder().encode(`${value}\0`);

/** struct nfgenmsg. */
function generic(family: number, resource = 0): Uint8Array {
  return Uint8Array.of(family, 0, resource >> 8, resource & 0xff);
}

/** Does the netfilter socket know it? No such table, chain, or no nf_tables in this kernel: no. */
function knows(native: Native, netlink: number, message: Uint8Array): boolean {
  try {
    native.netlinkRequest(netlink, message);
    return true;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (['ENOENT', 'EOPNOTSUPP', 'EINVAL', 'EAFNOSUPPORT', 'EPROTONOSUPPORT'].includes(code)) return false;
    throw error;
  }
}

/** Is there an nftables table of that name? */
export function hasTable(native: Native, netlink: number, family: NetfilterFamily, name: string): boolean {
  return knows(native, netlink, encodeMessage((NFTABLES << 8) | GET_TABLE, NLM_F_REQUEST, generic(NFPROTO[family]), [[1, text(name)]]));
}

/** Is there such a chain? iptables' tables are nftables' by the same names, where iptables is the nft one. */
export function hasChain(native: Native, netlink: number, family: NetfilterFamily, table: string, name: string): boolean {
  const attributes: [number, Uint8Array][] = [
    [1, text(table)],
    [3, text(name)],
  ];
  return knows(native, netlink, encodeMessage((NFTABLES << 8) | GET_CHAIN, NLM_F_REQUEST, generic(NFPROTO[family]), attributes));
}

/** Does a chain of another table than this one translate addresses in that family? The kernel translates for as long as there is one. */
export function hasOtherNat(native: Native, netlink: number, family: NetfilterFamily, table: string): boolean {
  const [inet, wanted] = [1, NFPROTO[family]];
  const answer = native.netlinkRequest(netlink, encodeMessage((NFTABLES << 8) | GET_CHAIN, NLM_F_REQUEST | NLM_F_DUMP, generic(0)));
  for (const { body } of messagesIn(answer)) {
    const attributes = attributesIn(body, 4);
    const [type, owner] = [7, 1].map((attribute) => new TextDecoder().decode(attributes.get(attribute)).replace(/\0$/, ''));
    if (type === 'nat' && (body[0] === wanted || body[0] === inet) && !(body[0] === wanted && owner === table)) return true;
  }
  return false;
}

/** Removes an nftables table with all that is in it, in one transaction. */
export function deleteTable(native: Native, netlink: number, family: NetfilterFamily, name: string): void {
  const begin = encodeMessage(BATCH_BEGIN, NLM_F_REQUEST, generic(0, NFTABLES));
  const table = encodeMessage((NFTABLES << 8) | DELETE_TABLE, NLM_F_REQUEST | NLM_F_ACK, generic(NFPROTO[family]), [[1, text(name)]]);
  const end = encodeMessage(BATCH_END, NLM_F_REQUEST, generic(0, NFTABLES));
  native.netlinkRequest(netlink, Buffer.concat([begin, table, end]));
}

const SOL_IP = { ip: 0, ip6: 41 } as const;
const [GET_INFO, GET_ENTRIES] = [64, 65];
const INFO_SIZE = 84;
/** A table that somebody writes between its size and its contents is asked again. */
const TRIES = 10;
const NAME_SIZE = 32;

/**
 * Does a table of the older iptables (x_tables) have a chain of that name? A user's chain begins with its name in the table's bytes. undefined:
 * it may not be looked at. Only for tables that are there: the question would make one.
 */
export function hasLegacyChain(native: Native, family: NetfilterFamily, table: string, name: string): boolean | undefined {
  for (let tries = 0; tries < TRIES; tries++) {
    try {
      const question = new Uint8Array(INFO_SIZE);
      question.set(text(table));
      const info = native.socketOption(NFPROTO[family], SOL_IP[family], GET_INFO, question);
      const size = new DataView(info.buffer, info.byteOffset).getUint32(INFO_SIZE - 4, true);
      const entries = new Uint8Array(NAME_SIZE + 8 + size);
      entries.set(text(table));
      new DataView(entries.buffer).setUint32(NAME_SIZE, size, true);
      const answer = native.socketOption(NFPROTO[family], SOL_IP[family], GET_ENTRIES, entries);
      return Buffer.from(answer.buffer, answer.byteOffset, answer.length).includes(Buffer.from(text(name)));
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : '';
      if (code === 'EAGAIN') continue;
      if (code === 'EPERM') return undefined;
      if (code === 'ENOENT' || code === 'ENOPROTOOPT') return false;
      throw error;
    }
  }
  return undefined;
}

/** One end of a connection's tuple. */
export interface Tuple {
  readonly source: Address;
  readonly destination: Address;
  readonly protocol: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
}

/** A connection that netfilter translates. */
export interface Translated {
  /** As its client sent it. */
  readonly request: Tuple;
  /** As its answer arrives. */
  readonly reply: Tuple;
  /** The client's address or port was changed. */
  readonly masqueraded: boolean;
  /** The destination was. */
  readonly redirected: boolean;
}

function tupleOf(bytes: Uint8Array | undefined): Tuple | undefined {
  if (bytes === undefined) return undefined;
  const parts = attributesIn(bytes);
  const ip = attributesIn(parts.get(1) ?? new Uint8Array());
  const proto = attributesIn(parts.get(2) ?? new Uint8Array());
  const [source, destination] = [ip.get(1) ?? ip.get(3), ip.get(2) ?? ip.get(4)];
  const port = (value: Uint8Array | undefined) => (value === undefined ? 0 : (value[0]! << 8) | value[1]!);
  const protocol = proto.get(1)?.[0];
  if (source === undefined || destination === undefined || protocol === undefined) return undefined;
  return {
    source: addressText(source),
    destination: addressText(destination),
    protocol,
    sourcePort: port(proto.get(2)),
    destinationPort: port(proto.get(3)),
  };
}

/** The connections that netfilter translates now, TCP and UDP; undefined: this kernel does not list them. */
export function translatedConnections(native: Native, netlink: number): Translated[] | undefined {
  let answer: Uint8Array;
  try {
    answer = native.netlinkRequest(netlink, encodeMessage((CONNTRACK << 8) | CONNTRACK_GET, NLM_F_REQUEST | NLM_F_DUMP, generic(0)));
  } catch (error) {
    if (error instanceof Error && 'code' in error && ['EINVAL', 'EOPNOTSUPP', 'EPERM'].includes(String(error.code))) return undefined;
    throw error;
  }
  const found: Translated[] = [];
  for (const { body } of messagesIn(answer)) {
    const attributes = attributesIn(body, 4);
    const status = attributes.get(3);
    if (status === undefined) continue;
    const flags = (status[2]! << 8) | status[3]!;
    if (!(flags & (IPS_SRC_NAT | IPS_DST_NAT))) continue;
    const [request, reply] = [tupleOf(attributes.get(1)), tupleOf(attributes.get(2))];
    if (request === undefined || reply === undefined) continue;
    found.push({ request, reply, masqueraded: (flags & IPS_SRC_NAT) !== 0, redirected: (flags & IPS_DST_NAT) !== 0 });
  }
  return found;
}

function nested(...attributes: readonly (readonly [number, Uint8Array])[]): Uint8Array {
  // The same framing as a message's, without its header and struct.
  return encodeMessage(0, 0, new Uint8Array(), attributes).subarray(16);
}

const big16 = (value: number) => Uint8Array.of(value >> 8, value & 0xff);
const big32 = (value: number) => Uint8Array.of(value >>> 24, (value >> 16) & 0xff, (value >> 8) & 0xff, value & 0xff);

function encodedTuple(tuple: Tuple): Uint8Array {
  const [source, destination] = [addressBytes(tuple.source), addressBytes(tuple.destination)];
  const first = source.length === 4 ? 1 : 3;
  return nested(
    [1, nested([first, source], [first + 1, destination])],
    [2, nested([1, Uint8Array.of(tuple.protocol)], [2, big16(tuple.sourcePort)], [3, big16(tuple.destinationPort)])],
  );
}

/**
 * Tells netfilter of a connection that it never saw, as it leaves this node, so that it gives its ports to no other. false: it knows one already.
 */
export function holdTuple(native: Native, netlink: number, tuple: Tuple, seconds: number): boolean {
  const reply = {
    ...tuple,
    source: tuple.destination,
    destination: tuple.source,
    sourcePort: tuple.destinationPort,
    destinationPort: tuple.sourcePort,
  };
  // enum tcp_conntrack: ESTABLISHED. Both directions liberal: whoever sees a packet of it judges no window.
  const tcp = nested([1, nested([1, Uint8Array.of(3)], [4, Uint8Array.of(8, 8)], [5, Uint8Array.of(8, 8)])]);
  const attributes: [number, Uint8Array][] = [
    [1, encodedTuple(tuple)],
    [2, encodedTuple(reply)],
    [7, big32(seconds)],
  ];
  if (tuple.protocol === 6) attributes.push([4, tcp]);
  const family = addressBytes(tuple.source).length === 4 ? NFPROTO.ip : NFPROTO.ip6;
  const flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL;
  try {
    native.netlinkRequest(netlink, encodeMessage((CONNTRACK << 8) | CONNTRACK_NEW, flags, generic(family), attributes));
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  }
}
