// What is known of this node from its own devices: its addresses, live, and what each device needs in the map `devices`.
// What the Node object says comes from elsewhere.

import { type Device, DeviceFlag } from '../abi/layout.gen.ts';
import { addressKind, UNSPECIFIED } from '../address.ts';
import type { Address, Family } from '../model/model.ts';
import { rolesOf } from './links.ts';
import type { Native } from './native.ts';
import type { Link, LinkAddress } from './netlink.ts';
import { type Network, type NetworkWatch, watchNetwork } from './network.ts';
import type { DeviceOptions } from './options.ts';

const SCOPE_GLOBAL = 0;
const IFA_F_DADFAILED = 0x08;
const IFA_F_DEPRECATED = 0x20;
const IFA_F_TENTATIVE = 0x40;

/** What the devices say about the node: the part of its facts that does not come from the Node object. */
export interface NodeAddresses {
  /** Every address on a device, loopback and link-local IPv6 excluded, sorted. */
  readonly localAddresses: readonly Address[];
  /** Global addresses of the default-route device (without one: of the first NIC), the primary of each family first. */
  readonly defaultRouteAddresses: readonly Address[];
}

export interface Node {
  readonly network: NetworkWatch;
  addresses(): NodeAddresses;
  /** Calls back when addresses() changed. Returns a stop function. */
  onChange(callback: () => void): () => void;
  close(): void;
}

/** Opens the live view of the network namespace that the process is in. */
export function openNode(native: Native, options: DeviceOptions): Node {
  const network = watchNetwork(native);
  let addresses = addressesOf(network.current(), options);
  const callbacks = new Set<() => void>();
  network.onChange(() => {
    const next = addressesOf(network.current(), options);
    if (JSON.stringify(next) === JSON.stringify(addresses)) return;
    addresses = next;
    for (const callback of callbacks) callback();
  });
  return {
    network,
    addresses: () => addresses,
    onChange(callback) {
      callbacks.add(callback);
      return () => callbacks.delete(callback);
    },
    close: () => network.close(),
  };
}

/** The addresses of one moment. */
export function addressesOf(network: Network, options: DeviceOptions): NodeAddresses {
  const local = network.addresses.filter(isLocal).map((entry) => entry.address);
  return {
    localAddresses: [...new Set(local)].sort(),
    defaultRouteAddresses: ([4, 6] as const).flatMap((family) => defaultAddresses(network, family, options)),
  };
}

function isLocal(entry: LinkAddress): boolean {
  if (entry.flags & IFA_F_DADFAILED) return false;
  const kind = addressKind(entry.address);
  // NodePorts and masquerading use no fe80:: address; 169.254.0.0/16 is an ordinary address of a device.
  return kind === 'unicast' || (kind === 'link-local' && entry.family === 4);
}

/** Global addresses of one family of the first device, in order of preference, that has any. */
function defaultAddresses(network: Network, family: Family, options: DeviceOptions): Address[] {
  const other: Family = family === 4 ? 6 : 4;
  const roles = rolesOf(network, { ...options, nodeAddresses: [] });
  const nics = [...roles].filter(([, choice]) => choice.role === 'nic' || choice.role === 'l3').map(([ifindex]) => ifindex);
  for (const ifindex of [...network.defaults[family], ...network.defaults[other], ...nics]) {
    const found = globalAddresses(network, ifindex, family);
    if (found.length > 0) return found;
  }
  return [];
}

/** Usable global addresses on a device, those not deprecated first. */
function globalAddresses(network: Network, ifindex: number, family: Family): Address[] {
  const usable = network.addresses.filter(
    (entry) =>
      entry.ifindex === ifindex &&
      entry.family === family &&
      entry.scope === SCOPE_GLOBAL &&
      isLocal(entry) &&
      !(entry.flags & IFA_F_TENTATIVE),
  );
  const deprecated = (entry: LinkAddress) => (entry.flags & IFA_F_DEPRECATED) !== 0;
  return [...usable.filter((entry) => !deprecated(entry)), ...usable.filter(deprecated)].map((entry) => entry.address);
}

/**
 * The entries of the map `devices`, by ifindex. A masquerade address is, in this order: a node address that the device has, the device's
 * first global address, the node's primary address of that family (pods' interfaces and tunnels have none of their own).
 * xdp: devices where XDP runs natively.
 */
export function devicesOf(network: Network, nodeAddresses: readonly Address[], xdp: ReadonlySet<number> = new Set()): Map<number, Device> {
  const owned = new Map<number, LinkAddress[]>();
  for (const entry of network.addresses) owned.set(entry.ifindex, [...(owned.get(entry.ifindex) ?? []), entry]);
  const devices = new Map<number, Device>();
  for (const link of network.links.values()) {
    if (link.loopback) continue;
    const own: Network = { ...network, addresses: owned.get(link.ifindex) ?? [] };
    devices.set(link.ifindex, deviceOf(link, own, nodeAddresses, xdp.has(link.ifindex)));
  }
  return devices;
}

function deviceOf(link: Link, network: Network, nodeAddresses: readonly Address[], xdp: boolean): Device {
  const masquerade = (family: Family): Address => {
    const own = globalAddresses(network, link.ifindex, family);
    const primary = nodeAddresses.find((address) => address.includes(':') === (family === 6));
    return nodeAddresses.find((address) => own.includes(address)) ?? own[0] ?? primary ?? UNSPECIFIED[family];
  };
  return {
    address6: masquerade(6),
    address4: masquerade(4),
    mtu: link.mtu,
    mac: link.mac ?? '00:00:00:00:00:00',
    flags: xdp ? DeviceFlag.DEVICE_XDP : 0,
  };
}
