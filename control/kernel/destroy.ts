// Which connected UDP sockets of the node's own processes are still bound to a backend that is gone? They were translated once, at connect,
// and no later datagram is looked at: the socket is destroyed, its process gets an error and connects again (10.4).

import { setImmediate as nextTurn } from 'node:timers/promises';
import { BackendFlag, SocketDirection, type SocketFlow, type SocketKey } from '../abi/layout.gen.ts';
import { familyOf } from '../address.ts';
import type { Maps } from './maps.ts';
import type { Native } from './native.ts';
import { AF_BOTH, destroyRequest, ESTABLISHED, IPPROTO_UDP, type SocketEntry, socketsIn, socketsRequest, UNCONNECTED } from './sockdiag.ts';

const NETLINK_SOCK_DIAG = 4;
const SLICE = 1024;

export interface Destroyed {
  /** Sockets destroyed. */
  readonly sockets: number;
  /** Entries of socket_flows deleted because their socket is gone. */
  readonly entries: number;
  /** The kernel cannot list or destroy sockets (no udp_diag, no CONFIG_INET_DIAG_DESTROY) although some may have to be. */
  readonly unable: boolean;
}

/**
 * Destroys what is stale and forgets UDP sockets that are gone, in the process's network namespace. Only sockets that our hook translated: by
 * cookie, and with the backend as peer. Pods' entries are TCP and not touched. Throws what the kernel refuses otherwise.
 */
export async function destroyStaleSockets(native: Native, maps: Maps): Promise<Destroyed> {
  const translated: [SocketKey, SocketFlow][] = [];
  for (const page of maps.socket_flows.pages(SLICE)) {
    for (const entry of page) if (entry[0].protocol === IPPROTO_UDP) translated.push(entry);
    await nextTurn();
  }
  if (translated.length === 0) return { sockets: 0, entries: 0, unable: false };

  // After the entries: a socket made since then has none among them, so none is taken for gone by mistake.
  const diag = native.netlinkOpen(NETLINK_SOCK_DIAG, 0);
  try {
    const sockets = udpSockets(native, diag);
    if (sockets === undefined) return { sockets: 0, entries: 0, unable: true };
    const gone = translated.filter(([key]) => !sockets.has(key.cookie)).map(([key]) => key);
    maps.socket_flows.deleteMany(gone);
    // The entry of the way back: its key is the backend, and every socket that was translated has one.
    const stale = translated.filter(([key, flow]) => key.direction === SocketDirection.SOCKET_REPLY && isStale(maps, key, flow));
    let destroyed = 0;
    let unable = false;
    for (const [key] of stale) {
      const socket = sockets.get(key.cookie);
      // An unconnected socket picks again by itself, and one connected elsewhere since then is not ours.
      if (socket === undefined || socket.peerPort !== key.port || socket.peerAddress !== key.address) continue;
      const done = destroy(native, diag, socket);
      if (done) destroyed++;
      else unable = true;
    }
    return { sockets: destroyed, entries: gone.length, unable };
  } finally {
    native.closeFd(diag);
  }
}

/** By cookie; undefined: this kernel does not list its sockets (no udp_diag). */
function udpSockets(native: Native, diag: number): Map<bigint, SocketEntry> | undefined {
  const sockets = new Map<bigint, SocketEntry>();
  for (const family of AF_BOTH) {
    let answer: Uint8Array;
    try {
      answer = native.netlinkRequest(diag, socketsRequest(family, IPPROTO_UDP, ESTABLISHED | UNCONNECTED));
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
    for (const socket of socketsIn(answer)) sockets.set(socket.cookie, socket);
  }
  return sockets;
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}

function isStale(maps: Maps, key: SocketKey, flow: SocketFlow): boolean {
  const backend = (familyOf(key.address) === 4 ? maps.backends4 : maps.backends6).get(flow.backend);
  return backend === undefined || backend.generation !== flow.generation || !(backend.flags & BackendFlag.BACKEND_SERVING);
}

/** false: this kernel destroys no sockets. A socket that went by itself counts as destroyed. */
function destroy(native: Native, diag: number, socket: SocketEntry): boolean {
  try {
    native.netlinkRequest(diag, destroyRequest(socket, IPPROTO_UDP));
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code === 'ENOENT') return true;
    if (code === 'EOPNOTSUPP' || code === 'EINVAL') return false;
    throw error;
  }
}
