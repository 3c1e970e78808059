// On which ports does this host wait for packets? TCP listeners and UDP sockets without a peer, of both families: a masquerade never uses
// them (9.10).

import type { Native } from './native.ts';
import { AF_BOTH, IPPROTO_TCP, IPPROTO_UDP, LISTENING, socketsIn, socketsRequest, UNCONNECTED } from './sockdiag.ts';

/** Ports in use in the process's network namespace; undefined: this kernel does not tell (no inet_diag). diag: an AF_NETLINK SOCK_DIAG descriptor. */
export function listeningPorts(native: Native, diag: number): Set<number> | undefined {
  try {
    return askPorts(native, diag);
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
    throw error;
  }
}

function askPorts(native: Native, diag: number): Set<number> {
  const ports = new Set<number>();
  for (const family of AF_BOTH) {
    for (const [protocol, states] of [
      [IPPROTO_TCP, LISTENING],
      [IPPROTO_UDP, UNCONNECTED],
    ] as const) {
      for (const socket of socketsIn(native.netlinkRequest(diag, socketsRequest(family, protocol, states)))) ports.add(socket.port);
    }
  }
  return ports;
}
