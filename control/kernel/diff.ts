// What has to be written, and in which order? Plan minus held as a printable list that is safe after every single step: no
// frontend ever names a slice, a table or a backend that is not there, and none loses its source ranges for a moment.

import type { Backend4, Frontend, FrontendKey4, SourceRangeKey4 } from '../abi/layout.gen.ts';
import { BackendFlag } from '../abi/layout.gen.ts';
import { frontendText, PROTOCOL_NUMBER } from '../compile/claims.ts';
import {
  FAMILIES,
  type FamilyEntries,
  type FamilyPlan,
  type Plan,
  plannedAddress,
  plannedBackend,
  plannedFrontend,
} from '../compile/plan.ts';
import type { Address, Family } from '../model/model.ts';
import { type Held, rangeText } from './held.ts';

/** One kind of write to one map. Its entries are independent of each other. */
export type Change =
  | { readonly write: 'frontends'; readonly family: Family; readonly entries: readonly (readonly [FrontendKey4, Frontend])[] }
  | { readonly write: 'backends'; readonly family: Family; readonly entries: readonly (readonly [number, Backend4])[] }
  | { readonly write: 'addresses'; readonly family: Family; readonly entries: readonly (readonly [Address, number])[] }
  | { readonly write: 'source_ranges'; readonly family: Family; readonly entries: readonly (readonly [SourceRangeKey4, number])[] }
  | { readonly delete: 'frontends'; readonly family: Family; readonly keys: readonly FrontendKey4[] }
  | { readonly delete: 'addresses'; readonly family: Family; readonly keys: readonly Address[] }
  | { readonly delete: 'source_ranges'; readonly family: Family; readonly keys: readonly SourceRangeKey4[] }
  | { readonly fill: 'slots'; readonly first: number; readonly ids: ArrayLike<number> };

/** Writes in the order in which they must be done. */
export type Changes = readonly Change[];

/** Every member of the entry equal; those that are slices member by member. */
export function same<T extends object>(a: T, b: T): boolean {
  for (const name in a) {
    const [x, y] = [a[name], b[name]];
    if (x === y) continue;
    if (typeof x !== 'object' || x === null || typeof y !== 'object' || y === null || !same<object>(x, y)) return false;
  }
  return true;
}

function* frontendChanges(part: FamilyPlan, held: FamilyEntries): Generator<Change> {
  const entries: [FrontendKey4, Frontend][] = [];
  const keys: FrontendKey4[] = [];
  for (const text of part.touched.frontends) {
    const planned = plannedFrontend(part, text);
    const found = held.frontends.get(text);
    if (planned === undefined) {
      if (found !== undefined) keys.push(found.key);
    } else if (found === undefined || !same(planned.value, found.value)) {
      entries.push([planned.key, planned.value]);
    }
  }
  if (keys.length > 0) yield { delete: 'frontends', family: part.family, keys };
  if (entries.length > 0) yield { write: 'frontends', family: part.family, entries };
}

/** Backends that exist, and backends that are gone: their entries stay, without flags, until the id has another use. */
function* backendChanges(part: FamilyPlan, held: FamilyEntries, hosts: ReadonlySet<Address>): Generator<Change> {
  const living: [number, Backend4][] = [];
  const gone: [number, Backend4][] = [];
  for (const id of part.touched.backends) {
    const planned = plannedBackend(part, id, hosts);
    if (planned === undefined) continue;
    if (planned.flags === 0) {
      if (held.backends.flags(id) !== 0) gone.push([id, planned]);
    } else if (!held.backends.equals(id, planned)) living.push([id, planned]);
  }
  if (living.length > 0) yield { write: 'backends', family: part.family, entries: living };
  if (gone.length > 0) yield { write: 'backends', family: part.family, entries: gone };
}

function* addressChanges(part: FamilyPlan, held: FamilyEntries): Generator<Change> {
  const entries: [Address, number][] = [];
  const keys: Address[] = [];
  for (const address of part.touched.addresses) {
    const planned = plannedAddress(part, address);
    const found = held.addresses.get(address);
    if (planned === undefined && found !== undefined) keys.push(address);
    if (planned !== undefined && planned !== found) entries.push([address, planned]);
  }
  if (keys.length > 0) yield { delete: 'addresses', family: part.family, keys };
  if (entries.length > 0) yield { write: 'addresses', family: part.family, entries };
}

function* rangeChanges(part: FamilyPlan, held: FamilyEntries): Generator<Change> {
  const entries: [SourceRangeKey4, number][] = [];
  const keys: SourceRangeKey4[] = [];
  for (const text of part.touched.source_ranges) {
    const planned = part.ranges.get(text)?.key;
    const found = held.source_ranges.get(text);
    if (planned === undefined && found !== undefined) keys.push(found);
    if (planned !== undefined && found === undefined) entries.push([planned, 1]);
  }
  if (keys.length > 0) yield { delete: 'source_ranges', family: part.family, keys };
  if (entries.length > 0) yield { write: 'source_ranges', family: part.family, entries };
}

function* fills(plan: Plan): Generator<Change> {
  for (const [{ first }, ids] of plan.runs.fresh) yield { fill: 'slots', first, ids };
}

/** Does the change name backends that are gone? */
function buries(change: Change): boolean {
  return 'write' in change && change.write === 'backends' && change.entries[0]?.[1].flags === 0;
}

/**
 * When a change is due. What vanishes first, from the frontend down; then what is new, from the backend up; what nobody can need any
 * more last.
 * - Source ranges come before the frontend that demands them (without, it would refuse everybody) and go after it.
 * - An address comes after its frontends: known without them, every port of a new ClusterIP would be rejected as unowned.
 * - Backends that are gone come last: until the frontends were written, slices still name them.
 */
function rank(change: Change): number {
  if ('fill' in change) return 3;
  if ('delete' in change) return { frontends: 0, addresses: 1, source_ranges: 7 }[change.delete];
  if (buries(change)) return 8;
  return { backends: 2, source_ranges: 4, frontends: 5, addresses: 6 }[change.write];
}

/** All writes that turn `held` into `plan`, in safe order. */
export function difference(held: Held, plan: Plan): Changes {
  const changes: Change[] = [...fills(plan)];
  for (const family of FAMILIES) {
    const part = plan.families[family];
    const entries = held.entries[family];
    changes.push(...frontendChanges(part, entries), ...backendChanges(part, entries, plan.hosts));
    changes.push(...addressChanges(part, entries), ...rangeChanges(part, entries));
  }
  return changes.sort((a, b) => rank(a) - rank(b));
}

/** Does a UDP backend stop serving? */
export function stopsUDP(changes: Changes): boolean {
  return changes.some(
    (change) =>
      'write' in change &&
      change.write === 'backends' &&
      change.entries.some((entry) => entry[1].protocol === PROTOCOL_NUMBER.UDP && !(entry[1].flags & BackendFlag.BACKEND_SERVING)),
  );
}

/** Keeps `held` true: the change is in the maps. */
export function note(held: Held, change: Change): void {
  if ('fill' in change) return;
  const { frontends, backends, addresses, source_ranges } = held.entries[change.family];
  if ('delete' in change) {
    if (change.delete === 'frontends') for (const key of change.keys) frontends.delete(frontendText(key));
    else if (change.delete === 'addresses') for (const key of change.keys) addresses.delete(key);
    else for (const key of change.keys) source_ranges.delete(rangeText(key));
  } else if (change.write === 'frontends') {
    for (const [key, value] of change.entries) frontends.set(frontendText(key), { key, value });
  } else if (change.write === 'backends') {
    for (const entry of change.entries) backends.set(entry[0], entry[1]);
  } else if (change.write === 'addresses') {
    for (const [address, flags] of change.entries) addresses.set(address, flags);
  } else {
    for (const [key] of change.entries) source_ranges.set(rangeText(key), key);
  }
}
