// Does a history lead to the right maps? Plays a text file: steps, then the dumps they expect, then the YAML they speak of. A tenth of
// the writes is refused, by a seed that is printed, and every write is judged by itself.
//
//   put FILE ...       objects of these sections appear or change; `delete FILE ...`: they go
//   local ADDRESS ...  the addresses on the node's devices
//   maps NAME=ENTRIES  sizes, before the first turn
//   turn               Model into maps, again after each refusal; `turn writes nothing`: there is nothing to do
//   wait MS, restart   the clock moves; another agent adopts the maps
//   expect NAME        the section of that name: lines that begin with == name a table of `sluice dump`, or == problems

import assert from 'node:assert/strict';
import { dumpLines } from '../../control/cli/dump-lines.ts';
import { SECTIONS } from '../../control/cli/sections/sections.ts';
import { REST_MS } from '../../control/compile/ids.ts';
import { KernelError } from '../../control/kernel/maps.ts';
import { buildModel } from '../../control/model/build.ts';
import type { Model, Problem } from '../../control/model/model.ts';
import { nodeFacts } from '../../control/model/node.ts';
import { readManifest } from '../../control/source/manifest.ts';
import type { KubeObject } from '../../control/source/objects.ts';
import { objectStore } from '../../control/source/store.ts';
import { adopt, frontendNames, sync } from '../../control/sync.ts';
import { type CheckedMaps, checkedMaps } from './checked-maps.ts';
import { OPTIONS } from './services.ts';

/** The parts of a scenario file. */
export interface Scenario {
  /** Its first lines: what the history shows. */
  readonly title: string;
  readonly steps: readonly string[];
  readonly sections: ReadonlyMap<string, string>;
}

const MARK = /^-- (\S+) --\n/m;

/** Takes a scenario file apart. */
export function readScenario(text: string): Scenario {
  const [script = '', ...parts] = text.split(MARK);
  const lines = script.split('\n').map((line) => line.trim());
  const sections = new Map<string, string>();
  for (let i = 0; i < parts.length; i += 2) sections.set(parts[i]!, parts[i + 1]!);
  return {
    title: lines
      .filter((line) => line.startsWith('#'))
      .map((line) => line.slice(1).trim())
      .join(' '),
    steps: lines.filter((line) => line !== '' && !line.startsWith('#')),
    sections,
  };
}

/** Numbers from 0 to below 1, the same for the same seed (mulberry32). */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

interface World {
  now: number;
  local: readonly string[];
  readonly checked: CheckedMaps;
  readonly store: ReturnType<typeof objectStore>;
  state: ReturnType<typeof adopt>;
  model: Model | undefined;
  problems: readonly Problem[];
}

function openWorld(steps: readonly string[], seed: number): World {
  const sizes: Record<string, number> = { slots: 100_000 };
  for (const step of steps) {
    const [verb, ...words] = step.split(/\s+/);
    if (verb !== 'maps') continue;
    for (const word of words) sizes[word.split('=')[0]!] = Number(word.split('=')[1]);
  }
  const world = { now: 0 };
  const clock = () => world.now;
  const checked = checkedMaps(sizes, clock, REST_MS);
  const chance = random(seed);
  checked.refuse = () => chance() < 0.1;
  const state = adopt(checked.maps, clock);
  return Object.assign(world, { local: ['192.0.2.10'], checked, store: objectStore(), state, model: undefined, problems: [] });
}

function objectsIn(scenario: Scenario, file: string): readonly KubeObject[] {
  const read = readManifest(scenario.sections.get(file) ?? '', file);
  if ('malformed' in read) throw new Error(`${file}: ${read.malformed}`);
  return read.objects;
}

/** One turn as the agent makes it: after a refusal again, until it is through. */
function turn(world: World): number {
  const devices = { localAddresses: world.local, defaultRouteAddresses: world.local };
  const objects = world.store.snapshot([]);
  const node = nodeFacts(objects, 'node-a', devices);
  const options = { serviceCIDRs: [], serviceProxyName: undefined, detectLocal: { mode: 'PodInterfaces' as const } };
  world.model = buildModel(objects, node, options, world.model);
  for (let tries = 0; tries < 1000; tries++) {
    try {
      const { problems, written } = sync(world.checked.maps, world.state, world.model, OPTIONS);
      world.problems = [...world.model.problems, ...problems].filter(({ object }) => object !== 'Agent');
      return written;
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
    }
  }
  throw new Error('a thousand refusals and no end');
}

/** What a section with these table names shows now. */
function show(world: World, tables: readonly string[]): string {
  const names = new Map(
    [...frontendNames(world.state)].map(([id, key]) => {
      const [service = '', port = ''] = key.split(':');
      return [id, { service, port: port.split('/')[0]! }];
    }),
  );
  const context = { maps: world.checked.maps, names, monotonicNs: () => BigInt(world.now) * 1_000_000n };
  const blocks = tables.map((table) => {
    if (table === 'problems') return world.problems.map(({ object, reason, message }) => `${object}: ${reason}: ${message}`);
    const section = SECTIONS.find(({ name }) => name === table);
    if (section === undefined) throw new Error(`no table is called ${table}`);
    return [...dumpLines([section], context, {}, 'table')];
  });
  return blocks.map((lines, i) => [`== ${tables[i]}`, ...(lines.length === 0 ? ['(none)'] : lines), ''].join('\n')).join('\n');
}

function tablesOf(section: string): string[] {
  return section.split('\n').flatMap((line) => (line.startsWith('== ') ? [line.slice(3)] : []));
}

/** Plays a scenario. Throws where the maps differ from what a section expects. */
export function play(scenario: Scenario, seed: number): void {
  const world = openWorld(scenario.steps, seed);
  for (const step of scenario.steps) {
    const [verb, ...words] = step.split(/\s+/);
    if (verb === 'put') for (const file of words) for (const object of objectsIn(scenario, file)) world.store.put(object);
    else if (verb === 'delete')
      for (const file of words) for (const { kind, key } of objectsIn(scenario, file)) world.store.remove(kind, key);
    else if (verb === 'local') world.local = words;
    else if (verb === 'wait') world.now += Number(words[0]);
    else if (verb === 'restart') world.state = adopt(world.checked.maps, world.state.clock);
    else if (step === 'turn') turn(world);
    else if (step === 'turn writes nothing') assert.equal(turn(world), 0, 'nothing changed and something was written');
    else if (verb === 'expect') {
      const expected = scenario.sections.get(words[0]!);
      if (expected === undefined) throw new Error(`there is no section ${words[0]}`);
      assert.equal(show(world, tablesOf(expected)), `${expected.trimEnd()}\n`, `at "${step}"`);
    } else if (verb !== 'maps') throw new Error(`not a step: ${step}`);
  }
}
