// How do our objects get into the kernel? With the maps that an earlier agent left where they have our shape, with new ones where not.
// A refusal leaves whatever is attached as it is.

import { existsSync, mkdirSync } from 'node:fs';
import { encoded } from '../abi/codec.ts';
import { Features, MAPS, type MapName } from '../abi/layout.gen.ts';
import { describeMaps } from './generations.ts';
import type { Native, NativeObject } from './native.ts';
import type { DatapathOptions } from './options.ts';
import type { Pins } from './pins.ts';
import { objectPath } from './preconditions.ts';

/** Lines of the verifier's log that an error shows: the last ones say what it refused. */
const LOG_LINES = 12;

/** Objects in the kernel: descriptors by name. */
export interface Loaded {
  /** Pinned; every map of the page. */
  readonly maps: Readonly<Record<string, number>>;
  readonly programs: Readonly<Record<string, number>>;
  /** All maps were there: flows live on. */
  readonly adopted: boolean;
  /** None of them was there: they hold what `seed` wrote. */
  readonly fresh: boolean;
  close(): void;
}

/**
 * Loads tc.o, and sock.o where the socket hook is on. seed: called with maps that are all new, before anybody can adopt them. Rejects with an Error
 * that names the program the kernel refused.
 */
export async function loadObjects(
  native: Native,
  pins: Pins,
  options: Pick<DatapathOptions, 'hooks' | 'mapSizes'>,
  features: Features,
  seed: (maps: Readonly<Record<string, number>>) => void = () => {},
): Promise<Loaded> {
  const found: Record<string, number> = {};
  const objects: NativeObject[] = [];
  const close = () => {
    for (const object of objects) object.close();
    for (const fd of Object.values(found)) native.closeFd(fd);
  };
  const names = Object.keys(MAPS) as MapName[];
  try {
    for (const name of names) {
      const fd = existsSync(pins.map(name)) ? native.openPin(pins.map(name)) : undefined;
      if (fd !== undefined) found[name] = fd;
    }
    const rodata = { '.rodata.features': encoded(Features, features) };
    const created = names.filter((name) => found[name] === undefined);
    const sizes = Object.fromEntries(created.map((name) => [name, options.mapSizes[name] ?? MAPS[name].maxEntries]));
    const tc = await load(native, 'tc', { maps: found, mapSizes: sizes, rodata });
    objects.push(tc);
    const fresh = created.length === names.length;
    if (fresh) seed(tc.maps);
    mkdirSync(pins.directory, { recursive: true });
    for (const name of created) native.pin(mapOf(tc, name), pins.map(name));
    describeMaps(native, pins);
    const maps = Object.fromEntries(names.map((name) => [name, found[name] ?? mapOf(tc, name)]));
    const adopted = created.length === 0;
    if (options.hooks.socket === 'off') return { maps, programs: tc.programs, adopted, fresh, close };
    const sock = await load(native, 'sock', { maps, rodata });
    objects.push(sock);
    return { maps, programs: { ...tc.programs, ...sock.programs }, adopted, fresh, close };
  } catch (error) {
    close();
    throw error;
  }
}

/** Loads xdp.o, which shares all maps with the other objects. Rejects as loadObjects. */
export function loadXdp(native: Native, maps: Readonly<Record<string, number>>, features: Features): Promise<NativeObject> {
  return load(native, 'xdp', { maps: { ...maps }, rodata: { '.rodata.features': encoded(Features, features) } });
}

async function load(native: Native, name: 'tc' | 'xdp' | 'sock', options: Parameters<Native['load']>[1]): Promise<NativeObject> {
  try {
    return await native.loadAside(objectPath(name), options);
  } catch (cause) {
    throw cause instanceof Error ? new Error(refusal(name, cause), { cause }) : cause;
  }
}

/** One sentence and the end of the verifier's log. libbpf writes `prog 'NAME': …` about the program that failed. */
export function refusal(object: string, error: Error): string {
  const log = 'log' in error ? String(error.log) : '';
  const program = [...log.matchAll(/prog '([^']+)'/g)].at(-1)?.[1];
  const what = program === undefined ? `${object}.o` : `program ${program} of ${object}.o`;
  const lines = log.trimEnd().split('\n').slice(-LOG_LINES);
  return [`the kernel refused ${what}: ${error.message}`, ...lines.filter((line) => line !== '').map((line) => `  ${line}`)].join('\n');
}

function mapOf(object: NativeObject, name: string): number {
  const fd = object.maps[name];
  if (fd === undefined) throw new Error(`the object has no map ${name}: it was built from another bpf/abi.h`);
  return fd;
}
