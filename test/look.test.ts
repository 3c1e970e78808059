// Is drift found by a look in slices, whatever turns do between them? And nothing that is no drift: judged by reading all maps at once.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { AddressFlag, BackendFlag } from '../control/abi/layout.gen.ts';
import { driftSteps } from '../control/kernel/drift.ts';
import { type Maps, memoryMaps } from '../control/kernel/maps.ts';
import { type Found, openLook } from '../control/look.ts';
import type { ModelService } from '../control/model/model.ts';
import { adopt, sync } from '../control/sync.ts';
import { model, OPTIONS, service } from './lib/services.ts';

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
console.log(`fast-check seed: ${SEED} (SEED=${SEED} repeats it)`);

/** Enough that every map has pages. */
const SERVICES = 150;
const ROOM = { slots: 300_000, backends4: 1024, frontends4: 1024, addresses4: 1024, source_ranges4: 1024 };

/** Every second one is reached from outside and has a Maglev table and source ranges, one inside the other. */
function version(i: number, n: number): ModelService {
  const address = (net: string) => `${net}.${Math.floor(i / 250)}.${(i % 250) + 1}`;
  const outside = i % 2 === 0 && n % 3 !== 2;
  return service(`default/s${i}`, [
    {
      frontends: [`ClusterIP ${address('10.96')}:80`, ...(outside ? [`LoadBalancer ${address('203.0')}:80`] : [])],
      backends: [`${address('10.244')}:8080`, ...(n % 2 === 1 ? [`${address(`10.${n}`)}:8080`] : [])],
      sourceRanges: outside ? ['10.0.0.0/8', n % 4 === 1 ? '10.2.0.0/16' : '10.1.0.0/16'] : [],
    },
  ]);
}

/** An agent's state over maps in memory that hold many Services. */
function world() {
  let now = 0;
  const maps = memoryMaps(ROOM);
  const services = new Map(Array.from({ length: SERVICES }, (_, i) => [i, version(i, 0)]));
  const clock = () => now;
  const state = adopt(maps, clock);
  const turn = () => sync(maps, state, model(services.values()), OPTIONS);
  turn();
  return {
    maps,
    state,
    put(i: number, n: number): void {
      services.set(i, version(i, n));
      turn();
    },
    drop(i: number): void {
      services.delete(i);
      turn();
    },
    wait(ms: number): void {
      now += ms;
      turn();
    },
    /** As the expiry of flows does. */
    expire(): void {
      for (const [address, flags] of maps.addresses4.entries()) if (flags === AddressFlag.ADDRESS_RETIRED) maps.addresses4.delete(address);
    },
    steps: () => driftSteps(maps, state.known!.held, state.known!.plan),
    /** Reads all maps at once and writes what is not as it must be: how many entries were not. */
    wrong(): number {
      state.known = undefined;
      return turn().written;
    },
  };
}

/** The one at `pick` of those that there are. */
function one<T>(all: Iterable<T>, pick: number): T {
  const list = [...all];
  return list[pick % list.length]!;
}

/** What somebody else may do to the maps. */
const TAMPERING: Readonly<Record<string, (maps: Maps, pick: number) => void>> = {
  'a frontend is missing': ({ frontends4 }, pick) => frontends4.delete(one(frontends4.entries(), pick)[0]),
  'a frontend is another': ({ frontends4 }, pick) => {
    const [key, value] = one(frontends4.entries(), pick);
    frontends4.set(key, { ...value, cluster: { ...value.cluster, count: value.cluster.count + 1 } });
  },
  'a frontend too many': ({ frontends4 }, pick) => {
    const [key, value] = one(frontends4.entries(), pick);
    frontends4.set({ ...key, port: 81 }, value);
  },
  'a frontend of the other family': ({ frontends4, frontends6 }, pick) =>
    frontends6.set({ address: 'fd96::1', port: 80, protocol: 6 }, one(frontends4.entries(), pick)[1]),
  'a backend is zero': ({ backends4 }, pick) =>
    backends4.set(one(living(backends4), pick)[0], { address: '0.0.0.0', port: 0, protocol: 0, flags: 0, generation: 0 }),
  'a backend is another': ({ backends4 }, pick) => {
    const [id, entry] = one(living(backends4), pick);
    backends4.set(id, { ...entry, port: entry.port + 1 });
  },
  'a backend too many': ({ backends4 }, pick) =>
    backends4.set(1000 + (pick % 24), { ...one(backends4.entries(), pick)[1], flags: BackendFlag.BACKEND_LIVE }),
  'an address is missing': ({ addresses4 }, pick) =>
    addresses4.delete(
      one(
        [...addresses4.entries()].filter(([, flags]) => flags !== AddressFlag.ADDRESS_RETIRED),
        pick,
      )[0],
    ),
  'an address is another': ({ addresses4 }, pick) => {
    const [address, flags] = one(addresses4.entries(), pick);
    addresses4.set(address, flags ^ AddressFlag.ADDRESS_FRONTEND);
  },
  'an address too many': ({ addresses4 }) => addresses4.set('198.51.100.1', AddressFlag.ADDRESS_FRONTEND),
  'a source range is missing': ({ source_ranges4 }, pick) => source_ranges4.delete(one(source_ranges4.entries(), pick)[0]),
  'a source range is missing inside another': ({ source_ranges4 }, pick) =>
    source_ranges4.delete(
      one(
        [...source_ranges4.entries()].filter(([key]) => key.prefix_length === 48),
        pick,
      )[0],
    ),
  'a source range too many': ({ source_ranges4 }, pick) => {
    const [key] = one(source_ranges4.entries(), pick);
    source_ranges4.set({ ...key, prefix_length: 56, address: '192.0.2.0' }, 1);
  },
  'a slot of a slice': ({ frontends4, slots }, pick) => {
    const { first } = one(frontends4.entries(), pick)[1].cluster;
    slots.fill(first, [slots.get(first) + 1]);
  },
  'a slot of a Maglev table': ({ frontends4, slots }, pick) => {
    const tables = [...frontends4.entries()].map(([, value]) => value.cluster_table).filter(({ count }) => count > 0);
    const { first, count } = one(tables, pick);
    const slot = first + (pick % count);
    slots.fill(slot, [slots.get(slot) + 1]);
  },
};

function living(map: Maps['backends4']) {
  return [...map.entries()].filter(([, { flags }]) => flags !== 0);
}

/** Walks to the end. `between` is called before each step with its number. True where drift was found. */
function walk(steps: ReturnType<typeof driftSteps>, between: (step: number) => void = () => {}): boolean {
  for (let step = 0; ; step++) {
    between(step);
    const { done, value } = steps.next();
    if (done) return value;
  }
}

for (const [kind, tamper] of Object.entries(TAMPERING)) {
  test(`drift is found: ${kind}`, () => {
    for (const pick of [0, 77, 149]) {
      const { maps, steps, wrong } = world();
      assert.equal(walk(steps()), false);
      tamper(maps, pick);
      assert.equal(walk(steps()), true);
      assert.ok(wrong() > 0, 'and it was drift');
      assert.equal(walk(steps()), false, 'repaired');
    }
  });
}

const index = fc.integer({ min: 0, max: SERVICES + 10 });
const change = fc.oneof(
  { weight: 5, arbitrary: fc.record({ put: index, version: fc.integer({ min: 0, max: 5 }) }) },
  { weight: 3, arbitrary: fc.record({ drop: index }) },
  { weight: 2, arbitrary: fc.record({ wait: fc.constantFrom(1, 10_000, 200_000) }) },
  { weight: 1, arbitrary: fc.constant({ expire: true as const }) },
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function play(on: ReturnType<typeof world>, what: Change): void {
  if ('put' in what) on.put(what.put, what.version);
  else if ('drop' in what) on.drop(what.drop);
  else if ('wait' in what) on.wait(what.wait);
  else on.expire();
}

/** A change now and then on the way: about 900 steps are a look. */
const timed = fc.array(fc.tuple(fc.integer({ min: 0, max: 900 }), change), { maxLength: 25 });
const tampering = fc.record({
  kind: fc.constantFrom(...Object.keys(TAMPERING)),
  pick: fc.nat(1000),
  at: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 900 })),
});

test('changes between the steps are never drift, and drift is found within one round', () => {
  const found = { drift: 0, nothing: 0 };
  fc.assert(
    fc.property(timed, timed, fc.option(tampering, { nil: undefined, freq: 4 }), (first, second, harm) => {
      const on = world();
      const round = (changes: typeof timed extends fc.Arbitrary<infer T> ? T : never, harmAt: number | undefined) =>
        walk(on.steps(), (step) => {
          if (harm !== undefined && step === harmAt) TAMPERING[harm.kind]!(on.maps, harm.pick);
          for (const [at, what] of changes) if (at === step) play(on, what);
        });
      // Harm done before a round, at any moment of the one before, must be found by its end, unless a turn has written over it.
      const drifted = (harm !== undefined && round(first, harm.at)) || round(second, undefined);
      assert.equal(drifted, on.wrong() > 0);
      found[drifted ? 'drift' : 'nothing']++;
    }),
    { seed: SEED, numRuns: Number(process.env.RUNS ?? 150) },
  );
  assert.ok(found.drift > 10 && found.nothing > 10, JSON.stringify(found));
});

test('however much changes between two steps, it is no drift', () => {
  const some = fc.oneof(fc.record({ put: fc.nat(12), version: fc.nat(3) }), fc.record({ drop: fc.nat(12) }), change);
  const burst = fc.array(some, { maxLength: 6 });
  fc.assert(
    fc.property(fc.constantFrom(0, 220, 455), fc.array(burst, { minLength: 60, maxLength: 60 }), (from, bursts) => {
      const on = world();
      const drifted = walk(on.steps(), (step) => {
        for (const what of bursts[step - from] ?? []) play(on, what);
      });
      assert.deepEqual([drifted, on.wrong()], [false, 0]);
    }),
    { seed: SEED, numRuns: Number(process.env.RUNS ?? 60) },
  );
});

test('the event loop turns between the slices of a look; another begins when it is over, none after close', async () => {
  const { maps, state } = world();
  let now = 0;
  const ends: Found[] = [];
  // Whoever looks at this clock finds a slice over.
  const look = openLook(maps, { ...state, clock: () => (now += 100) }, (found) => void ends.push(found));
  look.begin();
  let turns = 0;
  for (; ends.length === 0; turns++) {
    look.begin();
    await nextTurn();
  }
  assert.ok(turns > 500, `the loop turned ${turns} times`);
  assert.deepEqual(ends, [undefined]);
  TAMPERING['a frontend is missing']!(maps, 0);
  look.begin();
  while (ends.length === 1) await nextTurn();
  assert.deepEqual(ends, [undefined, 'drift']);
  look.begin();
  await nextTurn();
  look.close();
  look.begin();
  for (let i = 0; i < 2 * turns; i++) await nextTurn();
  assert.equal(ends.length, 2);
});

test('a look ends where the maps are read anew, for that finds everything', async () => {
  const { maps, state } = world();
  const known = { ...state };
  const ends: Found[] = [];
  const look = openLook(maps, known, (found) => void ends.push(found));
  TAMPERING['a slot of a slice']!(maps, 0);
  look.begin();
  known.known = undefined;
  await nextTurn();
  assert.deepEqual(ends, [undefined]);
});
