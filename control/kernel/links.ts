// What is each device to us: does it carry traffic of the node (NIC, tunnel) or of one pod, or does another device see its packets?
// A pure decision with its reason in words for `status`. Design 5, "Where".

import type { Address } from '../model/model.ts';
import { ARPHRD_ETHER, type Link } from './netlink.ts';
import type { Network } from './network.ts';
import type { DeviceOptions } from './options.ts';

/**
 * `nic`: packets of other nodes and of the world. `pod`: the host side of a pod's interface. `tunnel`: an Ethernet device over another.
 * `l3`: a device without Ethernet header, NIC or tunnel. `none`: gets no program.
 */
export type Role = 'nic' | 'pod' | 'tunnel' | 'l3' | 'none';

export interface RoleChoice {
  readonly role: Role;
  /** Why, in a few words. */
  readonly reason: string;
}

/** What the operator and the cluster say about devices. `devices`: these and no other hardware are NICs. `podInterfaces`: these and no others are pods'. */
export interface RoleOptions extends DeviceOptions {
  /** The node's own addresses: a device that has one is a NIC. */
  readonly nodeAddresses: readonly Address[];
}

/** Kinds over other devices (IFLA_INFO_KIND); whether they carry Ethernet is asked of the device. */
const TUNNELS = new Set([
  'vxlan',
  'geneve',
  'gretap',
  'ip6gretap',
  'erspan',
  'ip6erspan',
  'gre',
  'ip6gre',
  'ipip',
  'ip6tnl',
  'sit',
  'wireguard',
  'vti',
  'vti6',
  'xfrm',
  'fou',
  'tun',
]);

/** Kinds that stand for a NIC where they carry an address or a route. */
const STACKED = new Set(['vlan', 'bond', 'team', 'macvlan', 'ipvlan']);

/** The role of every device, by ifindex. */
export function rolesOf(network: Network, options: RoleOptions): Map<number, RoleChoice> {
  const nodeAddresses = new Set(options.nodeAddresses);
  const owners = new Set(network.addresses.filter((entry) => nodeAddresses.has(entry.address)).map((entry) => entry.ifindex));
  const connected = new Set(network.addresses.filter(isOnLink).map((entry) => entry.ifindex));
  const roles = new Map<number, RoleChoice>();
  for (const link of network.links.values()) roles.set(link.ifindex, roleOf(link, network, options, owners, connected));
  return roles;
}

function roleOf(
  link: Link,
  network: Network,
  options: RoleOptions,
  owners: ReadonlySet<number>,
  connected: ReadonlySet<number>,
): RoleChoice {
  const choose = (role: Role, reason: string): RoleChoice => ({ role, reason });
  const asNic = (reason: string): RoleChoice => choose(link.hardware === ARPHRD_ETHER ? 'nic' : 'l3', reason);
  const master = network.links.get(link.master);
  const defaultRoute = network.defaults[4].includes(link.ifindex) || network.defaults[6].includes(link.ifindex);

  if (link.loopback) return choose('none', 'loopback');
  if (options.devices?.includes(link.name)) return asNic('named in devices');
  if (options.podInterfaces?.some((prefix) => link.name.startsWith(prefix))) return choose('pod', 'named in podInterfaces');
  if (link.kind === 'bridge' || link.kind === 'openvswitch') return choose('none', 'a bridge: its ports have the programs');
  if (link.kind === 'vrf') return choose('none', 'a VRF: its members have the programs');
  if (link.kind === 'dummy' || link.kind === 'ifb') return choose('none', `${link.kind}: no packet leaves by it`);
  if (master?.kind === 'bond' || master?.kind === 'team') return choose('none', `a port of ${master.name}, which has the programs`);

  if (link.kind !== undefined && TUNNELS.has(link.kind)) {
    if (!link.up) return choose('none', `${link.kind}, down: no route leaves by it`);
    if (link.kind === 'tun' && link.hardware === ARPHRD_ETHER && !owners.has(link.ifindex))
      return choose('none', 'a tap, not named in podInterfaces');
    return choose(link.hardware === ARPHRD_ETHER ? 'tunnel' : 'l3', `${link.kind} tunnel`);
  }

  if (link.kind === 'veth' || link.kind === 'netkit') {
    if (!link.peerElsewhere) return choose('none', `${link.kind} whose peer is in this namespace`);
    if (options.devices === undefined) {
      if (defaultRoute) return asNic('has the default route');
      if (owners.has(link.ifindex)) return asNic("has the node's address");
      // A pod's interface has at most a host address here (/32, /128): the pod is the only one behind it.
      if (connected.has(link.ifindex)) return asNic('has an address of a network, not of one host');
    }
    if (options.podInterfaces !== undefined) return choose('none', 'not named in podInterfaces');
    if (!isLocalPod(link, master, options.detectLocal))
      return choose('nic', `${link.kind} to another namespace that detectLocal says is no local pod's`);
    return choose('pod', `${link.kind} whose peer is in another namespace`);
  }

  if (options.devices !== undefined) return choose('none', 'not named in devices');
  if (defaultRoute) return asNic('has the default route');
  if (owners.has(link.ifindex)) return asNic("has the node's address");
  if (link.kind === undefined && link.hardware === ARPHRD_ETHER) return asNic('hardware');
  if (network.routed.has(link.ifindex) && (link.kind === undefined || STACKED.has(link.kind))) return asNic('a route leaves by it');
  return choose('none', `${link.kind ?? 'device'} without a route`);
}

/** The modes that know local pods by their interface (14.2); the others look at addresses, and every pod's interface is as good. */
function isLocalPod(link: Link, master: Link | undefined, detect: DeviceOptions['detectLocal']): boolean {
  if (detect.mode === 'BridgeInterface') return master?.name === detect.bridge;
  return detect.mode !== 'InterfaceNamePrefix' || link.name.startsWith(detect.prefix);
}

/** A global address with a network around it. */
function isOnLink(entry: { prefixLength: number; family: 4 | 6; scope: number }): boolean {
  return entry.scope === 0 && entry.prefixLength < (entry.family === 4 ? 32 : 128);
}
