// Do the maps still hold what was written to them? Asked in small steps: each compares a few entries with what is held at that moment,
// so that turns in between change both and mislead nobody. What is not there is found as well as what should not be.

import { AddressFlag, type FrontendKey4, type SourceRangeKey4 } from '../abi/layout.gen.ts';
import { frontendText } from '../compile/claims.ts';
import { FAMILIES, type FamilyEntries, type Plan } from '../compile/plan.ts';
import { type Runs, sumOf } from '../compile/runs.ts';
import { same } from './diff.ts';
import { type Held, mapsOf, rangeText } from './held.ts';
import type { Maps, Slots, TypedMap } from './maps.ts';

type FamilyMaps = ReturnType<typeof mapsOf>;

/** A step a `next`; true at the first difference, false at the end where there was none. Between two steps the maps and `held` may change together. */
export type DriftSteps = Generator<undefined, boolean>;

/** Entries of a step: a fraction of a millisecond. */
const PAGE = 128;

function* pagesDiffer<K, V>(map: TypedMap<K, V>, differs: (key: K, value: V) => boolean): DriftSteps {
  for (const page of map.pages(PAGE)) {
    if (page.some(([key, value]) => differs(key, value))) return true;
    yield;
  }
  return false;
}

/** An iterator of a Map sees what comes and passes over what goes while it is on its way. */
function* frontendsDiffer(map: FamilyMaps['frontends'], held: FamilyEntries['frontends']): DriftSteps {
  const differs = (key: FrontendKey4, value: ReturnType<typeof map.get>) => {
    const entry = held.get(frontendText(key));
    return entry === undefined || value === undefined || !same(entry.value, value);
  };
  if (yield* pagesDiffer(map, differs)) return true;
  for (const { key } of held.values()) {
    if (map.get(key) === undefined) return true;
    yield;
  }
  return false;
}

/** The expiry of flows deletes retired addresses, and held forgets them later; one that is not held is the expiry's too. */
function* addressesDiffer(map: FamilyMaps['addresses'], held: FamilyEntries['addresses']): DriftSteps {
  const RETIRED = AddressFlag.ADDRESS_RETIRED;
  if (yield* pagesDiffer(map, (address, flags) => flags !== (held.get(address) ?? RETIRED))) return true;
  for (const [address, flags] of held) {
    if (flags !== RETIRED && map.get(address) === undefined) return true;
    yield;
  }
  return false;
}

/** An array's pages ascend and leave out what is zero. Backends without flags serve nobody, whatever else their entries say. */
function* backendsDiffer(map: FamilyMaps['backends'], held: FamilyEntries['backends']): DriftSteps {
  const differs = (id: number, entry = map.get(id)) =>
    (held.flags(id) !== 0 || entry?.flags !== 0) && (entry === undefined || !held.equals(id, entry));
  let next = 0;
  // Those left out may have come since the page was read: they are looked up.
  const lacks = (end: number) => {
    for (; next < end; next++) if (held.flags(next) !== 0 && differs(next)) return true;
    return false;
  };
  for (const page of map.pages(PAGE)) {
    for (const [id, entry] of page) {
      if (lacks(id) || differs(id, entry)) return true;
      next = id + 1;
    }
    yield;
  }
  return lacks(map.maxEntries);
}

/**
 * A trie answers with the longest prefix, so a look-up would not tell that an entry is missing. But a range that was held from before
 * the first page until after the last, as the same object, must have been in one of them.
 */
function* rangesDiffer(map: FamilyMaps['source_ranges'], held: FamilyEntries['source_ranges']): DriftSteps {
  const unseen = new Set<SourceRangeKey4>(held.values());
  const differs = (key: SourceRangeKey4) => {
    const there = held.get(rangeText(key));
    if (there !== undefined) unseen.delete(there);
    return there === undefined;
  };
  if (yield* pagesDiffer(map, differs)) return true;
  for (const key of unseen) if (held.get(rangeText(key)) === key) return true;
  return false;
}

/** Runs that nobody names mean nothing. */
function* runsDiffer(slots: Slots, { live }: Runs): DriftSteps {
  for (const { first, count, sum } of live.values()) {
    if (sumOf(count, (i) => slots.get(first + i)) !== sum) return true;
    yield;
  }
  return false;
}

/** Looks at all maps that the Plan decides about. To be given up when `held` is read anew. Throws KernelError. */
export function* driftSteps(maps: Maps, held: Held, plan: Plan): DriftSteps {
  for (const family of FAMILIES) {
    const of = mapsOf(maps, family);
    const entries = held.entries[family];
    if (yield* frontendsDiffer(of.frontends, entries.frontends)) return true;
    if (yield* backendsDiffer(of.backends, entries.backends)) return true;
    if (yield* addressesDiffer(of.addresses, entries.addresses)) return true;
    if (yield* rangesDiffer(of.source_ranges, entries.source_ranges)) return true;
  }
  return yield* runsDiffer(maps.slots, plan.runs);
}
