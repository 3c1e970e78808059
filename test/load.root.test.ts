// Does anything a client notices happen while agents die and backends are replaced? LOAD runs through each of it, and 0 failures mean
// that every count is 0: lost SYNs, resets, wrong answers, gaps, duplicates, reordering.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { servingPins } from '../control/kernel/pins.ts';
import { type Agent, pinnedMaps, startAgent, verdictCounts, verdictsBetween } from './lib/agent.ts';
import { assertFaultless, type Load, startLoad } from './lib/load.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { families, nodeNames, type PodName, places } from './lib/places.ts';
import { type Endpoint, openRollout, type Rollout, rolling } from './lib/rollout.ts';
import { plainLane } from './lib/topology.ts';
import { serve } from './lib/wire.ts';

const pods: readonly PodName[] = ['a1', 'a2', 'b1', 'b2'];
const old: readonly Endpoint[] = pods.map((place) => ({ place }));
let lab: Lab;
let rollout: Rollout;

before(async () => {
  lab = openLab({ ...plainLane, rpFilter: 1, netfilter: true, offload: true });
  rollout = openRollout(join(lab.directory, 'manifests'), old);
  for (const node of nodeNames) rollout.agents.push(await startAgent(lab, node, rollout.directory));
});
after(() => lab.close());

/** LOAD from outside through node A's node port and from a pod through the ClusterIP. */
async function startLoads(seconds: number): Promise<Load[]> {
  return Promise.all([
    startLoad(lab, 'outside', { targets: families.map((family) => `${places.nodeA[family]}@${rolling.nodePort}`), seconds }),
    startLoad(lab, 'clientA', {
      targets: families.map((family) => `${rolling.clusterIP[family]}@${rolling.port}`),
      seconds,
      long: 100,
      short: 4,
      rate: 1000,
    }),
  ]);
}

/** Runs LOAD around something; nothing may fail, and no packet may be dropped by a verdict of ours. */
async function underLoad(t: TestContext, disturb: () => Promise<void>): Promise<void> {
  const maps = pinnedMaps(lab, 'nodeA');
  const counts = verdictCounts(maps);
  const loads = await startLoads(60);
  await disturb();
  for (const load of loads) {
    const report = await load.end();
    const { short, fixed, long, udp, retransmits } = report;
    const connections = short.connections + fixed.connections + long.connections;
    t.diagnostic(
      `${connections} connections, ${long.answers} echoes, ${udp.received} datagrams, ${long.moved} sent away, ${retransmits} retransmits`,
    );
    assertFaultless(report);
  }
  const moved = [...verdictsBetween(counts, verdictCounts(maps)).keys()].filter((verdict) => /^(DROP|REJECT)/.test(verdict));
  assert.deepEqual(moved, []);
}

/** Resolves after LOAD has had so long to meet what there is: the time is the thing tested, no event is waited for. */
const meanwhile = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function restart(node: 'nodeA' | 'nodeB'): Promise<Agent> {
  const agent = await startAgent(lab, node, rollout.directory);
  rollout.agents[nodeNames.indexOf(node)] = agent;
  return agent;
}

test('LOAD while backends serve', async (t) => {
  const servers = await Promise.all(pods.map((pod) => serve(lab, pod, pod, ['8080/tcp', '8080/udp'])));

  await t.test('kill -9 of the agent, and its start, fail nothing', (t) =>
    underLoad(t, async () => {
      await rollout.agents[0]!.end('SIGKILL');
      await meanwhile(1500);
      await restart('nodeA');
      await meanwhile(1500);
    }),
  );

  await t.test('a rolling replacement of all backends fails nothing', (t) =>
    underLoad(t, async () => {
      let endpoints = [...old];
      for (const [index, place] of pods.entries()) {
        await serve(lab, place, `${place}-new`, ['8081/tcp', '8081/udp']);
        endpoints = [...endpoints, { place, port: 8081 }];
        await rollout.write(endpoints);
        const change = (state: Partial<Endpoint>) => {
          endpoints = endpoints.map((one) => (one.place === place && one.port === undefined ? { ...one, ...state } : one));
          return rollout.write(endpoints);
        };
        await change({ ready: false, terminating: true });
        const gone = once(servers[index]!, 'exit');
        servers[index]!.kill('SIGTERM');
        await meanwhile(300);
        await change({ ready: false, serving: false, terminating: true });
        const [code] = await gone;
        assert.equal(code, 0, `${place} drained`);
        endpoints = endpoints.filter((one) => one.place !== place || one.port !== undefined);
        await rollout.write(endpoints);
      }
    }),
  );

  await t.test('a dead agent keeps serving', (t) =>
    underLoad(t, async () => {
      for (const agent of rollout.agents) await agent.end('SIGKILL');
      await meanwhile(2000);
    }),
  );

  await t.test('control: programs that are detached for a moment are noticed', async () => {
    const loads = await startLoads(30);
    const links = servingPins(lab.pinDirectory('nodeA'))!.deviceLinks;
    assert.ok(existsSync(links) && readdirSync(links).length > 0, 'there are links to remove');
    for (const link of readdirSync(links)) rmSync(join(links, link));
    await meanwhile(200);
    await restart('nodeA');
    const reports = await Promise.all(loads.map((load) => load.end()));
    assert.ok(
      reports.some(({ failures }) => failures > 0),
      'programs were detached, and nothing failed',
    );
  });
});
