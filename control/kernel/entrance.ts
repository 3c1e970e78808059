// Where does a packet of a client enter this node? Where the kernel would send the answer: at the device of the route to the client's
// address, or nowhere, where that address is the node's own. Looks, and changes nothing.

import type { Address } from '../model/model.ts';
import type { RoleChoice } from './links.ts';
import type { Native } from './native.ts';
import { messagesIn, routeOf, routeToRequest } from './netlink.ts';
import type { Network } from './network.ts';

const NETLINK_ROUTE = 0;
const RTN_LOCAL = 2;

export interface Entrance {
  /** The node itself, a pod of it (by the device), or anybody else. */
  readonly who: 'node' | 'pod' | 'outside';
  /** How that is known, in a few words. */
  readonly why: string;
  /** The device its packets enter by; undefined: by none, or it is not known. */
  readonly device: { readonly ifindex: number; readonly name: string } | undefined;
}

/** The entrance of a client whose address has a route by this device. Pure. */
export function entranceBy(ifindex: number, network: Network, roles: ReadonlyMap<number, Pick<RoleChoice, 'role'>>): Entrance {
  const link = network.links.get(ifindex);
  if (link === undefined)
    return { who: 'outside', why: `the route to it leaves by device ${ifindex}, which is not here`, device: undefined };
  const device = { ifindex, name: link.name };
  if (link.loopback) return { who: 'node', why: 'the route to it is the loopback device', device: undefined };
  if (roles.get(ifindex)?.role === 'pod') return { who: 'pod', why: `the route to it leaves by ${link.name}, a pod's interface`, device };
  const ports = [...network.links.values()].filter(({ master, ifindex: port }) => master === ifindex && roles.get(port)?.role === 'pod');
  if (ports.length > 0) return { who: 'pod', why: `the route to it leaves by ${link.name}, a bridge of pods`, device };
  return { who: 'outside', why: `the route to it leaves by ${link.name}`, device };
}

/** The entrance of a client now. */
export function entranceOf(
  native: Native,
  address: Address,
  network: Network,
  roles: ReadonlyMap<number, Pick<RoleChoice, 'role'>>,
): Entrance {
  const socket = native.netlinkOpen(NETLINK_ROUTE, 0);
  try {
    for (const { body } of messagesIn(native.netlinkRequest(socket, routeToRequest(address)))) {
      const route = routeOf(body);
      if (route === undefined) continue;
      if (route.type === RTN_LOCAL) return { who: 'node', why: 'it is an address of this node', device: undefined };
      const [ifindex] = route.devices;
      if (ifindex !== undefined) return entranceBy(ifindex, network, roles);
    }
    return { who: 'outside', why: 'the kernel has no route to it', device: undefined };
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    // What ip route get says where a route is missing, or says unreachable or prohibit.
    if (!['ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL', 'ENODEV'].includes(code)) throw error;
    return { who: 'outside', why: `the kernel has no route to it (${code})`, device: undefined };
  } finally {
    native.closeFd(socket);
  }
}
