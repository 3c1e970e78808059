// Which maps serve this node, and may this version adopt them? Maps of another layout or other sizes are another generation: its
// programs serve until ours, which stand before them, have everything (carry.ts); then it leaves.

import { existsSync, readdirSync } from 'node:fs';
import { LAYOUT } from '../abi/layout.gen.ts';
import type { Layout } from '../abi/translation.ts';
import { removeGenerationFilters } from './attach.ts';
import type { Ledger } from './ledger.ts';
import type { Native } from './native.ts';
import { generationsIn, type Pins, pinsOf, removePins, type Sizes, shapeOf } from './pins.ts';

/** enum bpf_map_type. */
const ARRAY = 2;

export interface Generations {
  /** Ours: adopted where it is there, else to be made. */
  readonly own: Pins;
  /** Others that serve, the newest first: their flows live on in ours. */
  readonly others: readonly Pins[];
}

/**
 * Looks at what is pinned and removes what an interrupted start left: maps by which nothing was attached yet, and a generation that had taken
 * no flow yet while an older one served. Call with the lock.
 */
export function chooseGeneration(native: Native, pinDirectory: string, sizes: Sizes, ledger: Ledger, netlink: number): Generations {
  const found = generationsIn(pinDirectory);
  const serving = found.filter(({ links }) => existsSync(links));
  for (const pins of found) if (!serving.includes(pins)) removePins(pins.directory);
  while (serving.length > 1 && yields(native, serving.at(-1)!)) removeGeneration(native, serving.pop()!, ledger, netlink);
  const shape = shapeOf(sizes);
  const newest = serving.at(-1);
  // Of our shape but not the newest: others came after it and took flows, whose backends it does not know.
  if (newest?.shape === shape) return { own: newest, others: serving.slice(0, -1).reverse() };
  const number = Math.max(0, ...found.map((pins) => pins.number)) + 1;
  return { own: pinsOf(pinDirectory, shape, number), others: serving.reverse() };
}

/** Pins the description of our maps beside them. */
export function describeMaps(native: Native, pins: Pins): void {
  if (existsSync(pins.layout)) return;
  const text = new TextEncoder().encode(JSON.stringify(LAYOUT));
  // The value's size says where the text ends, up to the zeros of the last word.
  const fd = native.mapCreate('layout', ARRAY, 4, (text.length + 7) & ~7, 1);
  const value = new Uint8Array((text.length + 7) & ~7);
  value.set(text);
  native.mapUpdate(fd, new Uint8Array(4), value, 0);
  native.pin(fd, pins.layout);
  native.closeFd(fd);
}

/** What the maps of a generation hold; undefined where it does not say, or says what we do not understand. */
export function layoutOf(native: Native, pins: Pins): Layout | undefined {
  const fd = native.openPin(pins.layout);
  if (fd === undefined) return undefined;
  try {
    const bytes = native.mapLookup(fd, new Uint8Array(4));
    const value: unknown = JSON.parse(new TextDecoder().decode(bytes).replace(/\0+$/, ''));
    return isLayout(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  } finally {
    native.closeFd(fd);
  }
}

function isLayout(value: unknown): value is Layout {
  return typeof value === 'object' && value !== null && ['structs', 'maps', 'enums'].every((part) => part in value);
}

/** Does it take no new flow? */
function yields(native: Native, pins: Pins): boolean {
  const layout = layoutOf(native, pins);
  const offset = layout?.structs.settings?.fields.flags?.[0];
  const flag = layout?.enums.setting_flag?.SETTING_YIELD;
  const fd = native.openPin(pins.map('settings'));
  if (offset === undefined || flag === undefined || fd === undefined) return false;
  const value = native.mapLookup(fd, new Uint8Array(4));
  native.closeFd(fd);
  return value !== undefined && (new DataView(value.buffer, value.byteOffset).getUint32(offset, true) & flag) === flag;
}

/** Takes the links of a directory away, at once: a link that only loses its pin is detached some time later. */
export function detachLinks(native: Native, directory: string, only: (name: string) => boolean = () => true): void {
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory).filter(only)) {
    const link = native.openPin(`${directory}/${name}`);
    if (link !== undefined) {
      native.linkDetach(link);
      native.closeFd(link);
    }
    removePins(`${directory}/${name}`);
  }
}

/** Programs before maps: a program that runs keeps its maps whole to its last packet. */
export function removeGeneration(native: Native, pins: Pins, ledger: Ledger, netlink: number): void {
  for (const directory of [pins.xdpLinks, pins.deviceLinks, pins.cgroupLinks]) detachLinks(native, directory);
  removeGenerationFilters(native, ledger, netlink, pins.number);
  removePins(pins.links);
  removePins(pins.directory);
}
