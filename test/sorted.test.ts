// A map that is a value: like a Map that is copied and sorted at every change, and sharing what did not change.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { differences, type SortedMap, sortedMap } from '../control/sorted.ts';

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
console.log(`fast-check seed: ${SEED} (SEED=${SEED} repeats it)`);
const RUNS = { seed: SEED, numRuns: Number(process.env.RUNS ?? 200) };

type Changes = ReadonlyMap<string, number | undefined>;

const key = fc.integer({ min: 0, max: 400 }).map((number) => `k${number}`);
const changes: fc.Arbitrary<Changes> = fc
  .array(fc.tuple(key, fc.option(fc.integer({ min: 0, max: 3 }), { nil: undefined })), { maxLength: 300 })
  .map((entries) => new Map(entries));

function copyWith(map: ReadonlyMap<string, number>, changed: Changes): ReadonlyMap<string, number> {
  const next = new Map(map);
  for (const [name, value] of changed) {
    if (value === undefined) next.delete(name);
    else next.set(name, value);
  }
  return new Map([...next].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function numbered(count: number): SortedMap<number> {
  return sortedMap(Array.from({ length: count }, (_, i) => [String(i).padStart(6, '0'), i] as const));
}

describe('a sorted map', () => {
  it('is what a copied and sorted Map is, after any changes', () => {
    fc.assert(
      fc.property(fc.array(changes, { maxLength: 8 }), (steps) => {
        let map = sortedMap<number>();
        let copy: ReadonlyMap<string, number> = new Map();
        for (const step of steps) {
          const [before, was] = [map, [...map]];
          map = map.withAll(step);
          copy = copyWith(copy, step);
          assert.deepEqual([...before], was, 'a version does not change');
          assert.deepEqual([[...map], map.size], [[...copy], copy.size]);
          assert.deepEqual([[...map.keys()], [...map.values()]], [[...copy.keys()], [...copy.values()]]);
          for (const name of step.keys()) assert.deepEqual([map.get(name), map.has(name)], [copy.get(name), copy.has(name)]);
        }
      }),
      RUNS,
    );
  });

  it('tells the differences of any two versions, as two Maps do', () => {
    fc.assert(
      fc.property(fc.array(changes, { minLength: 1, maxLength: 5 }), changes, (steps, last) => {
        const before = steps.reduce<SortedMap<number>>((map, step) => map.withAll(step), sortedMap());
        const now = before.withAll(last);
        const expected = [...differences(new Map(now), new Map(before))].sort();
        assert.deepEqual([...differences(now, before)].sort(), expected);
        assert.deepEqual([...differences(before, now)].sort(), expected);
        assert.deepEqual([...differences(now, sortedMap(before))].sort(), expected, 'also where nothing is shared');
      }),
      RUNS,
    );
  });

  it('shares all but a few chunks with the version before, and tells of one change without a look at the others', () => {
    const before = numbered(10_000);
    const now = before.withAll(new Map([['005000', -1]]));
    const shared = new Set(before.chunks);
    assert.equal(now.chunks.filter((chunk) => !shared.has(chunk)).length, 1);
    assert.deepEqual([...differences(now, before)], ['005000']);
    assert.equal(now.withAll(new Map()), now);
  });

  it('keeps its chunks short, whatever the order of arrival', () => {
    let map = sortedMap<number>();
    for (let i = 0; i < 2_000; i++) map = map.withAll(new Map([[String((i * 7919) % 2_000).padStart(6, '0'), i]]));
    assert.equal(map.size, 2_000);
    assert.ok(map.chunks.every(({ keys }) => keys.length <= 64));
    assert.ok(map.chunks.length < 100);
  });
});
