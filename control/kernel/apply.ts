// How do Changes get into the maps? In their order, each noted as held once it is there; the first refusal ends it, and
// what was done until then is whole: the order of Changes is safe after every step.

import { type Change, type Changes, note } from './diff.ts';
import { type Held, mapsOf } from './held.ts';
import type { Maps } from './maps.ts';

function write(maps: Maps, change: Change): number {
  if ('fill' in change) {
    // Slots count as part of the frontend entry that will name them.
    maps.slots.fill(change.first, change.ids);
    return 0;
  }
  const { frontends, backends, addresses, source_ranges } = mapsOf(maps, change.family);
  if ('delete' in change) {
    if (change.delete === 'frontends') frontends.deleteMany(change.keys);
    else if (change.delete === 'addresses') addresses.deleteMany(change.keys);
    else source_ranges.deleteMany(change.keys);
    return change.keys.length;
  }
  if (change.write === 'frontends') frontends.setMany(change.entries);
  else if (change.write === 'backends') backends.setMany(change.entries);
  else if (change.write === 'addresses') addresses.setMany(change.entries);
  else source_ranges.setMany(change.entries);
  return change.entries.length;
}

/**
 * Executes `changes` and keeps `held` true. Returns how many entries were written or deleted. Throws KernelError at the first
 * refusal: `held` then lags behind the maps and has to be read again.
 */
export function apply(maps: Maps, held: Held, changes: Changes): number {
  let written = 0;
  for (const change of changes) {
    written += write(maps, change);
    note(held, change);
  }
  return written;
}
