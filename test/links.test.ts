// Which device is what to us? Networks as few words, roles as the answer.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { type RoleOptions, rolesOf } from '../control/kernel/links.ts';
import type { Link, LinkAddress } from '../control/kernel/netlink.ts';
import type { Network } from '../control/kernel/network.ts';
import { addressesOf, devicesOf } from '../control/kernel/node.ts';

const found: RoleOptions = { devices: undefined, podInterfaces: undefined, detectLocal: { mode: 'PodInterfaces' }, nodeAddresses: [] };

interface Told extends Partial<Link> {
  readonly addresses?: readonly string[];
}

/** Devices by name, numbered from 1 in their order; addresses as `10.0.0.1/24`. */
function networkOf(devices: Readonly<Record<string, Told>>, more: Partial<Network> = {}): Network {
  const links = new Map<number, Link>();
  const addresses: LinkAddress[] = [];
  for (const [index, [name, { addresses: own = [], ...told }]] of Object.entries(devices).entries()) {
    const ifindex = index + 1;
    const link: Link = {
      ifindex,
      name,
      kind: undefined,
      hardware: 1,
      up: true,
      loopback: false,
      mtu: 1500,
      mac: `02:00:00:00:00:0${ifindex}`,
      master: 0,
      peer: 0,
      peerElsewhere: false,
      ...told,
    };
    links.set(ifindex, link);
    for (const text of own) {
      const [address = '', length = '0'] = text.split('/');
      addresses.push({ ifindex, address, family: address.includes(':') ? 6 : 4, prefixLength: Number(length), scope: 0, flags: 0 });
    }
  }
  return { links, addresses, routed: new Set(), defaults: { 4: [], 6: [] }, ...more };
}

function roleIn(
  devices: Readonly<Record<string, Told>>,
  name: string,
  options: Partial<RoleOptions> = {},
  more: Partial<Network> = {},
): string {
  const network = networkOf(devices, more);
  const ifindex = [...network.links.values()].find((link) => link.name === name)?.ifindex ?? 0;
  return rolesOf(network, { ...found, ...options }).get(ifindex)?.role ?? 'absent';
}

const veth: Told = { kind: 'veth', peerElsewhere: true };
const rows: readonly (readonly [string, string, string])[] = [
  ['hardware is a NIC before it has an address', roleIn({ eth0: {} }, 'eth0'), 'nic'],
  ['hardware that is not named, where some is', roleIn({ eth0: {}, eth1: {} }, 'eth1', { devices: ['eth0'] }), 'none'],
  ['a port of a bond leaves it to the bond', roleIn({ bond0: { kind: 'bond' }, eth0: { master: 1 } }, 'eth0'), 'none'],
  ['a bond with a route', roleIn({ bond0: { kind: 'bond' } }, 'bond0', {}, { routed: new Set([1]) }), 'nic'],
  ['a VLAN nobody uses', roleIn({ vlan7: { kind: 'vlan' } }, 'vlan7'), 'none'],
  ['a bridge with the default route', roleIn({ br0: { kind: 'bridge' } }, 'br0', {}, { defaults: { 4: [1], 6: [] } }), 'none'],
  ['hardware that is a port of a bridge', roleIn({ br0: { kind: 'bridge' }, eth0: { master: 1 } }, 'eth0'), 'nic'],
  ['the loopback', roleIn({ lo: { loopback: true, hardware: 772, addresses: ['10.9.9.9/32'] } }, 'lo'), 'none'],
  ['a dummy that holds an address', roleIn({ d0: { kind: 'dummy', addresses: ['10.0.0.1/24'] } }, 'd0'), 'none'],
  ['a veth to another namespace', roleIn({ v0: veth }, 'v0'), 'pod'],
  ['a netkit to another namespace', roleIn({ k0: { ...veth, kind: 'netkit' } }, 'k0'), 'pod'],
  ['a veth whose two ends are here', roleIn({ v0: { kind: 'veth' } }, 'v0'), 'none'],
  ["a pod's veth with the gateway's host address", roleIn({ v0: { ...veth, addresses: ['10.244.0.1/32'] } }, 'v0'), 'pod'],
  ['a veth with the default route', roleIn({ v0: veth }, 'v0', {}, { defaults: { 4: [], 6: [1] } }), 'nic'],
  ['a veth with a network behind it', roleIn({ v0: { ...veth, addresses: ['10.0.0.1/24'] } }, 'v0'), 'nic'],
  ["a veth with the node's address", roleIn({ v0: { ...veth, addresses: ['10.0.0.1/32'] } }, 'v0', { nodeAddresses: ['10.0.0.1'] }), 'nic'],
  ['a veth that is named a NIC', roleIn({ v0: veth }, 'v0', { devices: ['v0'] }), 'nic'],
  ['a veth by its prefix', roleIn({ cali1: veth }, 'cali1', { podInterfaces: ['cali'] }), 'pod'],
  ['a veth of another prefix', roleIn({ v0: veth }, 'v0', { podInterfaces: ['cali'] }), 'none'],
  ['a tap by its prefix', roleIn({ tap1: { kind: 'tun' } }, 'tap1', { podInterfaces: ['tap'] }), 'pod'],
  ['a tap without', roleIn({ tap1: { kind: 'tun' } }, 'tap1'), 'none'],
  ['vxlan', roleIn({ flannel: { kind: 'vxlan' } }, 'flannel'), 'tunnel'],
  ['wireguard', roleIn({ wg0: { kind: 'wireguard', hardware: 65534 } }, 'wg0'), 'l3'],
  ['ipip that is down, as every namespace has one', roleIn({ tunl0: { kind: 'ipip', hardware: 768, up: false } }, 'tunl0'), 'none'],
  ['a NIC without Ethernet header', roleIn({ ppp0: { hardware: 512 } }, 'ppp0', {}, { defaults: { 4: [1], 6: [] } }), 'l3'],
  [
    'detectLocal by prefix: the other veths are served as from outside',
    roleIn({ v0: veth }, 'v0', { detectLocal: { mode: 'InterfaceNamePrefix', prefix: 'cali' } }),
    'nic',
  ],
  [
    'detectLocal by bridge: its ports',
    roleIn({ cni0: { kind: 'bridge' }, v0: { ...veth, master: 1 } }, 'v0', { detectLocal: { mode: 'BridgeInterface', bridge: 'cni0' } }),
    'pod',
  ],
];

describe('roles', () => {
  for (const [name, role, expected] of rows) test(name, () => assert.equal(role, expected));
});

describe('addresses of the node', () => {
  const devices = {
    lo: { loopback: true, hardware: 772, addresses: ['127.0.0.1/8', '::1/128', '10.9.9.9/32'] },
    eth0: { addresses: ['10.0.0.1/24', '10.0.0.2/24', 'fd00::1/64', 'fe80::1/64'] },
    pod0: veth,
    vx0: { kind: 'vxlan', addresses: ['10.244.0.0/32'] },
  };
  const network = networkOf(devices, { defaults: { 4: [2], 6: [] } });

  test('local: every one but the loopback networks and fe80::', () => {
    assert.deepEqual(addressesOf(network, found), {
      localAddresses: ['10.0.0.1', '10.0.0.2', '10.244.0.0', '10.9.9.9', 'fd00::1'],
      defaultRouteAddresses: ['10.0.0.1', '10.0.0.2', 'fd00::1'],
    });
  });
  test('without a default route those of the first NIC', () => {
    assert.deepEqual(addressesOf({ ...network, defaults: { 4: [], 6: [] } }, found).defaultRouteAddresses, [
      '10.0.0.1',
      '10.0.0.2',
      'fd00::1',
    ]);
  });
  test('a masquerade prefers the node address on the device, then the device, then the node', () => {
    const masquerade = (ifindex: number, nodeAddresses: readonly string[]) => {
      const device = devicesOf(network, nodeAddresses).get(ifindex);
      return [device?.address4, device?.address6];
    };
    assert.deepEqual(masquerade(2, ['10.0.0.2']), ['10.0.0.2', 'fd00::1']);
    assert.deepEqual(masquerade(2, ['10.77.0.1']), ['10.0.0.1', 'fd00::1']);
    assert.deepEqual(masquerade(3, ['10.0.0.2', 'fd00::1']), ['10.0.0.2', 'fd00::1']);
    assert.deepEqual(masquerade(4, ['10.0.0.2']), ['10.244.0.0', '::']);
    assert.equal(devicesOf(network, []).has(1), false);
  });
  test('deprecated addresses come last, those in doubt not at all', () => {
    const doubtful = network.addresses.map((entry) =>
      entry.address === '10.0.0.1' ? { ...entry, flags: 0x20 } : entry.address === 'fd00::1' ? { ...entry, flags: 0x40 } : entry,
    );
    assert.deepEqual(addressesOf({ ...network, addresses: doubtful }, found).defaultRouteAddresses, ['10.0.0.2', '10.0.0.1']);
  });
});
