// What do the maps hold? Read once when they are adopted, and again after a write failed; in between every write is noted
// here too. Slots are recognised by their contents, so that nothing is filled twice.

import type { Frontend, Slice } from '../abi/layout.gen.ts';
import { type BackendEntries, backendEntries } from '../compile/backends.ts';
import { frontendText } from '../compile/claims.ts';
import { FAMILIES, type FamilyEntries, type FamilyLimits, type Ground } from '../compile/plan.ts';
import { type HeldRun, sliceKey, tableKey } from '../compile/runs.ts';
import type { Family } from '../model/model.ts';
import type { Maps, Slots } from './maps.ts';

/** The contents of the maps that the Plan decides about. */
export type Held = Ground;

/** The four maps of one family, under the names they have without it. */
export function mapsOf(maps: Maps, family: Family) {
  return family === 4
    ? { frontends: maps.frontends4, backends: maps.backends4, addresses: maps.addresses4, source_ranges: maps.source_ranges4 }
    : { frontends: maps.frontends6, backends: maps.backends6, addresses: maps.addresses6, source_ranges: maps.source_ranges6 };
}

/** How a source range is named here: frontend id and prefix. */
export function rangeText(key: { frontend: number; address: string; prefix_length: number }): string {
  return `${key.frontend} ${key.address}/${key.prefix_length - 32}`;
}

function noEntries(maps: Maps, family: Family): FamilyEntries {
  const backends = backendEntries(mapsOf(maps, family).backends.maxEntries);
  return { frontends: new Map(), backends, addresses: new Map(), source_ranges: new Map() };
}

/** What maps hold that were made just now: nothing, which reading all of them would tell in a tenth of a second. */
export function emptyHeld(maps: Maps): Held {
  return {
    limits: { 4: limitsOf(maps, 4), 6: limitsOf(maps, 6) },
    slots: maps.slots.length,
    entries: { 4: noEntries(maps, 4), 6: noEntries(maps, 6) },
    runs: [],
  };
}

function limitsOf(maps: Maps, family: Family): FamilyLimits {
  const { frontends, backends, addresses, source_ranges } = mapsOf(maps, family);
  return {
    frontends: frontends.maxEntries,
    backends: backends.maxEntries,
    addresses: addresses.maxEntries,
    source_ranges: source_ranges.maxEntries,
  };
}

function readFamily(maps: Maps, family: Family): FamilyEntries {
  const from = mapsOf(maps, family);
  const entries = noEntries(maps, family);
  const { backends } = entries;
  for (const [key, value] of from.frontends.entries()) entries.frontends.set(frontendText(key), { key, value });
  for (const [id, value] of from.backends.entries()) if (value.generation !== 0 || value.flags !== 0) backends.set(id, value);
  for (const [address, flags] of from.addresses.entries()) entries.addresses.set(address, flags);
  for (const [key] of from.source_ranges.entries()) entries.source_ranges.set(rangeText(key), key);
  return entries;
}

/** Slots that frontends name, and as what. */
interface Span extends Slice {
  readonly keyOf: ((ids: Uint32Array) => string | undefined) | undefined;
}

function ascending(ids: Uint32Array): boolean {
  return ids.every((id, i) => i === 0 || id > ids[i - 1]!);
}

function* spansOf(family: Family, { cluster, local, cluster_table, local_table }: Frontend, backends: BackendEntries): Generator<Span> {
  const generationOf = (id: number) => backends.get(id)?.generation ?? 0;
  for (const slice of [cluster, local]) yield { ...slice, keyOf: (ids) => (ascending(ids) ? sliceKey(family, [...ids]) : undefined) };
  for (const table of [cluster_table, local_table]) {
    yield { ...table, keyOf: (ids) => tableKey(family, table.count, [...new Uint32Array(new Set(ids)).sort()], generationOf) };
  }
}

/** Spans in ascending order without overlap. Two that overlap and are not the same belong together and are not recognised. */
function separate(spans: Iterable<Span>, length: number): Span[] {
  const apart: Span[] = [];
  for (const span of [...spans].sort((a, b) => a.first - b.first || a.count - b.count)) {
    if (span.count === 0 || span.first + span.count > length) continue;
    const last = apart.at(-1);
    if (last === undefined || span.first >= last.first + last.count) apart.push(span);
    else if (span.first !== last.first || span.count !== last.count) {
      const end = Math.max(span.first + span.count, last.first + last.count);
      apart[apart.length - 1] = { first: last.first, count: end - last.first, keyOf: undefined };
    }
  }
  return apart;
}

/** Slots from `first` to before `end` that hold something nobody names: they may be on a packet's mind, so they rest too. */
function leftover(slots: Slots, first: number, end: number): HeldRun[] {
  let last = end - 1;
  while (last >= first && slots.get(last) === 0) last--;
  return last < first ? [] : [{ first, ids: new Uint32Array(last + 1 - first), key: undefined }];
}

function readRuns(slots: Slots, spans: Iterable<Span>): HeldRun[] {
  const runs: HeldRun[] = [];
  let end = 0;
  for (const { first, count, keyOf } of separate(spans, slots.length)) {
    runs.push(...leftover(slots, end, first));
    const ids = new Uint32Array(count);
    for (let i = 0; i < count; i++) ids[i] = slots.get(first + i);
    runs.push({ first, ids, key: keyOf?.(ids) });
    end = first + count;
  }
  runs.push(...leftover(slots, end, slots.length));
  return runs;
}

/** Reads all of it. Throws KernelError. */
export function readHeld(maps: Maps): Held {
  const entries = { 4: readFamily(maps, 4), 6: readFamily(maps, 6) };
  const spans = FAMILIES.flatMap((family) => {
    const { frontends, backends } = entries[family];
    return [...frontends.values()].flatMap(({ value }) => [...spansOf(family, value, backends)]);
  });
  return {
    limits: { 4: limitsOf(maps, 4), 6: limitsOf(maps, 6) },
    slots: maps.slots.length,
    entries,
    runs: readRuns(maps.slots, spans),
  };
}
