// Brings a fault about in the maps of the bench, and mends it.
import { type Codec, decoded } from '../../control/abi/codec.ts';
import { Flow4, Flow6, FlowKey4, FlowKey6, SettingFlag } from '../../control/abi/layout.gen.ts';
import { KernelError, type Maps, type TypedMap } from '../../control/kernel/maps.ts';
import type { Case } from './flow.ts';
import { backendPort, places, unroutable } from './places.ts';

/** Fills the table of flows until it takes no more. */
function fill<K extends FlowKey4, V>(flows: TypedMap<K, V>, key: Codec<K>, value: Codec<V>): () => void {
  const zero = decoded(value, new Uint8Array(value.size));
  const keys: K[] = [];
  try {
    for (let n = 0; n <= flows.maxEntries; n++) {
      const one = { ...decoded(key, new Uint8Array(key.size)), source_port: n & 0xffff, destination_port: 1 + (n >> 16) };
      flows.set(one, zero);
      keys.push(one);
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

/** As the agent does where addresses, links or routes change: every way that is remembered ends. */
function endWays(maps: Maps): void {
  const settings = maps.settings.get(0)!;
  maps.settings.set(0, { ...settings, route_generation: settings.route_generation + 1 });
}

/** Takes the addresses of all devices away. */
function changeDevices(maps: Maps): () => void {
  const mend = change(maps.devices, (device) => ({ ...device, address4: '0.0.0.0', address6: '::' }));
  endWays(maps);
  return () => {
    mend();
    endWays(maps);
  };
}

/** Makes a flow's fault so. Returns what mends it. */
export function cause(maps: Maps, flow: Case): () => void {
  const backends = flow.family === 4 ? maps.backends4 : maps.backends6;
  switch (flow.fault!) {
    case 'every masquerade port is taken':
      return change(maps.snat_ports, () => 0n);
    case 'the egress device has no address':
      return changeDevices(maps);
    case 'the table of flows is full':
      return flow.family === 4 ? fill(maps.flows4, FlowKey4, Flow4) : fill(maps.flows6, FlowKey6, Flow6);
    case 'there is no way to the backend':
      return change(backends, (backend) =>
        backend.address === places.b1[flow.family] && backend.port === backendPort
          ? { ...backend, address: unroutable[flow.family], generation: backend.generation + 1 }
          : backend,
      );
    case 'the slots name no backend':
      return change(backends, (backend) => ({ ...backend, flags: 0, port: 0 }));
    case 'we yield':
      return change(maps.settings, (settings) => ({ ...settings, flags: settings.flags | SettingFlag.SETTING_YIELD }));
    case 'others had connections':
      return change(maps.settings, (settings) => ({ ...settings, flags: settings.flags | SettingFlag.SETTING_OTHERS_FLOWS }));
  }
}
