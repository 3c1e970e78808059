// Where in the bpffs does what stand? Each generation of maps has a directory of its own, with the links of the programs that use
// them, named after the maps' layout and sizes, so that maps of another shape are never adopted by mistake. bpffs allows no dot in a name.

import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { LAYOUT_FINGERPRINT, MAPS, type MapName } from '../abi/layout.gen.ts';
import { kernelMaps, type Maps } from './maps.ts';
import type { Native } from './native.ts';

/** What is pinned of one generation. The highest number is the newest. */
export interface Pins {
  readonly directory: string;
  readonly number: number;
  /** Fingerprint of the layout, and digest of the sizes: who has the same can adopt the maps. */
  readonly shape: string;
  /** Of the three directories below. It is there from the moment when the first program is attached. */
  readonly links: string;
  /** `IFINDEX-ingress`. */
  readonly deviceLinks: string;
  /** `IFINDEX`. */
  readonly xdpLinks: string;
  /** `connect4`. */
  readonly cgroupLinks: string;
  /** The map that says in words what the others hold. */
  readonly layout: string;
  map(name: string): string;
}

export type Sizes = Readonly<Partial<Record<MapName, number>>>;

/** The shape of maps of this version's layout. sizes: max_entries where not the default. */
export function shapeOf(sizes: Sizes): string {
  const all = Object.values(MAPS).map((map) => [map.name, sizes[map.name] ?? map.maxEntries]);
  return `${LAYOUT_FINGERPRINT}-${createHash('sha256').update(JSON.stringify(all)).digest('hex').slice(0, 8)}`;
}

/** Paths of one generation. */
export function pinsOf(pinDirectory: string, shape: string, number: number): Pins {
  const directory = `${pinDirectory}/${shape}-${number}`;
  return pinsAt(directory, `${directory}/links`, shape, number);
}

/** Before generations the links stood beside the maps, which had no number; in clsact the programs are where those of a first generation are. */
function firstPinsOf(pinDirectory: string, shape: string): Pins {
  return pinsAt(`${pinDirectory}/${shape}`, `${pinDirectory}/links`, shape, 1);
}

function pinsAt(directory: string, links: string, shape: string, number: number): Pins {
  return {
    directory,
    number,
    shape,
    links,
    deviceLinks: `${links}/device`,
    xdpLinks: `${links}/xdp`,
    cgroupLinks: `${links}/cgroup`,
    layout: `${directory}/layout`,
    map: (name) => `${directory}/${name}`,
  };
}

/** Every generation that is pinned, the newest last. */
export function generationsIn(pinDirectory: string): Pins[] {
  if (!existsSync(pinDirectory)) return [];
  return readdirSync(pinDirectory)
    .flatMap((name) => {
      const [, shape, number] = /^([0-9a-f]+-[0-9a-f]+)(?:-(\d+))?$/.exec(name) ?? [];
      if (shape === undefined) return [];
      return [number === undefined ? firstPinsOf(pinDirectory, shape) : pinsOf(pinDirectory, shape, Number(number))];
    })
    .sort((a, b) => a.number - b.number);
}

/** The newest generation by which something is attached; undefined: nothing is. */
export function servingPins(pinDirectory: string): Pins | undefined {
  return generationsIn(pinDirectory).findLast(({ links }) => existsSync(links));
}

/**
 * The maps that an agent of this layout left or uses, without one; undefined where there are none. Throws where there are only
 * maps of another layout. The descriptors end with the process.
 */
export function openPinnedMaps(native: Native, pinDirectory: string): Maps | undefined {
  const generations = generationsIn(pinDirectory);
  const ours = generations.findLast(({ shape }) => shape.startsWith(`${LAYOUT_FINGERPRINT}-`));
  if (ours === undefined) {
    if (generations.length > 0)
      throw new Error(`the maps in ${pinDirectory} are of another version of sluice (this one's layout is ${LAYOUT_FINGERPRINT})`);
    return undefined;
  }
  const descriptors: Record<string, number> = {};
  for (const name of Object.keys(MAPS)) {
    const descriptor = native.openPin(ours.map(name));
    // A start that was interrupted leaves some maps without the others: nothing is served by them.
    if (descriptor === undefined) return undefined;
    descriptors[name] = descriptor;
  }
  return kernelMaps(native, descriptors);
}

/** Removes a pin or a directory of pins with all that is in it; absent is well. */
export function removePins(path: string): void {
  if (!existsSync(path)) return;
  if (!lstatSync(path).isDirectory()) {
    unlinkSync(path);
    return;
  }
  for (const name of readdirSync(path)) removePins(`${path}/${name}`);
  rmdirSync(path);
}
