// The loop: once for many changes, never inside a callback, again after a refusal, and always ending in what the objects mean.

import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, it, mock } from 'node:test';
import fc from 'fast-check';
import { pino } from 'pino';
import { type AgentParts, type Applied, openAgent } from '../control/agent.ts';
import { REST_MS } from '../control/compile/ids.ts';
import { KernelError, type Maps, memoryMaps } from '../control/kernel/maps.ts';
import { openLoop, type Pace, pauseMs } from '../control/loop.ts';
import type { Problem } from '../control/model/model.ts';
import { compare } from '../control/sync.ts';
import { checkedMaps } from './lib/checked-maps.ts';
import { meaning } from './lib/meaning.ts';
import { node, type Raw, service, slice } from './lib/objects.ts';
import { testSource } from './lib/source.ts';

/** As nobody writes anything. */
const pace: Pace = { syncPeriodMs: 30_000, minSyncPeriodMs: undefined };

const SIZES = { frontends4: 64, frontends6: 64, backends4: 64, backends6: 64, addresses4: 64, addresses6: 64, slots: 65536 };

interface Line {
  readonly level: number;
  readonly msg: string;
  readonly reason?: string;
  readonly object?: string;
}

/** Everything an agent needs but a kernel; what it logs is kept. */
function parts(maps: Maps, source = testSource(), more: Partial<AgentParts> = {}) {
  const lines: Line[] = [];
  const log = pino({ base: null }, { write: (text: string) => lines.push(JSON.parse(text)) });
  const given: AgentParts = {
    config: {
      nodeName: 'node-a',
      serviceCIDRs: [],
      serviceProxyName: undefined,
      detectLocal: { mode: 'PodInterfaces' },
      nodePortAddresses: { primary: true, ranges: [] },
      ...pace,
    },
    source,
    addresses: () => ({ localAddresses: ['192.0.2.10'], defaultRouteAddresses: ['192.0.2.10'] }),
    maps,
    log,
    clock: () => Date.now(),
    ...more,
  };
  return { given, source, lines };
}

const web = (clusterIP = '10.96.0.10'): Raw => service('web', { clusterIP, clusterIPs: [clusterIP], ports: [{ name: 'http', port: 80 }] });
const webSlice = (...addresses: string[]): Raw => slice('web', 'web-1', addresses);

/** The clock goes on in small steps: a timer set by a timer is due in its own time, not at the end of one leap. */
function advance(ms: number): void {
  mock.timers.tick(0);
  for (let left = ms; left > 0; left -= 100) mock.timers.tick(Math.min(left, 100));
}

/** After this the maps were looked at, and what was found is repaired. */
const LOOK_MS = 301_000;

function frontends(maps: Maps): string[] {
  return [...maps.frontends4.entries()].map(([key]) => `${key.address}:${key.port}`).sort();
}

describe('loop', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setImmediate', 'Date'] }));
  afterEach(() => mock.timers.reset());

  it('turns once for all changes of one turn of the event loop, and not inside the callback', () => {
    let turns = 0;
    const loop = openLoop(
      () => {
        turns++;
        return { againAfterMs: undefined };
      },
      () => {},
      pace,
    );
    for (let i = 0; i < 100; i++) loop.dirty();
    assert.equal(turns, 0);
    advance(0);
    assert.equal(turns, 1);
    loop.dirty();
    advance(0);
    assert.equal(turns, 2);
  });

  it('a change that comes during a turn is not lost', async () => {
    let turns = 0;
    const loop = openLoop(
      () => {
        if (++turns === 1) loop.dirty();
        return { againAfterMs: undefined };
      },
      () => {},
      pace,
    );
    loop.dirty();
    const settled = loop.settled();
    advance(100);
    assert.equal(turns, 2);
    await settled;
  });

  it('a change that comes during a turn that is refused waits for the pause', () => {
    const pauses: number[] = [];
    let turns = 0;
    const loop = openLoop(
      () => {
        turns++;
        loop.dirty();
        throw new KernelError('set', 'frontends4', 'ENOMEM');
      },
      (_, pause) => pauses.push(pause),
      pace,
    );
    loop.dirty();
    advance(99);
    assert.equal(turns, 1);
    for (const ms of [1, 200, 400]) advance(ms);
    assert.deepEqual([turns, pauses], [4, [100, 200, 400, 800]]);
    loop.close();
  });

  it('pauses longer after each refusal, however many changes come, and forgets that after a success', () => {
    const refusal = new KernelError('set', 'frontends4', 'ENOMEM');
    const pauses: number[] = [];
    let refuses = 12;
    const loop = openLoop(
      () => {
        if (refuses-- > 0) throw refusal;
        return { againAfterMs: undefined };
      },
      (_, pause) => pauses.push(pause),
      pace,
    );
    loop.dirty();
    mock.timers.tick(0);
    assert.deepEqual(pauses, [100]);
    for (let i = 0; i < 50; i++) loop.dirty();
    advance(99);
    assert.deepEqual(pauses, [100], 'no turn before the pause is over');
    assert.equal(loop.state().refusal, refusal);
    assert.ok(loop.state().oldestChangeMs !== undefined, 'the change still waits');
    advance(10 * 60_000);
    assert.deepEqual(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]);
    assert.deepEqual([loop.state().refusals, loop.state().oldestChangeMs, loop.state().turns], [0, undefined, 1]);
    assert.equal(pauseMs(1000, 30_000), 30_000);
  });

  it('turns again by itself when the turn asks for it, and never after close', () => {
    let turns = 0;
    const loop = openLoop(
      () => {
        turns++;
        return { againAfterMs: 500 };
      },
      () => {},
      pace,
    );
    loop.dirty();
    advance(1000);
    assert.equal(turns, 3);
    loop.close();
    loop.dirty();
    advance(10_000);
    assert.equal(turns, 3);
  });

  it('with a minSyncPeriod the first change is applied at once and the next when the period is over, all of them in one turn (14.3)', () => {
    let turns = 0;
    const loop = openLoop(
      () => {
        // A change that comes during the turn waits as well.
        if (++turns === 2) loop.dirty();
        return { againAfterMs: undefined };
      },
      () => {},
      { ...pace, minSyncPeriodMs: 1_000 },
    );
    loop.dirty();
    advance(0);
    assert.equal(turns, 1);
    for (let i = 0; i < 50; i++) loop.dirty();
    advance(900);
    assert.equal(turns, 1);
    advance(200);
    assert.equal(turns, 2);
    advance(800);
    assert.equal(turns, 2);
    advance(200);
    assert.equal(turns, 3);
    advance(10_000);
    assert.equal(turns, 3, 'and none without a change');
    loop.dirty();
    advance(0);
    assert.equal(turns, 4, 'after a rest the change is applied at once');
    loop.close();
  });

  it('the pause after a refusal is at most the syncPeriod (14.3)', () => {
    const pauses: number[] = [];
    const loop = openLoop(
      () => {
        throw new KernelError('set', 'frontends4', 'ENOMEM');
      },
      (_, pause) => pauses.push(pause),
      { ...pace, syncPeriodMs: 1_000 },
    );
    loop.dirty();
    advance(5_000);
    assert.deepEqual(pauses.slice(0, 6), [100, 200, 400, 800, 1000, 1000]);
    loop.close();
  });

  it('says how many changes are wanted and how many are in the maps', () => {
    let refuses = false;
    const turn = () => {
      if (refuses) throw new KernelError('set', 'frontends4', 'ENOMEM');
      return { againAfterMs: undefined };
    };
    const loop = openLoop(turn, () => {}, pace);
    const generations = () => [loop.state().wanted, loop.state().applied];
    loop.dirty();
    loop.dirty();
    assert.deepEqual(generations(), [2, 0]);
    advance(0);
    assert.deepEqual(generations(), [2, 2]);
    refuses = true;
    loop.dirty();
    advance(0);
    assert.deepEqual(generations(), [3, 2]);
    refuses = false;
    advance(100);
    assert.deepEqual(generations(), [3, 3]);
    loop.close();
  });

  it('a bug is not retried: it leaves the loop', () => {
    const loop = openLoop(
      () => {
        throw new TypeError('a bug');
      },
      () => assert.fail('not a refusal'),
      pace,
    );
    loop.dirty();
    assert.throws(() => mock.timers.tick(0), /a bug/);
  });
});

describe('agent', () => {
  beforeEach(() => mock.timers.enable({ apis: ['setTimeout', 'setImmediate', 'Date'] }));
  afterEach(() => mock.timers.reset());

  it('writes nothing before the source is synced, although the maps hold more', () => {
    const maps = memoryMaps(SIZES);
    const before = parts(maps);
    before.source.put(web(), webSlice('10.244.1.5'));
    const first = openAgent(before.given);
    first.dirty();
    mock.timers.tick(0);
    assert.deepEqual(frontends(maps), ['10.96.0.10:80']);
    first.close();

    const after = parts(maps, testSource(false));
    const second = openAgent(after.given);
    after.source.put(service('other', { clusterIP: '10.96.0.11', clusterIPs: ['10.96.0.11'], ports: [{ port: 80 }] }));
    mock.timers.tick(0);
    assert.deepEqual(frontends(maps), ['10.96.0.10:80'], 'half a list shrinks nothing');
    after.source.sync();
    mock.timers.tick(0);
    assert.deepEqual(frontends(maps), ['10.96.0.11:80']);
    second.close();
  });

  it('tells what a turn applied: what changed since the last that succeeded, over refusals and skipped snapshots', () => {
    const inner = memoryMaps(SIZES);
    let refuses = false;
    const set = inner.frontends4.setMany;
    const maps: Maps = {
      ...inner,
      frontends4: {
        ...inner.frontends4,
        setMany(entries) {
          if (refuses) throw new KernelError('set', 'frontends4', 'ENOMEM');
          set(entries);
        },
      },
    };
    const told: { changed: string[] | undefined; full: boolean; services: number }[] = [];
    const onApplied = ({ changed, full, objects }: Applied) =>
      void told.push({ changed: changed && [...changed].sort(), full, services: objects.services.size });
    const { given, source } = parts(maps, testSource(), { onApplied });
    const agent = openAgent(given);
    source.put(web());
    advance(0);
    assert.deepEqual(told.splice(0), [{ changed: undefined, full: true, services: 1 }]);
    refuses = true;
    const [[, { id }] = assert.fail('no frontend')] = [...maps.frontends4.entries()];
    source.put(service('other', { clusterIP: '10.96.0.11', clusterIPs: ['10.96.0.11'], ports: [{ port: 80 }] }));
    advance(0);
    assert.deepEqual(
      [agent.serviceOf(id), agent.names().get(id)?.service],
      ['default/web', 'default/web'],
      'a refusal takes no names away',
    );
    source.put(webSlice('10.244.1.5'));
    assert.deepEqual([told, agent.report().refusalsEver], [[], 1]);
    refuses = false;
    advance(100);
    assert.deepEqual(told, [{ changed: ['default/other', 'default/web'], full: true, services: 2 }]);
    source.remove('Service', 'default/other');
    advance(0);
    assert.deepEqual(told.slice(1), [{ changed: ['default/other'], full: false, services: 1 }]);
    agent.close();
  });

  it('counts what is in the maps that it decides about', () => {
    const maps = memoryMaps(SIZES);
    const { given, source } = parts(maps);
    const agent = openAgent(given);
    source.put(service('web'), webSlice('10.244.1.5', '10.244.1.6'));
    advance(0);
    const counts = () => ['frontends4', 'backends4', 'frontends6', 'slots'].map((map) => agent.entries()?.get(map));
    assert.deepEqual(counts(), [1, 2, 0, 2]);
    source.put(webSlice('10.244.1.6'));
    advance(0);
    assert.deepEqual(counts().slice(0, 2), [1, 1]);
    source.remove('Service', 'default/web');
    advance(0);
    assert.deepEqual(counts().slice(0, 2), [0, 0]);
    agent.close();
  });

  it('names the Service port behind each frontend id', () => {
    const maps = memoryMaps(SIZES);
    const { given, source } = parts(maps);
    const agent = openAgent(given);
    source.put(web(), webSlice('10.244.1.5'));
    mock.timers.tick(0);
    const [[, frontend] = assert.fail('no frontend')] = [...maps.frontends4.entries()];
    assert.deepEqual(agent.names().get(frontend.id), { service: 'default/web', port: 'http' });
    agent.close();
  });

  it('tells each Problem once, and once more when it is over', () => {
    const maps = memoryMaps(SIZES);
    let datapath: readonly Problem[] = [];
    const { given, source, lines } = parts(maps, testSource(), { datapathProblems: () => datapath });
    const agent = openAgent(given);
    const told = (reason: string) => lines.filter((line) => line.reason === reason).map((line) => line.level);
    source.put(node('node-a', ['192.0.2.10']), web());
    mock.timers.tick(0);
    for (let i = 0; i < 5; i++) {
      source.put(web(`10.96.0.${20 + i}`));
      mock.timers.tick(0);
    }
    assert.deepEqual(told('NoEndpointSlices'), [40]);
    assert.deepEqual(
      agent.report().problems.map(({ reason }) => reason),
      ['NoEndpointSlices'],
    );
    source.put(webSlice('10.244.1.5'));
    mock.timers.tick(0);
    assert.deepEqual(told('NoEndpointSlices'), [40, 30]);
    assert.deepEqual(agent.report().problems, []);
    datapath = [{ object: 'Agent', reason: 'AttachFailed', message: 'no program at device eth1' }];
    agent.problemsChanged();
    agent.problemsChanged();
    assert.deepEqual(told('AttachFailed'), [40]);
    agent.close();
  });

  for (const [kind, open] of Object.entries({
    'maps in memory': () => memoryMaps(SIZES),
    'maps under watch': () => checkedMaps(SIZES, () => Date.now(), REST_MS).maps,
  })) {
    it(`notices that somebody else changed the maps, and repairs them (14.3): ${kind}`, () => {
      const maps = open();
      const { given, source, lines } = parts(maps);
      const agent = openAgent(given);
      source.put(web(), webSlice('10.244.1.5'));
      advance(0);
      const wanted = meaning(maps);
      const [[key] = assert.fail('no frontend')] = [...maps.frontends4.entries()];
      maps.frontends4.delete(key);
      assert.notEqual(meaning(maps), wanted);
      advance(LOOK_MS);
      assert.equal(meaning(maps), wanted);
      assert.equal(agent.report().drifts, 1);
      assert.deepEqual(
        lines.filter(({ msg }) => msg === 'somebody else had changed the maps; they are repaired').map(({ level }) => level),
        [40],
      );
      advance(2 * LOOK_MS);
      assert.equal(agent.report().drifts, 1, 'nothing to repair is no drift');
      agent.close();
    });
  }

  it('a change does not wait for the look at the maps', () => {
    const inner = memoryMaps(SIZES);
    let now = 0;
    let step = 0;
    const seen: string[][] = [];
    /** Called when the look comes to a map. */
    const hook = <M extends { pages(limit: number): unknown }>(map: M, call: () => void): M => ({
      ...map,
      pages(limit: number) {
        call();
        return map.pages(limit);
      },
    });
    const other = service('other', { clusterIP: '10.96.0.11', clusterIPs: ['10.96.0.11'], ports: [{ port: 80 }] });
    const maps: Maps = {
      ...inner,
      backends4: hook(inner.backends4, () => {
        // Slots are looked at last.
        const [[, frontend] = assert.fail('no frontend')] = [...inner.frontends4.entries()];
        inner.slots.fill(frontend.cluster.first, [7]);
        source.put(other);
      }),
      addresses4: hook(inner.addresses4, () => seen.push(frontends(inner))),
    };
    // While it steps, every glance at the clock finds a slice over.
    const { given, source } = parts(maps, testSource(), { clock: () => (now += step) });
    const agent = openAgent(given);
    source.put(service('web'), webSlice('10.244.1.5'));
    advance(0);
    const wanted = meaning(inner);
    now += LOOK_MS;
    step = 3;
    agent.dirty();
    advance(0);
    assert.deepEqual(seen, [['10.96.0.10:80', '10.96.0.11:80']], 'applied before the look went on');
    assert.equal(agent.report().drifts, 1, 'and the look went on to its end');
    source.remove('Service', 'default/other');
    advance(0);
    assert.equal(meaning(inner), wanted);
    agent.close();
  });

  it('a refusal to read during the look is a refusal like any other: told, and tried again after a pause', () => {
    const inner = memoryMaps(SIZES);
    let refuses = false;
    const maps: Maps = {
      ...inner,
      addresses4: {
        ...inner.addresses4,
        pages(limit) {
          if (refuses) throw new KernelError('page', 'addresses4', 'ENOMEM');
          return inner.addresses4.pages(limit);
        },
        entries() {
          if (refuses) throw new KernelError('page', 'addresses4', 'ENOMEM');
          return inner.addresses4.entries();
        },
      },
    };
    const { given, source } = parts(maps);
    const agent = openAgent(given);
    source.put(web(), webSlice('10.244.1.5'));
    advance(0);
    const wanted = meaning(inner);
    inner.addresses4.delete('10.96.0.10');
    refuses = true;
    advance(LOOK_MS);
    assert.equal(agent.report().refusal, 'page addresses4: ENOMEM');
    const before = agent.report().refusals;
    advance(30_000);
    assert.ok(agent.report().refusals > before && agent.report().refusals < 12, 'with longer and longer pauses');
    refuses = false;
    advance(60_000);
    assert.equal(meaning(inner), wanted);
    assert.deepEqual([agent.report().refusal, agent.report().drifts], [undefined, 1]);
    agent.close();
  });

  it('a full map goes to whom it serves: the periodic look and the comparison find nothing to repair', () => {
    const maps = memoryMaps({ ...SIZES, frontends4: 2 });
    const { given, source, lines } = parts(maps);
    const agent = openAgent(given);
    const of = (name: string, ip: string, year: number, ports: number[]): Raw =>
      service(
        name,
        { clusterIP: ip, clusterIPs: [ip], ports: ports.map((port) => ({ name: `p${port}`, port })) },
        { metadata: { name, namespace: 'default', creationTimestamp: `${year}-01-01T00:00:00Z` } },
      );
    source.put(of('old', '10.96.0.1', 2020, [80]), of('new', '10.96.0.2', 2021, [80]));
    advance(REST_MS * 2);
    source.put(of('old', '10.96.0.1', 2020, [80, 81]));
    advance(REST_MS * 2);
    assert.deepEqual([frontends(maps), [...agent.unfit()]], [['10.96.0.2:80'], ['default/old']]);
    assert.deepEqual([agent.serves('default/old'), agent.serves('default/new')], [false, true]);
    assert.deepEqual(compare(maps, agent.model()!, given.config, agent.unfit()), []);
    advance(700_000);
    assert.deepEqual([frontends(maps), agent.report().drifts], [['10.96.0.2:80'], 0]);
    assert.ok(!lines.some(({ msg }) => /somebody else/.test(msg)));
    source.remove('Service', 'default/new');
    advance(REST_MS * 2);
    assert.deepEqual(frontends(maps), ['10.96.0.1:80', '10.96.0.1:81']);
    assert.deepEqual([agent.serves('default/old'), agent.serves('default/new')], [true, false]);
    agent.close();
  });

  it('one impossible Service leaves every other served and updated', () => {
    const maps = memoryMaps({ ...SIZES, frontends4: 4 });
    const { given, source } = parts(maps);
    const agent = openAgent(given);
    const ports = Array.from({ length: 5 }, (_, i) => ({ name: `p${i}`, port: 1000 + i }));
    source.put(web(), webSlice('10.244.1.5'), service('big', { clusterIP: '10.96.0.99', clusterIPs: ['10.96.0.99'], ports }));
    mock.timers.tick(0);
    assert.deepEqual(frontends(maps), ['10.96.0.10:80']);
    assert.ok(agent.report().problems.some(({ object }) => object === 'Service default/big'));
    source.put(web('10.96.0.11'));
    mock.timers.tick(0);
    assert.deepEqual(frontends(maps), ['10.96.0.11:80']);
    agent.close();
  });
});

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
console.log(`fast-check seed: ${SEED} (SEED=${SEED} repeats it)`);

const name = fc.constantFrom('web', 'api', 'constructor');
const step = fc.oneof(
  fc.record({ put: name, clusterIP: fc.constantFrom('10.96.0.1', '10.96.0.2', '10.96.0.3'), local: fc.boolean(), udp: fc.boolean() }),
  fc.record({ slice: name, addresses: fc.subarray(['10.244.1.5', '10.244.1.6', '10.244.2.5']), ready: fc.boolean() }),
  fc.record({ removeService: name }),
  fc.record({ removeSlice: name }),
  fc.record({ waitMs: fc.constantFrom(0, 50, REST_MS, 40_000, LOOK_MS) }),
  fc.constant({ restart: true as const }),
);
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

function take(change: Exclude<Step, { waitMs: number } | { restart: true }>, source: ReturnType<typeof testSource>): void {
  if ('put' in change) {
    const ports = [{ name: 'p', port: 80, protocol: change.udp ? 'UDP' : 'TCP' }];
    const policy = change.local ? 'Local' : 'Cluster';
    source.put(service(change.put, { clusterIP: change.clusterIP, clusterIPs: [change.clusterIP], ports, internalTrafficPolicy: policy }));
  } else if ('slice' in change) {
    const endpoints = change.addresses.map((address) => ({ addresses: [address], conditions: { ready: change.ready } }));
    const ports = ['TCP', 'UDP'].map((protocol) => ({ name: 'p', port: 8080, protocol }));
    source.put(slice(change.slice, `${change.slice}-1`, endpoints, { ports }));
  } else if ('removeService' in change) source.remove('Service', `default/${change.removeService}`);
  else source.remove('EndpointSlice', `default/${change.removeSlice}-1`);
}

describe('agent, whatever happens', () => {
  it('ends with the maps meaning what the last objects mean, through refusals and restarts', () => {
    mock.timers.enable({ apis: ['setTimeout', 'setImmediate', 'Date'] });
    try {
      fc.assert(
        fc.property(fc.array(step, { maxLength: 30 }), fc.infiniteStream(fc.integer({ min: 0, max: 9 })), (steps, dice) => {
          const checked = checkedMaps(SIZES, () => Date.now(), REST_MS);
          checked.refuse = () => dice.next().value === 0;
          const { given, source } = parts(checked.maps);
          let agent = openAgent(given);
          for (const change of steps) {
            if ('waitMs' in change) advance(change.waitMs);
            else if ('restart' in change) {
              agent.close();
              agent = openAgent(given);
              agent.dirty();
            } else take(change, source);
          }
          checked.refuse = () => false;
          agent.dirty();
          advance(120_000);
          agent.close();
          assert.deepEqual([agent.report().oldestChangeMs, agent.report().drifts], [undefined, 0]);

          const fresh = memoryMaps(SIZES);
          const alone = openAgent({ ...given, maps: fresh });
          alone.dirty();
          mock.timers.tick(0);
          alone.close();
          assert.equal(meaning(checked.maps), meaning(fresh));
        }),
        { seed: SEED, numRuns: 60 },
      );
    } finally {
      mock.timers.reset();
    }
  });
});
