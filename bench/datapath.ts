// The real programs on the real maps: loaded with their default sizes and filled by the product's own compiler, as the agent does it.

import { encoded } from '../control/abi/codec.ts';
import { Features, Verdict } from '../control/abi/layout.gen.ts';
import { readConfig } from '../control/config.ts';
import { probeFeatures } from '../control/kernel/features.ts';
import { kernelMaps, type Maps } from '../control/kernel/maps.ts';
import type { Native } from '../control/kernel/native.ts';
import { watchNetwork } from '../control/kernel/network.ts';
import { devicesOf } from '../control/kernel/node.ts';
import { portWords } from '../control/kernel/ports.ts';
import { objectPath } from '../control/kernel/preconditions.ts';
import { settingsOf } from '../control/kernel/settings.ts';
import type { Model } from '../control/model/model.ts';
import { adopt, sync } from '../control/sync.ts';
import { nic } from './namespace.ts';

export type VerdictName = keyof typeof Verdict;

/** Maps that remember flows. */
const FLOW_TABLES = ['flows4', 'flows6', 'new_flows4', 'new_flows6'] as const;
/** Maps that two datapaths do not share. */
const OWN = [...FLOW_TABLES, 'verdicts', 'scratch'];

export interface Datapath {
  readonly maps: Maps;
  /** Descriptors of the maps by name. */
  readonly fds: Readonly<Record<string, number>>;
  /** nic_xdp, nic_ingress and nic_egress. */
  readonly programs: Readonly<Record<string, number>>;
  /** Every verdict counted so far. */
  verdicts(): ReadonlyMap<VerdictName, number>;
  /** Entries in the flow tables. */
  flowCount(): number;
  /** Empties the flow tables. */
  forget(): void;
  close(): void;
}

/** The keys of a map, page by page. */
function* keysOf(native: Native, fd: number): IterableIterator<{ keys: Uint8Array; count: number }> {
  let cursor: Uint8Array | undefined;
  do {
    const page = native.mapPage(fd, cursor, 4096);
    yield page;
    cursor = page.cursor;
  } while (cursor !== undefined);
}

export function countEntries(native: Native, fd: number): number {
  let sum = 0;
  for (const { count } of keysOf(native, fd)) sum += count;
  return sum;
}

export function clearMap(native: Native, fd: number): void {
  for (const { keys, count } of [...keysOf(native, fd)]) native.mapDeleteBatch(fd, keys, count);
}

/** The node's device index. */
export function nicIndex(native: Native): number {
  const watch = watchNetwork(native);
  try {
    return [...watch.current().links.values()].find(({ name }) => name === nic.name)!.ifindex;
  } finally {
    watch.close();
  }
}

function writeNode(native: Native, maps: Maps, model: Model): void {
  const config = readConfig({});
  const watch = watchNetwork(native);
  const devices = devicesOf(watch.current(), model.node.primaryAddresses);
  watch.close();
  const prefixes = { serviceCIDRs: model.serviceCIDRs, localPrefixes: undefined };
  const { settings } = settingsOf(config, { netnsCookie: 0n, jiffiesPerSecond: 250 }, prefixes, 1);
  // A next hop never gets too old: its age is paid once in ten seconds, not per packet, and would spoil whichever round it falls into.
  maps.settings.set(0, { ...settings, next_hop_age: 0x7fffffff });
  for (const [index, word] of portWords(config.snatPorts, new Set()).entries()) maps.snat_ports.set(index, word);
  for (const [ifindex, device] of devices) maps.devices.set(ifindex, device);
  const { problems } = sync(maps, adopt(maps), model, { nodePortAddresses: config.nodePortAddresses });
  if (problems[0] !== undefined) throw new Error(`${problems[0].object}: ${problems[0].message}`);
}

/** Loads the programs and fills the maps; or beside: shares the maps of another datapath that control wrote, with flow tables of its own. */
export function openDatapath(native: Native, from: Model | Datapath): Datapath {
  const shared = 'maps' in from ? without(from.fds, OWN) : {};
  const rodata = { '.rodata.features': encoded(Features, probeFeatures(native)) };
  const tc = native.load(objectPath('tc'), { maps: shared, rodata, programs: ['nic_ingress', 'nic_egress'] });
  const xdp = native.load(objectPath('xdp'), { maps: { ...tc.maps }, rodata });
  const fds = tc.maps;
  const maps = kernelMaps(native, fds);
  if (!('maps' in from)) writeNode(native, maps, from);
  const tables = FLOW_TABLES.map((name) => fds[name]!);
  const count = (verdict: number) => Number(maps.verdicts.get(verdict)?.packets.reduce((sum, packets) => sum + packets, 0n) ?? 0n);
  return {
    maps,
    fds,
    programs: { ...xdp.programs, ...tc.programs },
    verdicts: () => new Map(Object.entries(Verdict).map(([name, verdict]) => [name as keyof typeof Verdict, count(verdict)])),
    flowCount: () => tables.reduce((sum, fd) => sum + countEntries(native, fd), 0),
    forget: () => {
      for (const fd of tables) clearMap(native, fd);
    },
    close: () => {
      xdp.close();
      tc.close();
    },
  };
}

function without<T>(record: Readonly<Record<string, T>>, names: readonly string[]): Record<string, T> {
  return Object.fromEntries(Object.entries(record).filter(([name]) => !names.includes(name)));
}
