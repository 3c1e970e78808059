// Does a client notice that XDP comes, goes and is replaced? LOAD runs through all of it, on a lab whose uplinks can send frames of XDP.
import assert from 'node:assert/strict';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { Hook, MAPS, type MapName, Verdict } from '../control/abi/layout.gen.ts';
import { loadNative } from '../control/kernel/addon.ts';
import { probeFeatures } from '../control/kernel/features.ts';
import { loadXdp } from '../control/kernel/load.ts';
import { servingPins } from '../control/kernel/pins.ts';
import { type Agent, pinnedMaps, startAgent, verdictCounts, verdictsBetween } from './lib/agent.ts';
import { assertFaultless, type Load, startLoad } from './lib/load.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { families, type PodName, places } from './lib/places.ts';
import { type Endpoint, openRollout, rolling } from './lib/rollout.ts';
import { plainLane } from './lib/topology.ts';
import { serve } from './lib/wire.ts';

/** Half of the connections go to pods of node B: they are XDP's. */
const pods: readonly PodName[] = ['a1', 'a2', 'b1', 'b2'];
const old: readonly Endpoint[] = pods.map((place) => ({ place }));
const BEAT_MS = 100;
const BEATS = 40;

let lab: Lab;
let manifests: string;
let file: string;
let agent: Agent;

before(async () => {
  lab = openLab({ ...plainLane, rpFilter: 1, netfilter: true, xdp: true });
  manifests = openRollout(join(lab.directory, 'manifests'), old).directory;
  file = join(lab.directory, 'config.yaml');
  setMode('native');
  await Promise.all(pods.map((pod) => serve(lab, pod, pod, ['8080/tcp', '8080/udp'])));
  agent = await startAgent(lab, 'nodeA', manifests, ['--config', file]);
});
after(() => lab.close());

function setMode(xdp: 'native' | 'off'): void {
  writeFileSync(file, `sluice:\n  xdp: ${xdp}\n`);
}

/** LOAD from outside through node A's node port; less of it than elsewhere, since a veth with XDP drops what 256 frames do not hold. */
function load(seconds: number): Promise<Load> {
  const targets = families.map((family) => `${places.nodeA[family]}@${rolling.nodePort}`);
  return startLoad(lab, 'outside', { targets, seconds, long: 200, short: 8, rate: 2000 });
}

/** Packets sent on in both directions, by the hook that sent them. */
function forwards(): Record<'xdp' | 'tc', number> {
  const maps = pinnedMaps(lab, 'nodeA');
  const at = (hook: number) =>
    [Verdict.FORWARD_REQUEST, Verdict.FORWARD_REPLY].reduce((sum, verdict) => sum + Number(maps.verdicts.get(verdict)?.packets[hook]), 0);
  return { xdp: at(Hook.HOOK_XDP), tc: at(Hook.HOOK_NIC_INGRESS) };
}

/** Does something every BEAT_MS under LOAD: nothing may fail, and no packet may be dropped by a verdict of ours. */
async function underLoad(beats: number, beat: (count: number) => Promise<void>): Promise<{ xdp: number; tc: number }> {
  const maps = pinnedMaps(lab, 'nodeA');
  const counts = verdictCounts(maps);
  const before = forwards();
  const running = await load(60);
  for (let count = 0; count < beats; count++) {
    await beat(count);
    await new Promise((resolve) => setTimeout(resolve, BEAT_MS));
  }
  assertFaultless(await running.end(), { unordered: true });
  const moved = [...verdictsBetween(counts, verdictCounts(maps)).keys()].filter((verdict) => /^(DROP|REJECT)/.test(verdict));
  assert.deepEqual(moved, []);
  const now = forwards();
  return { xdp: now.xdp - before.xdp, tc: now.tc - before.tc };
}

test('under LOAD, XDP sends what leaves the node again', async () => {
  const sent = await underLoad(20, async () => {});
  assert.ok(sent.xdp > 20 * sent.tc, JSON.stringify(sent));
});

test('XDP switched on and off again and again fails nothing', async () => {
  const sent = await underLoad(BEATS, async (count) => {
    setMode(count % 2 === 0 ? 'off' : 'native');
    await agent.reread();
  });
  assert.ok(sent.xdp > 1000 && sent.tc > 1000, JSON.stringify(sent));
});

test('the program replaced in place again and again fails nothing', async () => {
  const native = loadNative();
  const pins = servingPins(lab.pinDirectory('nodeA'))!;
  const maps = Object.fromEntries((Object.keys(MAPS) as MapName[]).map((name) => [name, native.openPin(pins.map(name))!]));
  const objects = await Promise.all([0, 1].map(() => loadXdp(native, maps, probeFeatures(native))));
  const [name] = readdirSync(pins.xdpLinks);
  const link = native.openPin(join(pins.xdpLinks, name!))!;
  const sent = await underLoad(BEATS, async (count) => native.linkUpdate(link, objects[count % 2]!.programs.nic_xdp!));
  assert.ok(sent.xdp > 20 * sent.tc, JSON.stringify(sent));
  for (const fd of [link, ...Object.values(maps)]) native.closeFd(fd);
  for (const object of objects) object.close();
});

test('control: with tc gone too, LOAD notices', async () => {
  const running = await load(30);
  const { links } = servingPins(lab.pinDirectory('nodeA'))!;
  for (const kind of ['xdp', 'device']) for (const link of readdirSync(join(links, kind))) rmSync(join(links, kind, link));
  await new Promise((resolve) => setTimeout(resolve, 3 * BEAT_MS));
  setMode('off');
  await agent.reread();
  const report = await running.end();
  assert.ok(report.failures > 0, 'no program was attached, and nothing failed');
});
