// The demo: two nodes, their pods and a client outside in network namespaces of their own, an agent on each node, real requests along every
// path, a rolling replacement and a killed agent under load. Every step says what is expected; one that is not as expected ends in exit code 1.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cgroupRoot } from '../test/lib/netns.ts';
import { nodeNames, nodeObjects, type PodName } from '../test/lib/places.ts';
import { compareAll, liveFlows, untilServed } from './checks.ts';
import { type Cluster, labName, openCluster, peer, podOf, sluice, tailOf, until } from './cluster.ts';
import { attachedTo, filesOf, leftOfLab, readOurs, stillInKernel } from './left.ts';
import { endLoads, goOn, longCount, type Outcome, startLoads } from './load.ts';
import { applyManifests, expectedFrontends, type Manifests, readManifests, withConditions, withoutPod, withPod } from './manifests.ts';
import { acted, type Counters, paths, type Result, readCounters, walk } from './paths.ts';
import { bold, dim, elapsed, green, mark, red, say, stepper, table } from './screen.ts';

/** One judged line of the last screen that is not a path. */
interface Check {
  readonly what: string;
  readonly found: string;
  readonly right: boolean;
}

const keep = Boolean(process.env.KEEP);
const manifestsHere = new URL('manifests', import.meta.url).pathname;
const pidFile = join('/run', labName, 'pid');
const step = stepper(keep ? 6 : 7);
const results: Result[] = [];
const checks: Check[] = [];
const firstPods: readonly (readonly [PodName, string])[] = [
  ['a1', 'web-1'],
  ['b1', 'web-2'],
];
const replacements: readonly (readonly [PodName, string, string])[] = [
  ['a2', 'web-3', 'web-1'],
  ['b2', 'web-4', 'web-2'],
];

function check(what: string, found: string, right: boolean): void {
  checks.push({ what, found, right });
  say(`  ${mark(right)} ${what}: ${found}`);
}

function refuseToStart(): string | undefined {
  if (process.getuid?.() !== 0) return 'the demo makes network namespaces: run it as root';
  const other = existsSync(pidFile) ? readFileSync(pidFile, 'utf8') : undefined;
  if (other && existsSync(`/proc/${other}`)) return `another demo runs (process ${other}); "make demo-clean" removes it`;
  return undefined;
}

async function build(): Promise<Cluster> {
  step('Two nodes, pods on each, a client outside: network namespaces of their own');
  const cluster = openCluster();
  writeFileSync(pidFile, String(process.pid));
  for (const [place, name] of firstPods) await cluster.startPod(place, name);
  const drawing = [
    'client outside 198.51.100.2 ── router ─┬─ node-a 172.18.0.2 ── web-1 10.1.1.11, a client pod 10.1.1.20',
    '               2001:db8:51::2          └─ node-b 172.18.0.3 ── web-2 10.1.2.11, a client pod 10.1.2.20',
  ];
  for (const line of drawing) say(`  ${line}`);
  return cluster;
}

async function serve(cluster: Cluster, manifests: Manifests): Promise<void> {
  step('kubectl-style manifests into a directory, a sluice agent on each node');
  applyManifests(cluster.manifests, manifests);
  for (const node of nodeNames) cluster.startAgent(node);
  for (const node of nodeNames) {
    say(`  ${nodeObjects[node]}: sluice agent --manifests ${cluster.manifests} --config ${cluster.configFile(node)}`);
    await untilRunning(cluster, node);
  }
  await untilServed(cluster, manifests);
  const services = new Set(expectedFrontends(manifests).map(({ service }) => service));
  say(`  ${services.size} Services, ${expectedFrontends(manifests).length} frontends, served on both nodes after ${elapsed()}`);
}

async function untilRunning(cluster: Cluster, node: 'nodeA' | 'nodeB'): Promise<void> {
  await until(`the agent of ${nodeObjects[node]}`, () =>
    cluster.sluice(node, 'status').then(
      () => true as const,
      (error: Error) => error.message,
    ),
  );
}

async function request(cluster: Cluster): Promise<void> {
  step('Real requests along every path: who answered, whom it saw, which hook acted');
  let counters: Counters = await readCounters(cluster);
  for (const path of paths) {
    const { results: found, after, hooks } = await walk(cluster, path, counters);
    counters = after;
    results.push(...found);
    const { path: title, target } = found[0]!;
    const answered = found.map(({ backend, seen }) => (seen === '-' ? backend : `${backend} saw ${seen}`)).join(', ');
    say(`  ${mark(found.every(({ right }) => right))} ${title.padEnd(26)} ${target.padEnd(22)} ${answered}`);
    say(dim(`      ${hooks}`));
  }
}

async function show(cluster: Cluster, manifests: Manifests): Promise<void> {
  step('The maps behind them, as the kernel of node-a holds them');
  const excerpts: readonly (readonly [string, number])[] = [
    ['dump frontends', 20],
    ['dump slices --service default/shop', 6],
    ['dump maglev --service default/shop', 6],
    ['dump conntrack --service default/shop', 6],
    ['dump affinity', 4],
  ];
  for (const [words, count] of excerpts) {
    say(`  ${bold(`sluice ${words}`)}`);
    const lines = (await cluster.sluice('nodeA', ...words.split(' '))).split('\n');
    for (const line of lines.slice(0, count)) say(`    ${line}`);
    if (lines.length > count) say(dim(`    … ${lines.length - count} more`));
  }
  await match(cluster, manifests, 'dump all -o json');
}

async function match(cluster: Cluster, manifests: Manifests, what: string): Promise<void> {
  const different = await Promise.all(nodeNames.map((node) => compareAll(cluster, node, manifests)));
  for (const [i, node] of nodeNames.entries()) for (const text of different[i]!) say(red(`    ${nodeObjects[node]}: ${text}`));
  const count = different.flat().length;
  const same = `what the manifests say, on both nodes: ${expectedFrontends(manifests).length} frontends, their backends, nothing else`;
  check(what, count === 0 ? same : `${count} differences`, count === 0);
}

/** Under load nothing may be dropped or rejected at any hook. */
async function judgeHooks(cluster: Cluster, what: string, before: Counters): Promise<void> {
  const hooks = acted(before, await readCounters(cluster));
  const lost = [...hooks].filter(([key]) => /^(DROP|REJECT)_/.test(key)).map(([key, count]) => `${key} +${count}`);
  const packets = [...hooks.values()].reduce((sum, count) => sum + count, 0);
  check(
    what,
    lost.join(', ') || `${packets} requests' packets and calls acted on, none dropped or rejected`,
    lost.length === 0 && packets > 0,
  );
}

function judgeLoad(what: string, outcome: Outcome, moved: string, movedRight: boolean): void {
  for (const line of outcome.lines) say(`    ${line}`);
  check(
    what,
    `${outcome.requests} requests, ${outcome.failed} failed; ${moved}`,
    outcome.requests > 0 && outcome.failed === 0 && movedRight,
  );
}

async function replace(cluster: Cluster, first: Manifests): Promise<Manifests> {
  step('Rolling replacement of every backend under load');
  const counters = await readCounters(cluster);
  const loads = await startLoads(cluster);
  await goOn(loads, 1);
  let now = first;
  const apply = (next: Manifests) => {
    applyManifests(cluster.manifests, next, now);
    now = next;
  };
  for (const [place, fresh, old] of replacements) {
    await cluster.startPod(place, fresh);
    apply(withPod(now, podOf(place, fresh)));
    await untilServed(cluster, now);
    say(`  ${fresh} is ready on ${podOf(place, fresh).node}; ${old} terminates: no new connections, SIGTERM`);
    apply(withConditions(now, old, { ready: false, serving: true, terminating: true }));
    cluster.terminatePod(old);
    await untilServed(cluster, now);
    apply(withConditions(now, old, { ready: false, serving: false, terminating: true }));
    await cluster.podEnded(old);
    apply(withoutPod(now, old));
    say(`  ${old} has served its last connection and is gone  ${dim(elapsed())}`);
  }
  await goOn(loads, 1);
  const outcome = await endLoads(loads);
  judgeLoad('rolling replacement', outcome, `${outcome.moved} moved on while their backend drained`, outcome.moved > 0);
  await judgeHooks(cluster, 'hooks meanwhile', counters);
  const answers = await cluster.ask('outside', 'tcp', '172.18.0.2', 30120, 24);
  const names = [...new Set(answers.map(({ name, error }) => name ?? error))].sort().join(', ');
  check('afterwards', `${names} answer`, names === 'web-3, web-4');
  await until('the removal of the old backends', async () => {
    const different = await Promise.all(nodeNames.map((node) => compareAll(cluster, node, now)));
    return different.flat()[0] ?? true;
  });
  await match(cluster, now, 'dump after the replacement');
  return now;
}

async function kill(cluster: Cluster, manifests: Manifests): Promise<void> {
  step('kill -9 of both agents under load, and their return');
  const counters = await readCounters(cluster);
  const loads = await startLoads(cluster);
  await goOn(loads, 1);
  const before = await liveFlows(cluster);
  for (const node of nodeNames) await cluster.endAgent(node, 'SIGKILL');
  say(`  both agents are dead; the kernel goes on  ${dim(elapsed())}`);
  await untilServed(cluster, manifests);
  say('  sluice dump still reads the maps');
  await goOn(loads, 2);
  for (const node of nodeNames) cluster.startAgent(node);
  for (const node of nodeNames) await untilRunning(cluster, node);
  say(`  both agents are back and took over what they found  ${dim(elapsed())}`);
  await goOn(loads, 2);
  const after = await liveFlows(cluster);
  const outcome = await endLoads(loads);
  judgeLoad('kill -9 of the agents', outcome, `${outcome.moved} moved`, outcome.moved === 0);
  await judgeHooks(cluster, 'hooks meanwhile', counters);
  const live = [...before].filter(([flow]) => after.has(flow));
  const changed = live.filter(([flow, backend]) => after.get(flow) !== backend);
  check(
    'live flows',
    `${live.length} lived through it, ${changed.length} changed their backend`,
    live.length >= longCount && changed.length === 0,
  );
  await match(cluster, manifests, 'dump after the return');
}

async function remove(cluster: Cluster): Promise<void> {
  step('Everything removed');
  const ours = await readOurs(cluster);
  const counted = `${ours.link.size} links, ${ours.prog.size} programs, ${ours.map.size} maps`;
  for (const node of nodeNames) {
    await cluster.endAgent(node, 'SIGTERM');
    const removed = (await cluster.sluice(node, 'cleanup')).split('\n');
    say(`  ${nodeObjects[node]}: sluice cleanup removed ${removed.length} things`);
    const left = [...(await attachedTo(cluster, node)), ...filesOf(cluster, node)];
    check(`${nodeObjects[node]} after cleanup`, left.join(', ') || 'no program at a device or cgroup, no pin, no file', left.length === 0);
  }
  await until('the end of our objects', async () => (await stillInKernel(ours)).join(', ') || true, 5_000).then(
    () => check('bpftool link, prog, map', `none of our ${counted} is left`, ours.link.size > 0 && ours.map.size > 0),
    (error: Error) => check('bpftool link, prog, map', error.message, false),
  );
  cluster.close();
  const left = leftOfLab(cgroupRoot());
  check('ip netns, cgroups, mounts, /run', left.join(', ') || 'nothing of ours is left', left.length === 0);
}

function lastScreen(): boolean {
  const right = [...results, ...checks].every((one) => one.right);
  say(`\n${bold('What you saw')}  ${dim(elapsed())}\n`);
  const rows = results.map((one, i) => {
    const again = i > 0 && results[i - 1]!.path === one.path && results[i - 1]!.target === one.target;
    return [again ? '' : one.path, again ? '' : one.target, one.hook, one.verdict, one.backend, one.seen, mark(one.right)];
  });
  for (const line of table(['PATH', 'TO', 'HOOK', 'VERDICT', 'BACKEND', 'SAW CLIENT AS', ''], rows)) say(line);
  say();
  for (const line of table(
    ['CHECK', '', ''],
    checks.map(({ what, found, right: ok }) => [what, mark(ok), found]),
  ))
    say(line);
  say(`\n  ${right ? green(bold('Everything was as expected.')) : red(bold('Not everything was as expected.'))}`);
  return right;
}

function howToLook(cluster: Cluster): void {
  const config = cluster.configFile('nodeA');
  say(`\n${bold('It is still running. To look around:')}`);
  const commands: readonly (readonly [string, string])[] = [
    ['a shell on node-a', `nsenter --net=${cluster.lab.namespace('nodeA')} bash`],
    [
      'a shell in a client pod',
      `sh -c 'echo $$ >${cluster.lab.cgroup('nodeA')}/cgroup.procs; exec nsenter --net=${cluster.lab.namespace('clientA')} bash'`,
    ],
    ['ask a NodePort from outside', `nsenter --net=${cluster.lab.namespace('outside')} ${peer} ask tcp 172.18.0.2 30120 --times 5`],
    ['what is attached, what is wrong', `${sluice} status --config ${config}`],
    ['what the maps hold', `${sluice} dump all --config ${config}`],
    ['the manifests: edit, and see', cluster.manifests],
    ['the agents’ logs', nodeNames.map(cluster.agentLog).join(' ')],
    ['remove it all', 'make demo-clean'],
  ];
  for (const line of table(['TO', 'DO'], commands)) say(line);
}

async function run(): Promise<boolean> {
  const reason = refuseToStart();
  if (reason) throw new Error(reason);
  const first = readManifests(manifestsHere);
  const cluster = await build();
  try {
    await serve(cluster, first);
    await request(cluster);
    await show(cluster, first);
    const now = await replace(cluster, first);
    await kill(cluster, now);
    if (!keep) await remove(cluster);
  } catch (error) {
    for (const node of nodeNames) if (existsSync(cluster.agentLog(node))) say(tailOf(cluster.agentLog(node)).join('\n'));
    cluster.close();
    throw error;
  }
  const right = lastScreen();
  if (keep) {
    cluster.lab.leave();
    howToLook(cluster);
  }
  return right;
}

run().then(
  (right) => process.exit(right ? 0 : 1),
  (error: Error) => {
    say(`\n${red('The demo could not go on:')} ${error.message}`);
    process.exit(1);
  },
);
