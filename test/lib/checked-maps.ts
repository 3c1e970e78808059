// Maps that judge every single write: after each one every frontend must name slices, tables and backends that are there. They
// can also refuse a write, as a kernel does, before it happens or in the middle of a batch.

import assert from 'node:assert/strict';
import type { Frontend, MapName, Slice } from '../../control/abi/layout.gen.ts';
import { BackendFlag, FrontendFlag } from '../../control/abi/layout.gen.ts';
import { KernelError, type Maps, memoryMaps, type Slots, type TypedMap } from '../../control/kernel/maps.ts';

/** Fails where a frontend of one family names something that is not there. */
function checkFamily(maps: Maps, family: 4 | 6): void {
  const frontends = family === 4 ? maps.frontends4 : maps.frontends6;
  const backends = family === 4 ? maps.backends4 : maps.backends6;
  const ranges = family === 4 ? maps.source_ranges4 : maps.source_ranges6;
  const guarded = new Set([...ranges.entries()].map(([key]) => key.frontend));
  for (const [key, value] of frontends.entries()) {
    const name = `frontend ${key.address} ${key.port}/${key.protocol}`;
    const ids = (slice: Slice) => Array.from({ length: slice.count }, (_, i) => maps.slots.get(slice.first + i));
    for (const [slice, table] of [
      [value.cluster, value.cluster_table],
      [value.local, value.local_table],
    ] as const) {
      const members = ids(slice);
      for (const [i, id] of members.entries()) {
        const entry = backends.get(id);
        assert.ok(
          id !== 0 && entry !== undefined && entry.flags & BackendFlag.BACKEND_LIVE,
          `${name}: slot ${slice.first + i} names backend ${id}, not there`,
        );
        assert.equal(entry.protocol, key.protocol, `${name}: backend ${id} is of another protocol`);
        assert.ok(i === 0 || id > members[i - 1]!, `${name}: its slice does not ascend`);
      }
      const strangers = ids(table).filter((id) => !members.includes(id));
      assert.deepEqual(strangers, [], `${name}: its Maglev table names backends outside its slice`);
    }
    const needsRanges = (value.flags & FrontendFlag.FRONTEND_SOURCE_RANGES) !== 0;
    assert.ok(!needsRanges || guarded.has(value.id), `${name}: demands source ranges that are not there`);
  }
}

/** Fails where some frontend names something that is not there. */
export function checkReferences(maps: Maps): void {
  checkFamily(maps, 4);
  checkFamily(maps, 6);
}

export interface CheckedMaps {
  readonly maps: Maps;
  /** Asked before each write: true refuses it. */
  refuse: () => boolean;
  writes: number;
}

function runsOf(value: Frontend): Slice[] {
  return [value.cluster, value.local, value.cluster_table, value.local_table].filter(({ count }) => count > 0);
}

/** Slots named by frontends, and until when (ms) those named before must rest. */
function restKeeper(maps: Maps, clock: () => number, restMs: number) {
  const namedAt = new Map<number, number>();
  return {
    look(): void {
      for (const frontends of [maps.frontends4, maps.frontends6]) {
        for (const [, value] of frontends.entries()) {
          for (const { first, count } of runsOf(value)) for (let i = first; i < first + count; i++) namedAt.set(i, clock());
        }
      }
    },
    check(first: number, count: number): void {
      for (let i = first; i < first + count; i++) {
        const at = namedAt.get(i);
        assert.ok(at === undefined || clock() - at >= restMs, `slot ${i} is rewritten ${clock() - at!} ms after a frontend named it`);
      }
    },
  };
}

/** Memory maps under watch. `clock` in ms; slots must not be rewritten within `restMs` of being named by a frontend. */
export function checkedMaps(sizes: Partial<Record<MapName, number>>, clock: () => number, restMs: number): CheckedMaps {
  const inner = memoryMaps(sizes);
  const rest = restKeeper(inner, clock, restMs);
  const checked: CheckedMaps = { maps: inner, refuse: () => false, writes: 0 };

  function step<T>(map: string, operation: string, write: () => T): T {
    if (checked.refuse()) throw new KernelError(operation, map, 'ENOMEM');
    rest.look();
    const result = write();
    checked.writes++;
    checkReferences(inner);
    return result;
  }

  function watch<K, V>(map: TypedMap<K, V>): TypedMap<K, V> {
    return {
      ...map,
      set: (key, value, mode) => step(map.name, 'set', () => map.set(key, value, mode)),
      delete: (key) => step(map.name, 'delete', () => map.delete(key)),
      setMany: (entries) => {
        for (const [key, value] of entries) step(map.name, 'set', () => map.set(key, value));
      },
      deleteMany: (keys) => {
        for (const key of keys) step(map.name, 'delete', () => map.delete(key));
      },
    };
  }

  const slots: Slots = {
    length: inner.slots.length,
    get: (index) => inner.slots.get(index),
    fill: (first, ids) => {
      rest.look();
      rest.check(first, ids.length);
      step('slots', 'fill', () => inner.slots.fill(first, ids));
    },
  };
  const watched: Record<string, unknown> = { slots };
  for (const [name, map] of Object.entries(inner)) if (name !== 'slots') watched[name] = watch(map as TypedMap<unknown, unknown>);
  return Object.assign(checked, { maps: watched as unknown as Maps });
}
