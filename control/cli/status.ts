// sluice status: is the agent well, what is attached where and why, what is wrong? Asks the running agent; of a dead one it shows
// what the pins and the snapshot still say.

import { existsSync, readdirSync } from 'node:fs';
import type { Command } from 'commander';
import { type AgentStatus, isAgentStatus } from '../agent/status.ts';
import type { Config } from '../config.ts';
import type { Maps, TypedMap } from '../kernel/maps.ts';
import { servingPins } from '../kernel/pins.ts';
import type { DatapathStatus, MapStatus } from '../kernel/status.ts';
import type { Problem } from '../model/model.ts';
import { snapshotPath, socketPath } from '../observe/paths.ts';
import { ask } from '../observe/protocol.ts';
import { readSnapshot } from '../observe/snapshot.ts';
import { Refusal } from './exits.ts';
import { writeLines } from './output.ts';
import { align } from './table.ts';
import { durationText, printable } from './text.ts';
import { configOf, type Environment, type Options, PLACES, verb } from './verb.ts';

type Pairs = readonly (readonly [label: string, text: string])[];

function* pairs(rows: Pairs): Generator<string> {
  const width = Math.max(...rows.map(([label]) => label.length));
  for (const [label, text] of rows) yield `${label.padEnd(width)}  ${text}`;
}

/** A table after an empty line, nothing where it has no rows. `right`: its numbers stand on the right. */
function* headed(titles: readonly string[], rows: readonly (readonly string[])[], right: readonly string[] = []): Generator<string> {
  if (rows.length === 0) return;
  yield '';
  yield* align(
    titles.map((title) => ({ title, right: right.includes(title) })),
    rows,
  );
}

/** Where the objects come from, as a label and a sentence. */
function sourcePair({ source }: AgentStatus): Pairs[number] {
  const read = source.synced ? '' : ', first read not done';
  const objects = `${source.services} Services, ${source.endpointSlices} EndpointSlices`;
  if (source.apiServer !== null) {
    const { server, servers, identity } = source.apiServer;
    const others = servers.length > 1 ? `, one of ${servers.length}` : '';
    return ['API server', `${printable(server)}${others}, by ${printable(identity)}: ${objects}${read}`];
  }
  const { directory = '', files = 0, ignored = {} } = source.manifests ?? {};
  const kinds = Object.entries(ignored).map(([kind, count]) => `${count} ${printable(kind)}`);
  const rest = kinds.length === 0 ? '' : `; not ours: ${kinds.join(', ')}`;
  return ['manifests', `${printable(directory)}: ${files} files, ${objects}${rest}${read}`];
}

function* resourceLines({ source }: AgentStatus): Generator<string> {
  const numbers = ['RECONNECTS', 'RELISTS', 'ERRORS', 'BROKEN', 'LATE'];
  yield* headed(
    ['RESOURCE', 'SYNCED', 'BY', 'WATCHED', 'VERSION', 'HEARD', ...numbers],
    (source.apiServer?.resources ?? []).map((one) => [
      one.resource,
      one.synced ? 'yes' : 'no',
      one.how,
      one.connected ? 'yes' : 'no',
      printable(one.resourceVersion ?? '-'),
      one.heardMs === null ? 'never' : `${durationText(one.heardMs / 1000)} ago`,
      ...[one.reconnects, one.relists, one.errors, one.broken, one.late].map(String),
    ]),
    numbers,
  );
}

function nodeText({ node }: AgentStatus): string {
  const addresses = node.primaryAddresses.join(', ') || 'no address';
  const from = node.hasObject ? '' : " (no Node object: the default-route device's)";
  return `${printable(node.name)}, zone ${node.zone === null ? 'unknown' : printable(node.zone)}, ${addresses}${from}`;
}

function changesText({ loop }: AgentStatus): string {
  const oldest = loop.oldestChangeMs === null ? 'none waits' : `the oldest waits since ${loop.oldestChangeMs} ms`;
  const refusal = loop.refusal === null ? '' : `; refused ${loop.refusals} times: ${printable(loop.refusal)}`;
  return `${oldest}${refusal}`;
}

function agentPairs(status: AgentStatus): Pairs {
  const { loop } = status;
  return [
    ['node', nodeText(status)],
    ['NodePorts on', status.node.nodePortAddresses.join(', ') || 'no address'],
    sourcePair(status),
    ['in the maps', `${loop.services} Services after ${loop.turns} turns, drift found ${loop.drifts} times`],
    ['changes', changesText(status)],
  ];
}

function xdpText({ hooks, devices }: DatapathStatus): string {
  const nics = devices.flatMap(({ xdp }) => (xdp === undefined ? [] : [xdp.native]));
  return `${hooks.xdp}, native at ${nics.filter((native) => native).length} of ${nics.length} NICs`;
}

function kubeProxyText({ kubeProxy }: DatapathStatus, now: number): string {
  if (kubeProxy === undefined) return 'not looked for yet';
  const { modes, unseen, besideSince, processSeenAt, connections } = kubeProxy;
  const since = besideSince === null ? '' : `, beside us since ${durationText((now - besideSince) / 1000)}`;
  const seen = processSeenAt === null ? '' : `, its process last seen ${durationText((now - processSeenAt) / 1000)} ago`;
  const alive =
    connections === null
      ? '; connections of netfilter are not listed here'
      : connections > 0
        ? `; ${connections} of its connections live`
        : '';
  const hidden = unseen.length === 0 ? '' : `; not looked at: ${unseen.join(', ')}`;
  return `${modes.length === 0 ? 'no rules of it' : `rules of its mode ${modes.join(', ')}`}${since}${seen}${alive}${hidden}`;
}

function datapathPairs(datapath: DatapathStatus, now: number): Pairs {
  const { hooks } = datapath;
  const features = Object.entries(datapath.features).map(([name, has]) => `${name} ${has ? 'yes' : 'no'}`);
  return [
    ['kernel', `${datapath.kernel}: ${features.join(', ')}`],
    ['tc hook', hooks.tc ? `on, by ${hooks.deviceMode}` : 'off'],
    ['XDP', xdpText(datapath)],
    ['socket hook', hooks.cgroupRoot === undefined ? hooks.socket : `${hooks.socket}, at ${hooks.cgroupRoot}`],
    ['kube-proxy', kubeProxyText(datapath, now)],
    ['maps', `${datapath.adopted ? 'adopted' : 'made'}, layout ${datapath.layout}, in ${datapath.pinDirectory}`],
  ];
}

function* datapathLines(datapath: DatapathStatus): Generator<string> {
  yield* headed(
    ['DEVICE', 'ROLE', 'ATTACHED', 'WHY', 'BEFORE US', 'XDP'],
    datapath.devices.map((device) => [
      printable(device.name),
      device.role,
      device.refusal !== undefined ? `refused: ${printable(device.refusal)}` : (device.mode ?? '-'),
      printable(device.why),
      printable(device.before.join(', ')) || '-',
      device.xdp === undefined ? '-' : device.xdp.native ? 'native' : `off: ${printable(device.xdp.why)}`,
    ]),
  );
  yield* headed(
    ['NOT SERVED', 'BECAUSE'],
    datapath.unserved.map(({ who, why }) => [who, why]),
  );
}

function* fillLines(maps: readonly MapStatus[]): Generator<string> {
  yield* headed(
    ['MAP', 'ENTRIES', 'ROOM', 'FULL'],
    maps.map(({ name, entries, maxEntries }) => [
      name,
      String(entries),
      String(maxEntries),
      `${((100 * entries) / maxEntries).toFixed(1)}%`,
    ]),
    ['ENTRIES', 'ROOM', 'FULL'],
  );
}

function* problemLines(problems: readonly Problem[]): Generator<string> {
  yield '';
  yield problems.length === 0 ? 'no Problems' : problems.length === 1 ? '1 Problem' : `${problems.length} Problems`;
  for (const problem of problems) {
    const field = problem.field === undefined ? '' : ` ${printable(problem.field)}`;
    const origin = problem.origin === undefined || problem.object === `File ${problem.origin}` ? '' : ` (${printable(problem.origin)})`;
    yield `  ${printable(problem.object)}${field}${origin}: ${printable(problem.reason)}: ${printable(problem.message)}`;
  }
}

function* runningLines(status: AgentStatus, now: number): Generator<string> {
  const head: Pairs = [
    ['agent', `runs since ${durationText((now - status.startedAt) / 1000)}, pid ${status.pid}, version ${printable(status.version)}`],
    ...agentPairs(status),
  ];
  const { datapath } = status;
  yield* pairs(datapath === undefined ? head : [...head, ...datapathPairs(datapath, now)]);
  yield* resourceLines(status);
  if (datapath !== undefined) {
    yield* datapathLines(datapath);
    yield* fillLines(datapath.maps);
  }
  yield* problemLines(status.problems);
}

/** Maps whose entries come and go, counted. */
export function fillOf(maps: Maps): MapStatus[] {
  const fill: MapStatus[] = [];
  for (const map of Object.values(maps)) {
    if (!('pages' in map) || map.maxEntries <= 1 || map.name === 'verdicts' || map.name === 'snat_ports') continue;
    let entries = 0;
    for (const page of (map as TypedMap<unknown, unknown>).pages(4096)) entries += page.length;
    fill.push({ name: map.name, entries, maxEntries: map.maxEntries });
  }
  return fill;
}

function pinnedLinks(directory: string | undefined): number {
  return directory !== undefined && existsSync(directory) ? readdirSync(directory).length : 0;
}

function* deadLines(config: Config, maps: Maps | undefined, now: number): Generator<string> {
  const { snapshot, warning } = readSnapshot(snapshotPath(config.stateDirectory));
  const pins = servingPins(config.pinDirectory);
  const links = `${pinnedLinks(pins?.deviceLinks)} at devices, ${pinnedLinks(pins?.xdpLinks)} of XDP, ${pinnedLinks(pins?.cgroupLinks)} at the cgroup root`;
  const last = isAgentStatus(snapshot?.status) ? snapshot.status : undefined;
  yield* pairs([
    ['agent', `does not run${snapshot === undefined ? '' : `; last heard of ${durationText((now - snapshot.writtenAt) / 1000)} ago`}`],
    ...(last === undefined ? [] : agentPairs(last)),
    [
      'maps',
      maps === undefined ? `none pinned in ${config.pinDirectory}` : `pinned in ${config.pinDirectory}: the kernel goes on with them`,
    ],
    ['links', links],
  ]);
  if (maps !== undefined) yield* fillLines(fillOf(maps));
  if (warning !== undefined) yield `\n${warning}`;
  if (last !== undefined) yield* problemLines(last.problems);
}

async function status(environment: Environment, options: Options): Promise<void> {
  const config = configOf(options);
  const path = socketPath(config.stateDirectory);
  const answer = await ask(path, { ask: 'status' });
  if (answer !== undefined) {
    if (!isAgentStatus(answer)) throw new Refusal('failed', `the agent at ${path} answers as another version does`);
    return writeLines(environment.out, runningLines(answer, environment.now()));
  }
  await writeLines(environment.out, deadLines(config, environment.pinnedMaps(config.pinDirectory), environment.now()));
  throw new Refusal('notRunning', `no agent listens at ${path}`);
}

export function statusVerb(environment: Environment): Command {
  return verb('status', {
    summary: 'say whether the agent is well, what is attached where and why, and what is wrong',
    flags: PLACES,
    examples: ['sluice status', 'sluice status --state-directory /run/node2'],
    exits: ['done', 'failed', 'usage', 'notRunning', 'precondition'],
  }).action((options: Options) => status(environment, options));
}
