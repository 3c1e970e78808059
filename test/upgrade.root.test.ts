// Does a connection notice that the agent becomes another version, whose maps hold other bytes or are of another size? LOAD runs through
// each change, forth and back, and 0 failures mean that every count is 0.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, type TestContext, test } from 'node:test';
import { generationsIn, type Pins, servingPins } from '../control/kernel/pins.ts';
import { type Agent, agentArguments, startAgent } from './lib/agent.ts';
import { assertFaultless, type Load, startLoad } from './lib/load.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { families, type PlaceName, places } from './lib/places.ts';
import { openRollout, type Rollout, rolling } from './lib/rollout.ts';
import { namesIn, until } from './lib/sandbox.ts';
import { type Lane, plainLane } from './lib/topology.ts';
import { makeOtherVersion } from './lib/version.ts';
import { serve } from './lib/wire.ts';

const pods = ['a1', 'a2', 'b1', 'b2'] as const;
const lanes: readonly { readonly lane: Lane; readonly flags: readonly string[]; readonly clients: readonly PlaceName[] }[] = [
  {
    lane: { ...plainLane, name: 'tc and the node’s sockets, a closed firewall', rpFilter: 1, netfilter: true, offload: true },
    // Pods by packets, so that every kind of flow is there: a1 is its own backend now and then.
    flags: ['--socket', 'host-only'],
    clients: ['outside', 'clientA', 'a1', 'nodeA'],
  },
  { lane: { ...plainLane, name: 'XDP', xdp: true }, flags: ['--xdp', 'native'], clients: ['outside', 'clientA'] },
];

/** Of masquerades: so few that one whose flow is over is soon another's, in whichever generation is asked for it. */
const ports = ['--snat-ports', '16384-18383'];

let directory: string;
let other: string;
before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'upgrade-'));
  other = await makeOtherVersion(directory);
});
after(() => rmSync(directory, { recursive: true, force: true }));

for (const { lane, flags, clients } of lanes)
  describe(`upgrade under LOAD: ${lane.name}`, () => {
    let lab: Lab;
    let rollout: Rollout;
    let agent: Agent;
    before(async () => {
      lab = openLab(lane);
      rollout = openRollout(
        join(lab.directory, 'manifests'),
        pods.map((place) => ({ place })),
      );
      await Promise.all(pods.map((pod) => serve(lab, pod, pod, ['8080/tcp', '8080/udp'])));
      agent = await start();
    });
    after(() => lab?.close());

    const start = (more: readonly string[] = [], version?: string) =>
      startAgent(lab, 'nodeA', rollout.directory, [...flags, ...ports, ...more], version);

    const startLoads = (): Promise<Load[]> =>
      Promise.all(
        clients.map((client) => {
          const targets = families.map((family) =>
            client === 'outside' ? `${places.nodeA[family]}@${rolling.nodePort}` : `${rolling.clusterIP[family]}@${rolling.port}`,
          );
          const much = client === 'outside';
          return startLoad(lab, client, { targets, seconds: 60, long: much ? 40 : 15, short: much ? 4 : 2, rate: much ? 1000 : 400 });
        }),
      );

    async function underLoad(t: TestContext, disturb: () => Promise<void>): Promise<void> {
      const loads = await startLoads();
      await disturb();
      // Long-lived connections show what they lost when they are used again.
      await meanwhile(1500);
      for (const [index, load] of loads.entries()) {
        const report = await load.end();
        t.diagnostic(
          `${clients[index]}: ${report.short.connections} connections, ${report.long.answers} echoes on ${report.long.connections} long-lived, ${report.udp.received} datagrams, ${report.failures} failures`,
        );
        assertFaultless(report, { unordered: lane.xdp });
      }
      assert.equal(generationsIn(lab.pinDirectory('nodeA')).length, 1, 'what served before is gone');
    }

    /** How many entries the agent says that it carried over. */
    async function carried(): Promise<number> {
      const { entries } = await agent.said('connections carried over from maps of another layout or size');
      return entries as number;
    }

    async function change(more: readonly string[], version?: string): Promise<void> {
      const shape = servingPins(lab.pinDirectory('nodeA'))?.shape;
      await agent.end('SIGTERM');
      agent = await start(more, version);
      assert.notEqual(servingPins(lab.pinDirectory('nodeA'))?.shape, shape, 'other maps');
      assert.ok((await carried()) > 100);
    }

    test('to another layout and back', (t) =>
      underLoad(t, async () => {
        await change([], other);
        await change([]);
      }));
    test('to other sizes and back', (t) =>
      underLoad(t, async () => {
        await change(['--map-size', 'flows4=65536,flows6=65536,new_flows4=32768,backends4=2000']);
        await change([]);
      }));

    /** How far a change has come: each is a moment to die at. The first four: the old one takes every new flow still. */
    const moments: readonly (readonly [string, (next: Pins | undefined, old: Pins) => boolean])[] = [
      ['there are new maps', (next) => next !== undefined],
      ['the first program is attached', (next) => next !== undefined && existsSync(next.links)],
      ['a device has a program', (next) => next !== undefined && namesIn(next.deviceLinks).length > 0],
      ['every device has', (next, old) => next !== undefined && namesIn(next.deviceLinks).length === namesIn(old.deviceLinks).length],
      ['new flows are the new one’s', (_, old) => !existsSync(`${old.cgroupLinks}/connect4`)],
      ['the old programs go', (_, old) => namesIn(old.deviceLinks).length === 0],
    ];

    test('killed in the middle, again and again: the old ones serve, and the next start ends it', (t) =>
      underLoad(t, async () => {
        await agent.end('SIGTERM');
        const old = servingPins(lab.pinDirectory('nodeA'))!;
        const words = [
          'agent',
          '--manifests',
          rollout.directory,
          '--hostname-override',
          'node-a',
          ...agentArguments(lab, 'nodeA'),
          ...flags,
          ...ports,
        ];
        const nextIn = () => generationsIn(lab.pinDirectory('nodeA')).find((pins) => pins.shape !== old.shape);
        for (const [moment, come] of moments) {
          const dying = lab.start('nodeA', process.execPath, ['--disable-warning=ExperimentalWarning', other, ...words]);
          const gone = once(dying, 'exit');
          await until(moment, () => come(nextIn(), old));
          dying.kill('SIGKILL');
          await gone;
          const [ours, theirs] = [nextIn(), old].map((pins) => (pins === undefined ? 0 : namesIn(pins.deviceLinks).length));
          const calls = existsSync(`${old.cgroupLinks}/connect4`) ? 'asks both' : 'asks the new one';
          t.diagnostic(`killed when ${moment}: ${ours} programs of the new one at devices, ${theirs} of the old one; connect() ${calls}`);
          assert.ok(come(nextIn(), old), moment);
          await meanwhile(300);
        }
        agent = await start([], other);
      }));

    test('control: without what the old maps say about themselves, LOAD notices', async () => {
      const loads = await startLoads();
      await agent.end('SIGTERM');
      rmSync(servingPins(lab.pinDirectory('nodeA'))!.layout);
      agent = await start();
      await agent.said('these maps did not say what they hold: connections through them end');
      await meanwhile(1500);
      const reports = await Promise.all(loads.map((load) => load.end()));
      assert.ok(reports[0]!.failures > 0, 'connections were lost, and nothing failed');
    });
  });

/** Resolves after LOAD has had so long to meet what there is: the time is the thing tested, no event is waited for. */
const meanwhile = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
