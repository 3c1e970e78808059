// Where in the bpffs does what stand? Maps in a directory named after their layout and sizes, so that maps of another shape are never
// adopted by mistake; links beside them, because they stay when the maps are replaced. bpffs allows no dot in a name.

import { createHash } from 'node:crypto';
import { existsSync, lstatSync, readdirSync, rmdirSync, unlinkSync } from 'node:fs';
import { LAYOUT_FINGERPRINT, MAPS, type MapName } from '../abi/layout.gen.ts';
import { kernelMaps, type Maps } from './maps.ts';
import type { Native } from './native.ts';

const LINKS = 'links';

export interface Pins {
  /** The directory of the maps of this layout and these sizes. */
  readonly maps: string;
  /** `device/IFINDEX-ingress`. */
  readonly deviceLinks: string;
  /** `xdp/IFINDEX`. */
  readonly xdpLinks: string;
  /** `cgroup/connect4`. */
  readonly cgroupLinks: string;
  map(name: MapName): string;
}

/** Paths under a pin directory. sizes: max_entries where not the default. */
export function pinsOf(pinDirectory: string, sizes: Readonly<Partial<Record<MapName, number>>>): Pins {
  const maps = `${pinDirectory}/${LAYOUT_FINGERPRINT}-${sizesDigest(sizes)}`;
  return {
    maps,
    deviceLinks: `${pinDirectory}/${LINKS}/device`,
    xdpLinks: `${pinDirectory}/${LINKS}/xdp`,
    cgroupLinks: `${pinDirectory}/${LINKS}/cgroup`,
    map: (name) => `${maps}/${name}`,
  };
}

function sizesDigest(sizes: Readonly<Partial<Record<MapName, number>>>): string {
  const all = Object.values(MAPS).map((map) => [map.name, sizes[map.name] ?? map.maxEntries]);
  return createHash('sha256').update(JSON.stringify(all)).digest('hex').slice(0, 8);
}

/** Directories of maps under a pin directory, the newest last. */
export function mapDirectories(pinDirectory: string): string[] {
  if (!existsSync(pinDirectory)) return [];
  return readdirSync(pinDirectory)
    .filter((name) => name !== LINKS)
    .map((name) => `${pinDirectory}/${name}`)
    .sort((a, b) => lstatSync(a).ctimeMs - lstatSync(b).ctimeMs);
}

/**
 * The maps that an agent of this layout left or uses, without one; undefined where there are none. Throws where there are only
 * maps of another layout. The descriptors end with the process.
 */
export function openPinnedMaps(native: Native, pinDirectory: string): Maps | undefined {
  const directories = mapDirectories(pinDirectory);
  const ours = directories.findLast((path) => path.startsWith(`${pinDirectory}/${LAYOUT_FINGERPRINT}-`));
  if (ours === undefined) {
    if (directories.length > 0)
      throw new Error(`the maps in ${pinDirectory} are of another version of sluice (this one's layout is ${LAYOUT_FINGERPRINT})`);
    return undefined;
  }
  const descriptors: Record<string, number> = {};
  for (const name of Object.keys(MAPS)) {
    const descriptor = native.openPin(`${ours}/${name}`);
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
