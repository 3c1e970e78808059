// Do the kernel's maps and those in memory behave alike? One suite, run over both.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { Frontend, FrontendKey4, MapName } from '../../control/abi/layout.gen.ts';
import { KernelError, type Maps } from '../../control/kernel/maps.ts';

/** Sizes small enough that a test fills a map. */
export const SUITE_SIZES: Partial<Record<MapName, number>> = {
  ...{ frontends4: 64, frontends6: 64, backends4: 128, backends6: 16, slots: 4096, addresses4: 4096, addresses6: 64 },
  ...{ source_ranges4: 64, source_ranges6: 64, flows4: 64, flows6: 64, new_flows4: 64, new_flows6: 64, affinities: 64, socket_flows: 64 },
};

const NONE = { first: 0, count: 0 };

export function frontend(id: number): Frontend {
  return {
    ...{ id, flags: 3, cluster: { first: id, count: 7 }, local: NONE, cluster_table: NONE, local_table: NONE },
    ...{ affinity_seconds: 10800, check: 0xffffffff },
  };
}

export function key(i: number): FrontendKey4 {
  return { address: `10.96.${i >> 8}.${i & 255}`, port: 443, protocol: 6 };
}

function refusesWith(code: string, done?: number): (error: unknown) => boolean {
  return (error) => {
    assert(error instanceof KernelError);
    assert.deepEqual([error.code, error.done], [code, done]);
    return true;
  };
}

/** Entries as text in one order, to compare what has none. */
export function sorted<T>(items: Iterable<T>): string[] {
  return [...items].map((item) => JSON.stringify(item, (_, value) => (typeof value === 'bigint' ? `${value}` : value))).sort();
}

/** Registers the suite. `open` gives empty maps of SUITE_SIZES. */
export function mapSuite(name: string, open: () => { maps: Maps; close: () => void }): void {
  describe(`maps: ${name}`, () => {
    let opened: { maps: Maps; close: () => void };
    let maps: Maps;
    before(() => {
      opened = open();
      maps = opened.maps;
    });
    after(() => opened.close());

    test('a hash gives back what was set, until it is deleted', () => {
      assert.equal(maps.frontends4.get(key(1)), undefined);
      maps.frontends4.set(key(1), frontend(1));
      assert.deepEqual(maps.frontends4.get(key(1)), frontend(1));
      maps.frontends4.set(key(1), frontend(2));
      assert.deepEqual([...maps.frontends4.entries()], [[key(1), frontend(2)]]);
      assert.equal(maps.frontends4.delete(key(1)), true);
      assert.equal(maps.frontends4.delete(key(1)), false);
      assert.deepEqual([...maps.frontends4.entries()], []);
    });

    test('noexist and exist say so', () => {
      assert.throws(() => maps.frontends4.set(key(1), frontend(1), 'exist'), refusesWith('ENOENT'));
      maps.frontends4.set(key(1), frontend(1), 'noexist');
      assert.throws(() => maps.frontends4.set(key(1), frontend(2), 'noexist'), refusesWith('EEXIST'));
      maps.frontends4.set(key(1), frontend(3), 'exist');
      assert.equal(maps.frontends4.get(key(1))?.id, 3);
      maps.frontends4.delete(key(1));
    });

    test('a full hash refuses with E2BIG and says how many were written', () => {
      const entries = Array.from({ length: 80 }, (_, i) => [key(i), frontend(i)] as const);
      assert.throws(() => maps.frontends4.setMany(entries), refusesWith('E2BIG', 64));
      assert.equal([...maps.frontends4.entries()].length, 64);
      assert.throws(() => maps.frontends4.set(key(100), frontend(1)), refusesWith('E2BIG'));
      maps.frontends4.set(key(0), frontend(9));
      maps.frontends4.deleteMany(entries.map(([k]) => k));
      assert.deepEqual([...maps.frontends4.entries()], []);
    });

    test('many entries are written, paged and deleted; absent keys are passed over', () => {
      const entries = Array.from({ length: 3000 }, (_, i) => [`10.0.${i >> 8}.${i & 255}`, i + 1] as const);
      maps.addresses4.setMany(entries);
      assert.deepEqual(sorted(maps.addresses4.entries()), sorted(entries));
      const pages = [...maps.addresses4.pages(100)];
      assert(pages.length > 10);
      assert.deepEqual(sorted(pages.flat()), sorted(entries));
      maps.addresses4.deleteMany(['192.0.2.1', ...entries.slice(0, 2000).map(([k]) => k), '192.0.2.2']);
      assert.deepEqual(sorted(maps.addresses4.entries()), sorted(entries.slice(2000)));
      maps.addresses4.deleteMany(entries.map(([k]) => k));
      maps.addresses4.setMany([]);
      maps.addresses4.deleteMany([]);
      assert.deepEqual([...maps.addresses4.entries()], []);
    });

    test('an array has a value at every index, lists those that are not zero and deletes none', () => {
      const backend = { address: '10.1.2.3', port: 8080, protocol: 17, flags: 3, generation: 4 };
      assert.deepEqual(maps.backends4.get(5), { address: '0.0.0.0', port: 0, protocol: 0, flags: 0, generation: 0 });
      maps.backends4.set(5, backend);
      assert.deepEqual([...maps.backends4.entries()], [[5, backend]]);
      maps.backends4.set(3, backend);
      const ids = (pages: Iterable<(readonly [number, unknown])[]>) => [...pages].flatMap((page) => page.map(([id]) => id));
      assert.deepEqual(ids(maps.backends4.pages(2)), [3, 5], 'ascending');
      maps.backends4.set(3, { address: '0.0.0.0', port: 0, protocol: 0, flags: 0, generation: 0 });
      assert.throws(() => maps.backends4.set(128, backend), refusesWith('E2BIG'));
      assert.throws(() => maps.backends4.delete(5), refusesWith('EINVAL'));
      assert.equal(maps.backends4.get(128), undefined);
      maps.backends4.set(5, { address: '0.0.0.0', port: 0, protocol: 0, flags: 0, generation: 0 });
    });

    test('a trie answers with the longest prefix', () => {
      const range = (length: number, address: string) => ({ prefix_length: 32 + length, frontend: 7, address });
      maps.source_ranges4.setMany([
        [range(8, '10.0.0.0'), 1],
        [range(16, '10.1.0.0'), 2],
        [range(0, '0.0.0.0'), 3],
      ]);
      assert.equal(maps.source_ranges4.get(range(32, '10.1.2.3')), 2);
      assert.equal(maps.source_ranges4.get(range(32, '10.2.2.3')), 1);
      assert.equal(maps.source_ranges4.get(range(32, '192.0.2.1')), 3);
      assert.equal(maps.source_ranges4.get({ ...range(32, '10.1.2.3'), frontend: 8 }), undefined);
      assert.throws(() => maps.source_ranges4.set(range(33, '10.0.0.0'), 1), refusesWith('EINVAL'));
      assert.equal(maps.source_ranges4.delete(range(12, '10.0.0.0')), false);
      maps.source_ranges4.deleteMany([range(8, '10.0.0.0'), range(16, '10.1.0.0'), range(0, '0.0.0.0')]);
      assert.deepEqual([...maps.source_ranges4.entries()], []);
    });

    test('an LRU hash takes more than it holds', () => {
      for (let i = 0; i < 300; i++) {
        maps.affinities.set({ frontend: i, kind: 0, client: '2001:db8::1' }, { backend: i, generation: 0, seen: 0 });
      }
      assert.equal(maps.affinities.get({ frontend: 299, kind: 0, client: '2001:db8::1' })?.backend, 299);
      assert([...maps.affinities.entries()].length <= 64);
    });

    test('a per-CPU value is the sum over the CPUs', () => {
      const packets = [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 2n ** 63n];
      maps.verdicts.set(3, { packets });
      assert.deepEqual(maps.verdicts.get(3), { packets });
      assert.deepEqual([...maps.verdicts.entries()], [[3, { packets }]]);
    });

    test('slots are memory', () => {
      assert.equal(maps.slots.length, 4096);
      maps.slots.fill(4090, [1, 2, 3, 4, 5, 0xffffffff]);
      assert.deepEqual([maps.slots.get(4089), maps.slots.get(4090), maps.slots.get(4095)], [0, 1, 0xffffffff]);
      assert.throws(() => maps.slots.fill(4095, [1, 2]), RangeError);
      assert.throws(() => maps.slots.fill(-1, [1]), RangeError);
      assert.throws(() => maps.slots.get(4096), RangeError);
      assert.equal(maps.slots.get(4095), 0xffffffff);
    });

    test('a value that does not fit is refused before the map is asked', () => {
      assert.throws(() => maps.frontends4.set({ ...key(1), port: 70000 }, frontend(1)), RangeError);
      assert.throws(() => maps.frontends4.set({ ...key(1), address: '::1' }, frontend(1)), RangeError);
      assert.throws(() => maps.frontends4.set(key(1), { ...frontend(1), id: -1 }), RangeError);
      assert.deepEqual([...maps.frontends4.entries()], []);
    });
  });
}
