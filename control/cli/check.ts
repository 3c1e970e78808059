// sluice check: is everything on this node as it must be? The running agent compares the maps with its objects; what is attached, the settings of
// the kernel and the room in the tables are looked at with an agent and without.

import { type Command, Option } from 'commander';
import { SettingFlag } from '../abi/layout.gen.ts';
import type { Config } from '../config.ts';
import { openDeviceHooks } from '../kernel/attach.ts';
import { cgroupRootOf } from '../kernel/cgroup.ts';
import type { Finding } from '../kernel/findings.ts';
import { fillFindings, inspect, referenceFindings } from '../kernel/inspect.ts';
import { openLedger } from '../kernel/ledger.ts';
import { rolesOf } from '../kernel/links.ts';
import type { Maps } from '../kernel/maps.ts';
import { watchNetwork } from '../kernel/network.ts';
import { addressesOf } from '../kernel/node.ts';
import { pinsOf, servingPins, shapeOf } from '../kernel/pins.ts';
import { socketPath } from '../observe/paths.ts';
import { ask } from '../observe/protocol.ts';
import { Refusal } from './exits.ts';
import { writeLines } from './output.ts';
import { fillOf } from './status.ts';
import { align } from './table.ts';
import { printable, printableJson } from './text.ts';
import { configOf, type Environment, note, type Options, PLACES, verb } from './verb.ts';

const NETLINK_ROUTE = 0;

const ALONE = [
  'programs at devices and at the cgroup root',
  'settings of the kernel',
  'room in the maps',
  'that slots name backends that live',
];
const BY_AGENT = ['every map against what the objects, the devices and the configuration say'];

interface Report {
  readonly findings: readonly Finding[];
  readonly checked: readonly string[];
  readonly notChecked: readonly string[];
}

function isFindings(value: unknown): value is readonly Finding[] {
  return Array.isArray(value) && value.every((one: unknown) => typeof one === 'object' && one !== null && 'kind' in one && 'where' in one);
}

/** What can be looked at without an agent: roles of devices as this command's configuration sees them. */
function lookAlone(environment: Environment, config: Config, maps: Maps): Finding[] {
  const native = environment.native();
  const pins = servingPins(config.pinDirectory) ?? pinsOf(config.pinDirectory, shapeOf(config.mapSizes), 1);
  const settings = maps.settings.get(0);
  const socket = ((settings?.flags ?? 0) & SettingFlag.SETTING_SOCKET_HOST) !== 0;
  const watch = watchNetwork(native);
  const netlink = native.netlinkOpen(NETLINK_ROUTE, 0);
  try {
    const network = watch.current();
    return inspect({
      ...{ native, pins, network, maps },
      hooks: openDeviceHooks(native, pins, openLedger(config.stateDirectory), netlink),
      roles: rolesOf(network, { ...config, nodeAddresses: addressesOf(network, config).defaultRouteAddresses }),
      tc: config.hooks.tc,
      cgroupRoot: socket ? cgroupRootOf(config.cgroupRoot) : undefined,
      snatPorts: settings === undefined ? config.snatPorts : { first: settings.snat_first, last: settings.snat_last },
      // Without an agent any program of ours is well: which one belongs there is in its memory.
      programAt: () => undefined,
    });
  } finally {
    native.closeFd(netlink);
    watch.close();
  }
}

async function look(environment: Environment, config: Config): Promise<Report> {
  const path = socketPath(config.stateDirectory);
  const answer = await ask(path, { ask: 'findings' });
  if (answer !== undefined) {
    if (!isFindings(answer)) throw new Refusal('failed', `the agent at ${path} answers as another version does`);
    return { findings: answer, checked: [...BY_AGENT, ...ALONE], notChecked: [] };
  }
  const maps = environment.pinnedMaps(config.pinDirectory);
  if (maps === undefined)
    throw new Refusal('nothingPinned', `no agent listens at ${path}, and no maps are pinned in ${config.pinDirectory}`);
  note(environment, `no agent listens at ${path}: nobody knows what the maps should hold`);
  const findings = [...referenceFindings(maps), ...lookAlone(environment, config, maps), ...fillFindings(fillOf(maps))];
  return { findings, checked: ALONE, notChecked: BY_AGENT };
}

function* lines({ findings, checked, notChecked }: Report): Generator<string> {
  const drifts = findings.filter(({ kind }) => kind === 'drift').length;
  yield drifts === 0 ? 'clean' : `${drifts} ${drifts === 1 ? 'thing is' : 'things are'} not as they must be`;
  yield `checked: ${checked.join('; ')}`;
  if (notChecked.length > 0) yield `NOT checked: ${notChecked.join('; ')}`;
  if (findings.length === 0) return;
  yield '';
  yield* align(
    ['', 'WHERE', 'FOUND', 'SHOULD BE', 'REPAIRED BY'].map((title) => ({ title })),
    findings.map(({ kind, where, found, wanted, repair }) => [kind, where, found, wanted, repair].map(printable)),
  );
}

async function run(environment: Environment, options: Options): Promise<void> {
  const report = await look(environment, configOf(options));
  const clean = report.findings.every(({ kind }) => kind !== 'drift');
  await writeLines(
    environment.out,
    options.output === 'json' ? [printableJson(JSON.stringify({ clean, ...report }, null, 2))] : lines(report),
  );
  if (!clean) throw new Refusal('failed', 'the kernel does not hold what it should');
}

export function checkVerb(environment: Environment): Command {
  return verb('check', {
    summary: 'compare what this node holds with what it must hold: maps, programs, settings; ends with 1 where they differ',
    flags: [...PLACES, 'cgroup-root', 'devices', 'pod-interfaces'],
    examples: ['sluice check', 'sluice check -o json', 'sluice check --config /etc/sluice/config.yaml'],
    exits: ['done', 'failed', 'usage', 'precondition', 'nothingPinned'],
  })
    .addOption(new Option('-o, --output <FORMAT>', 'for people or for programs').choices(['text', 'json']).default('text'))
    .action((options: Options) => run(environment, options));
}
