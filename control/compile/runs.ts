// Which slots hold which slice or Maglev table? A run is never rewritten in place: other contents are another run, and a
// freed one rests before its slots are used again. Equal contents share one run.

import type { Slice } from '../abi/layout.gen.ts';
import { REST_MS } from './ids.ts';

/** A run of slots. What is in them is not kept: its key says it. */
export interface Run {
  /** Names the contents: see `sliceKey` and `tableKey`. */
  readonly key: string;
  readonly first: number;
  readonly count: number;
  /** Of the contents, to notice that somebody else changed them: see `sumOf`. */
  sum: number;
  /** As they were found in the maps: not trusted before they were compared. Undefined: we filled them. */
  found: Uint32Array | undefined;
  claims: number;
  /** Clock when the last claim went, in ms; infinite until that is known to be in the maps. */
  freedAt: number;
}

interface Gap {
  first: number;
  count: number;
}

export interface Runs {
  /** Free slots: ascending, no two touch. */
  readonly gaps: Gap[];
  readonly live: Map<string, Run>;
  /** Freed runs with their contents still in place, the longest free first. */
  readonly resting: Map<string, Run>;
  /** Live runs that the slots do not hold yet, with the backend ids to fill in. */
  readonly fresh: Map<Run, ArrayLike<number>>;
}

/** No run. */
export const EMPTY: Slice = { first: 0, count: 0 };

/** Contents of a slice: ascending backend ids of one family. */
export function sliceKey(family: number, ids: readonly number[]): string {
  return `slice ${family} ${ids.join(' ')}`;
}

/**
 * Contents of a Maglev table: its backends' ids, ascending, and their generations, for it depends on the backends' names and an id may
 * get another backend.
 */
export function tableKey(family: number, size: number, ids: readonly number[], generationOf: (id: number) => number): string {
  return `table ${family} ${size} ${ids.map((id) => `${id}.${generationOf(id)}`).join(' ')}`;
}

/** What the slots hold already: a run that frontends name, or slots that hold leftovers. */
export interface HeldRun {
  readonly first: number;
  readonly ids: Uint32Array;
  /** Undefined: not recognised, its slots only rest. */
  readonly key: string | undefined;
}

/** Slots as they were found: `held` ascending, not overlapping. Everything held counts as freed; a claim gets it back until it is reclaimed. */
export function openRuns(length: number, held: readonly HeldRun[]): Runs {
  const runs: Runs = { gaps: [], live: new Map(), resting: new Map(), fresh: new Map() };
  let end = 0;
  for (const { first, ids, key } of held) {
    if (first > end) runs.gaps.push({ first: end, count: first - end });
    end = first + ids.length;
    const known = key !== undefined && !runs.resting.has(key);
    const name = known ? key : `leftover ${first}`;
    runs.resting.set(name, { key: name, first, count: ids.length, sum: 0, found: ids, claims: 0, freedAt: Number.POSITIVE_INFINITY });
  }
  if (end < length) runs.gaps.push({ first: end, count: length - end });
  return runs;
}

/** Index of the first gap that starts at or after `first`. */
function gapAfter(gaps: readonly Gap[], first: number): number {
  let low = 0;
  let high = gaps.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (gaps[middle]!.first < first) low = middle + 1;
    else high = middle;
  }
  return low;
}

function giveBack({ gaps }: Runs, first: number, count: number): void {
  const at = gapAfter(gaps, first);
  const before = gaps[at - 1];
  const after = gaps[at];
  const joinsAfter = after !== undefined && first + count === after.first;
  if (before !== undefined && before.first + before.count === first) {
    before.count += count + (joinsAfter ? after.count : 0);
    if (joinsAfter) gaps.splice(at, 1);
  } else if (joinsAfter) {
    after.first = first;
    after.count += count;
  } else {
    gaps.splice(at, 0, { first, count });
  }
}

function allocate({ gaps }: Runs, count: number): number | undefined {
  const at = gaps.findIndex((gap) => gap.count >= count);
  if (at < 0) return undefined;
  const gap = gaps[at]!;
  const first = gap.first;
  if (gap.count === count) {
    gaps.splice(at, 1);
  } else {
    gap.first += count;
    gap.count -= count;
  }
  return first;
}

/** Gives the slots of runs that rested long enough back. True if there were any. */
export function reclaimRuns(runs: Runs, now: number): boolean {
  let any = false;
  for (const run of runs.resting.values()) {
    if (now - run.freedAt < REST_MS) break;
    runs.resting.delete(run.key);
    giveBack(runs, run.first, run.count);
    any = true;
  }
  return any;
}

/** 32 bits of a run's contents (FNV-1a, word by word). One slot that is another changes them for certain, several do all but certainly. */
export function sumOf(count: number, idAt: (index: number) => number): number {
  let sum = 0x811c9dc5 | 0;
  for (let i = 0; i < count; i++) sum = Math.imul(sum ^ idAt(i), 0x01000193);
  return sum;
}

function sameIds(found: Uint32Array, wanted: ArrayLike<number>): boolean {
  return found.length === wanted.length && found.every((id, i) => id === wanted[i]);
}

/** A run of this name that rests with its contents in place. What was found in the maps is compared before it is trusted. */
function wake(runs: Runs, key: string, contents: () => ArrayLike<number>): Run | undefined {
  const run = runs.resting.get(key);
  if (run?.found !== undefined) {
    const ids = contents();
    if (!sameIds(run.found, ids)) return undefined;
    run.sum = sumOf(ids.length, (i) => ids[i]!);
    run.found = undefined;
  }
  if (run === undefined) return undefined;
  runs.resting.delete(key);
  return run;
}

function fill(runs: Runs, key: string, ids: ArrayLike<number>): Run | undefined {
  const first = allocate(runs, ids.length);
  if (first === undefined) return undefined;
  const sum = sumOf(ids.length, (i) => ids[i]!);
  const run: Run = { key, first, count: ids.length, sum, found: undefined, claims: 0, freedAt: 0 };
  runs.fresh.set(run, ids);
  return run;
}

/** A run with these contents: one that is live, one that rests and holds them still, or a fresh one. Undefined: no room. */
export function claimRun(runs: Runs, key: string, contents: () => ArrayLike<number>): Run | undefined {
  const run = runs.live.get(key) ?? wake(runs, key, contents) ?? fill(runs, key, contents());
  if (run === undefined) return undefined;
  runs.live.set(key, run);
  run.claims++;
  return run;
}

/** Takes a claim back. The last one lets the run rest, or frees it at once where nobody ever saw it. */
export function releaseRun(runs: Runs, run: Run): void {
  if (--run.claims > 0) return;
  runs.live.delete(run.key);
  if (runs.fresh.delete(run)) {
    giveBack(runs, run.first, run.count);
    return;
  }
  run.freedAt = Number.POSITIVE_INFINITY;
  // A run of the same name that rests already keeps the name: this one only waits for its end.
  const key = runs.resting.has(run.key) ? `leftover ${run.first}` : run.key;
  runs.resting.set(key, key === run.key ? run : { ...run, key });
}

/** After the maps were written: fresh runs are filled, what was freed rests from now on. */
export function settleRuns(runs: Runs, now: number): void {
  runs.fresh.clear();
  for (const run of runs.resting.values()) {
    if (run.freedAt === Number.POSITIVE_INFINITY) run.freedAt = now;
  }
}
