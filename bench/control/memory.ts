// What does the control plane cost by itself? One process: an agent's loop over real maps, its objects made here. It measures the turn
// that fills empty maps, one change at a time, and changes at a pace; one line of JSON says what it found.

import { readFileSync } from 'node:fs';
import { setImmediate as nextTurn, setTimeout as pause } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { pino } from 'pino';
import { encoded } from '../../control/abi/codec.ts';
import { Features } from '../../control/abi/layout.gen.ts';
import { followView } from '../../control/agent/view.ts';
import { openAgent } from '../../control/agent.ts';
import { readConfig } from '../../control/config.ts';
import { loadNative } from '../../control/kernel/addon.ts';
import { probeFeatures } from '../../control/kernel/features.ts';
import { kernelMaps, type Maps, memoryMaps } from '../../control/kernel/maps.ts';
import { objectPath } from '../../control/kernel/preconditions.ts';
import { openLook } from '../../control/look.ts';
import type { Source } from '../../control/source/objects.ts';
import { parseObjects } from '../../control/source/parse.ts';
import { objectStore } from '../../control/source/store.ts';
import { adopt, type SyncState, sync } from '../../control/sync.ts';
import { addressesOf, type Raw, type Size, serviceObject, sliceObject } from './cluster.ts';
import { anonymousMiB } from './process.ts';

export interface Found {
  readonly fromNothingMs: number;
  /** Of the turn that filled the maps: CPU time of its thread, which neighbours stretch less than the clock. */
  readonly fromNothingCpuMs: number;
  /** From the source's event to the maps, one change at a time. */
  readonly changesMs: readonly number[];
  /** The same at a pace, from when the event was due. */
  readonly pacedMs: readonly number[];
  /** Reading the maps anew and comparing all of them with the Model, as the agent does after a refusal and after drift. */
  readonly wholeMs: number;
  /**
   * Looking at all maps in slices, as the agent does every five minutes: all of it, and the longest that anything else waited. Of the
   * kernel's maps alone: those in memory sort all their keys for each page.
   */
  readonly look: { readonly ms: number; readonly stallMs: number } | undefined;
  readonly anonymousMiB: number;
  /** Of the kernel's maps; 0 for those in memory. */
  readonly mapsMiB: number;
}

/** Changes before any is measured: a program that runs for months is warm. */
const WARM = 50;

/** A Source that is moved from here, object by object, as JSON would bring them. */
function openSource() {
  const store = objectStore();
  const callbacks: (() => void)[] = [];
  let objects = store.snapshot([]);
  const source: Source = {
    synced: true,
    objects: () => objects,
    onChange: (callback) => void callbacks.push(callback),
    close: () => {},
  };
  return {
    source,
    put(text: string): void {
      for (const object of parseObjects(JSON.parse(text)).objects) store.put(object);
    },
    tell(): void {
      objects = store.snapshot([]);
      for (const callback of callbacks) callback();
    },
  };
}

function openMaps(kind: string) {
  if (kind === 'memory') return { maps: memoryMaps(), mapsMiB: 0 };
  const native = loadNative();
  // Maps alone, and nobody else's: they go with the process.
  const loaded = native.load(objectPath('tc'), { rodata: { '.rodata.features': encoded(Features, probeFeatures(native)) }, programs: [] });
  const kept = Object.values(loaded.maps).map((fd) =>
    Number(/^memlock:\s+(\d+)/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? 0),
  );
  return { maps: kernelMaps(native, loaded.maps), mapsMiB: kept.reduce((sum, bytes) => sum + bytes, 0) / 2 ** 20 };
}

/** One look, with something else that wants its turn all the while. */
async function lookAt(maps: Maps, state: SyncState): Promise<{ ms: number; stallMs: number }> {
  let looking = true;
  const look = openLook(maps, state, (found) => {
    if (found !== undefined) throw new Error(`the look found ${found}`);
    looking = false;
  });
  const began = performance.now();
  let turned = began;
  let lookStallMs = 0;
  look.begin();
  while (looking) {
    await nextTurn();
    const now = performance.now();
    lookStallMs = Math.max(lookStallMs, now - turned);
    turned = now;
  }
  return { ms: turned - began, stallMs: lookStallMs };
}

async function run(size: Size, kind: string, changes: number, paced: { perSecond: number; seconds: number }): Promise<Found> {
  const { source, put, tell } = openSource();
  const { maps, mapsMiB } = openMaps(kind);
  const config = readConfig({ 'hostname-override': 'node-a' });
  const viewOf = followView(config);
  const agent = openAgent({
    config: { ...config, serviceCIDRs: ['10.96.0.0/16'] },
    source,
    addresses: () => ({ localAddresses: ['192.0.2.10'], defaultRouteAddresses: ['192.0.2.10'] }),
    maps,
    log: pino({ level: 'warn' }),
    onApplied: ({ model }) => void viewOf(model),
  });
  const node: Raw = {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: 'node-a' },
    status: { addresses: [{ type: 'InternalIP', address: '192.0.2.10' }] },
  };
  put(JSON.stringify(node));
  for (let service = 0; service < size.services; service++) {
    put(JSON.stringify(serviceObject(service)));
    put(JSON.stringify(sliceObject(service, addressesOf(service, size))));
  }

  const cpu = process.threadCpuUsage();
  const began = performance.now();
  tell();
  await agent.settled();
  const fromNothingMs = performance.now() - began;
  const { user, system } = process.threadCpuUsage(cpu);
  const held = [...maps.frontends4.entries()].length;
  if (held !== size.services) throw new Error(`${held} of ${size.services} Services are in the maps`);

  let version = 0;
  const change = async (due?: number): Promise<number> => {
    // Far from the one before, as changes in a cluster are.
    const service = (++version * 7919) % size.services;
    const text = JSON.stringify(sliceObject(service, addressesOf(service, size, version)));
    const at = due ?? performance.now();
    put(text);
    tell();
    await agent.settled();
    return performance.now() - at;
  };
  const changesMs: number[] = [];
  for (let n = 0; n < WARM + changes; n++) {
    const ms = await change();
    if (n >= WARM) changesMs.push(ms);
    await nextTurn();
  }

  const pacedMs: number[] = [];
  const start = performance.now();
  for (let n = 0; n < paced.perSecond * paced.seconds; n++) {
    const due = start + (1000 * n) / paced.perSecond;
    const early = due - performance.now();
    if (early > 0) await pause(Math.ceil(early));
    pacedMs.push(await change(due));
  }
  const rss = anonymousMiB(process.pid);
  const looked = performance.now();
  const state = adopt(maps);
  const { written } = sync(maps, state, agent.model()!, config);
  const wholeMs = performance.now() - looked;
  if (written !== 0) throw new Error(`the maps differed from the Model in ${written} entries`);
  agent.close();
  const look = mapsMiB > 0 ? await lookAt(maps, state) : undefined;
  return { fromNothingMs, fromNothingCpuMs: (user + system) / 1000, changesMs, pacedMs, wholeMs, look, anonymousMiB: rss, mapsMiB };
}

const { values } = parseArgs({
  options: {
    ...{ services: { type: 'string' }, endpoints: { type: 'string' }, maps: { type: 'string' } },
    ...{ changes: { type: 'string' }, 'per-second': { type: 'string' }, seconds: { type: 'string' } },
  },
});
const number = (name: 'services' | 'endpoints' | 'changes' | 'per-second' | 'seconds') => Number(values[name] ?? 0);
const found = await run({ services: number('services'), endpoints: number('endpoints') }, values.maps ?? 'kernel', number('changes'), {
  perSecond: number('per-second'),
  seconds: number('seconds'),
});
process.stdout.write(JSON.stringify(found));
