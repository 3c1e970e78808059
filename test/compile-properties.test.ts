// Is it true whatever happens? Random histories of Services, node changes, refused writes and restarts must end in the maps that
// the last Model alone gives, and no single write on the way may leave a frontend that names something missing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { REST_MS } from '../control/compile/ids.ts';
import { KernelError } from '../control/kernel/maps.ts';
import type { ModelService, NodeFacts } from '../control/model/model.ts';
import { adopt, sync } from '../control/sync.ts';
import { type CheckedMaps, checkedMaps } from './lib/checked-maps.ts';
import { meaning } from './lib/meaning.ts';
import { model, NODE, OPTIONS, type PortWords, service } from './lib/services.ts';

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
console.log(`fast-check seed: ${SEED} (SEED=${SEED} repeats it)`);

const CLUSTER_IPS = ['10.96.0.1', '10.96.0.2', '10.96.0.3'];
const VIPS = ['203.0.113.1', '203.0.113.2', '192.0.2.10'];
const PODS = ['10.244.1.2', '10.244.1.3', '10.244.2.2', '10.244.2.3', '192.0.2.10'];
const RANGES = ['198.51.100.0/24', '10.0.0.0/8', '192.0.2.10/32'];

const places = fc.uniqueArray(fc.constantFrom(...PODS.map((pod) => `${pod === '10.244.1.2' ? 'local ' : ''}${pod}:8080`)));

const portWords: fc.Arbitrary<PortWords> = fc.record({
  protocol: fc.constantFrom('TCP' as const, 'UDP' as const),
  frontends: fc
    .record({
      cluster: fc.constantFrom(...CLUSTER_IPS),
      kinds: fc.subarray(['ExternalIP', 'LoadBalancer', 'NodePort'] as const),
      vip: fc.constantFrom(...VIPS),
      number: fc.constantFrom(80, 443),
    })
    .map(({ cluster, kinds, vip, number }) => [
      `ClusterIP ${cluster}:${number}`,
      ...kinds.map((kind, i) =>
        kind === 'NodePort' ? `NodePort 0.0.0.0:${30000 + number}` : `${kind} ${VIPS[(VIPS.indexOf(vip) + i) % 3]}:${number}`,
      ),
    ]),
  backends: places,
  draining: places.map((list) => list.map((place) => `gone ${place}`)),
  internalLocal: fc.boolean(),
  externalLocal: fc.boolean(),
  affinitySeconds: fc.constantFrom(0, 10800),
  sourceRanges: fc.subarray(RANGES),
});

const ipv6 = (words: PortWords): PortWords => ({
  ...words,
  family: 6,
  sourceRanges: words.sourceRanges!.length > 0 ? ['2001:db8:1::/48'] : [],
  frontends: words.frontends.map((text) =>
    text.replace(/ (?:\d+\.){3}(\d+):/, (_, last) => (text.startsWith('NodePort') ? ' [::]:' : ` [fd96::${last}]:`)),
  ),
  backends: words.backends.map((text) => text.replace(/(?:\d+\.){2}(\d+)\.(\d+):/, '[fd00:$1::$2]:')),
  draining: words.draining!.map((text) => text.replace(/(?:\d+\.){2}(\d+)\.(\d+):/, '[fd00:$1::$2]:')),
});

const aService = fc
  .record({
    name: fc.integer({ min: 0, max: 4 }),
    created: fc.constantFrom(0, 1, 2),
    words: fc.array(fc.tuple(portWords, fc.boolean()), { minLength: 1, maxLength: 2 }),
  })
  .map(({ name, created, words }) => {
    const ports = words.map(([port, six], i) => ({ ...(six ? ipv6(port) : port), name: `p${i}` }));
    return service(`default/s${name}`, ports, created);
  });

type Event =
  | { readonly put: ModelService }
  | { readonly drop: number }
  | { readonly node: NodeFacts }
  | { readonly turn: number }
  | { readonly restart: true }
  | { readonly wait: number };

const MOVED: NodeFacts = { ...NODE, localAddresses: [...NODE.localAddresses, '10.244.1.3', '203.0.113.1'] };

const event: fc.Arbitrary<Event> = fc.oneof(
  { weight: 6, arbitrary: aService.map((put) => ({ put })) },
  { weight: 2, arbitrary: fc.integer({ min: 0, max: 4 }).map((drop) => ({ drop })) },
  { weight: 1, arbitrary: fc.constantFrom(NODE, MOVED).map((node) => ({ node })) },
  // A turn in which the write of this number is refused; 1000: none.
  { weight: 6, arbitrary: fc.oneof(fc.integer({ min: 0, max: 30 }), fc.constant(1000)).map((turn) => ({ turn })) },
  { weight: 1, arbitrary: fc.constant({ restart: true as const }) },
  { weight: 3, arbitrary: fc.constantFrom(1, 400, REST_MS).map((wait) => ({ wait })) },
);

const history = fc.array(event, { maxLength: 40 });
const ROOM = { slots: 200_000, backends4: 64, backends6: 64, frontends4: 64, frontends6: 64, addresses4: 64, addresses6: 64 };

/** A world: Services, a node, a clock, and the agent's state over watched maps. */
function world(sizes: Parameters<typeof checkedMaps>[0]) {
  let now = 0;
  let node = NODE;
  const services = new Map<string, ModelService>();
  const checked = checkedMaps(sizes, () => now, REST_MS);
  const clock = () => now;
  let state = adopt(checked.maps, clock);
  const turn = () => sync(checked.maps, state, model(services.values(), node), OPTIONS);
  return {
    checked,
    services,
    turn,
    present: () => model(services.values(), node),
    play(one: Event): void {
      if ('put' in one) services.set(one.put.key, one.put);
      else if ('drop' in one) services.delete(`default/s${one.drop}`);
      else if ('node' in one) node = one.node;
      else if ('wait' in one) now += one.wait;
      else if ('restart' in one) state = adopt(checked.maps, clock);
      else faultyTurn(checked, one.turn, turn);
    },
    /** Turns until nothing waits for room any more. */
    settle(): ReturnType<typeof turn> {
      for (let turns = 0; ; turns++) {
        const synced = turn();
        if (synced.retryAfterMs === undefined) return synced;
        assert.ok(turns < 20, 'a refused Service keeps the agent busy for ever');
        now += synced.retryAfterMs;
      }
    },
  };
}

function faultyTurn(checked: CheckedMaps, refused: number, turn: () => unknown): void {
  const last = checked.writes + refused;
  checked.refuse = () => checked.writes >= last;
  try {
    turn();
  } catch (error) {
    if (!(error instanceof KernelError)) throw error;
  } finally {
    checked.refuse = () => false;
  }
}

function freshMeaning(present: ReturnType<typeof model>): string {
  const checked = checkedMaps(ROOM, () => 0, REST_MS);
  sync(
    checked.maps,
    adopt(checked.maps, () => 0),
    present,
    OPTIONS,
  );
  return meaning(checked.maps);
}

const RUNS = { seed: SEED, numRuns: Number(process.env.RUNS ?? 150) };

test('any history with refused writes and restarts ends in what the last Model alone gives', () => {
  fc.assert(
    fc.property(history, (events) => {
      const { checked, play, settle, present } = world(ROOM);
      for (const one of events) play(one);
      settle();
      assert.equal(meaning(checked.maps), freshMeaning(present()));
      const restarted = sync(
        checked.maps,
        adopt(checked.maps, () => 0),
        present(),
        OPTIONS,
      );
      assert.equal(restarted.written, 0, 'a restart without a change writes nothing');
    }),
    RUNS,
  );
});

test('the order in which Services arrive does not matter', () => {
  fc.assert(
    fc.property(fc.uniqueArray(aService, { selector: ({ key }) => key, maxLength: 5 }), fc.integer(), (services, turnEvery) => {
      const meanings = [services, services.toReversed()].map((order) => {
        const { checked, play, settle } = world(ROOM);
        order.forEach((put, i) => {
          play({ put });
          if ((i + turnEvery) % 2 === 0) play({ turn: 1000 });
        });
        settle();
        return meaning(checked.maps);
      });
      assert.equal(meanings[0], meanings[1]);
    }),
    RUNS,
  );
});

test('where there is too little room each Service is served whole or refused with a Problem, and served once there is room', () => {
  const tight = {
    slots: 2900,
    backends4: 6,
    backends6: 4,
    frontends4: 5,
    frontends6: 3,
    addresses4: 8,
    addresses6: 6,
    source_ranges4: 3,
    source_ranges6: 1,
  };
  fc.assert(
    fc.property(history, (events) => {
      const { checked, services, play, settle, present } = world(tight);
      for (const one of events) play(one);
      const { problems } = settle();
      const refused = new Set(
        problems.filter(({ reason }) => reason === 'CapacityExceeded').map(({ object }) => object.slice('Service '.length)),
      );
      const served = [...services.values()].filter(({ key }) => !refused.has(key));
      const kept = problems.some(({ message }) => message.includes('stays in force'));
      if (!kept)
        assert.equal(meaning(checked.maps), freshMeaning({ ...present(), services: new Map(served.map((one) => [one.key, one])) }));
      for (const key of [...services.keys()].slice(1)) play({ drop: Number(key.at(-1)) });
      play({ turn: 1000 });
      play({ wait: REST_MS });
      settle();
    }),
    RUNS,
  );
});
