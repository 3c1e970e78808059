// Brings a fault about in the maps of the bench, and mends it.
import type { FlowKey4 } from '../../control/abi/layout.gen.ts';
import { KernelError, type Maps } from '../../control/kernel/maps.ts';
import type { Case } from './flow.ts';
import { backendPort, places, unroutable } from './places.ts';

/** Fills the table of flows until it takes no more. */
function fill(maps: Maps, family: 4 | 6): () => void {
  const flows = family === 4 ? maps.flows4 : maps.flows6;
  const [address, none] = family === 4 ? ['10.255.0.1', '0.0.0.0'] : ['fd0f::1', '::'];
  const keys: FlowKey4[] = [];
  try {
    for (let n = 0; n <= flows.maxEntries; n++) {
      const key = { source: address, destination: address, source_port: n & 0xffff, destination_port: n >> 16, protocol: 17 };
      const value = {
        ...key,
        frontend: 0,
        backend: 0,
        generation: 0,
        seen: 0,
        ifindex: 0,
        route_generation: 0,
        next_hop: none,
        mtu: 0,
        flags: 0,
        client_mac: '00:00:00:00:00:00',
        gateway_mac: '00:00:00:00:00:00',
      };
      flows.set(key, value);
      keys.push(key);
    }
  } catch (error) {
    if (!(error instanceof KernelError) || error.code !== 'E2BIG') throw error;
  }
  return () => flows.deleteMany(keys);
}

/** Changes every entry of a map, until mended. */
function change<K, V>(map: { entries(): IterableIterator<[K, V]>; set(key: K, value: V): void }, to: (value: V) => V): () => void {
  const before = [...map.entries()];
  for (const [key, value] of before) map.set(key, to(value));
  return () => {
    for (const [key, value] of before) map.set(key, value);
  };
}

/** Makes a flow's fault so. Returns what mends it. */
export function cause(maps: Maps, flow: Case): () => void {
  const backends = flow.family === 4 ? maps.backends4 : maps.backends6;
  switch (flow.fault!) {
    case 'every masquerade port is taken':
      return change(maps.snat_ports, () => 0n);
    case 'the egress device has no address':
      return change(maps.devices, (device) => ({ ...device, address4: '0.0.0.0', address6: '::' }));
    case 'the table of flows is full':
      return fill(maps, flow.family);
    case 'there is no way to the backend':
      return change(backends, (backend) =>
        backend.address === places.b1[flow.family] && backend.port === backendPort
          ? { ...backend, address: unroutable[flow.family] }
          : backend,
      );
    case 'the slots name no backend':
      return change(backends, (backend) => ({ ...backend, flags: 0 }));
  }
}
