// Does the kernel do what `sluice explain` says it will? A lab with a real agent: explain is asked on node A, then the connection is made, and
// who answered, what he saw and which verdicts moved must be what was said.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Explanation } from '../control/cli/explain/explanation.ts';
import { packets, sockets } from './flows/tables.ts';
import { type Agent, agentArguments, pinnedMaps, startAgent } from './lib/agent.ts';
import { type Case, expand, type Table, titleOf, verdictOf } from './lib/flow.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { type PlaceName, places } from './lib/places.ts';
import { plainLane } from './lib/topology.ts';
import { placeOf } from './lib/walk.ts';
import { openWireRunner, serveAll, type WireRunner } from './lib/wire.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const main = fileURLToPath(new URL('../control/main.ts', import.meta.url));

/** Of the rows of one hook and client that end alike one, of another family and protocol in turn: a process is started for every question. */
function samples(tables: readonly Table[]): Case[] {
  const alike = new Map<string, Case[]>();
  for (const flow of tables.flatMap(expand)) {
    const ends = flow.verdict ?? [...new Set(Object.keys(flow.reaches!).map((place) => verdictOf(flow, place as PlaceName)))].sort().join();
    const kind = `${flow.at} ${flow.from} ${ends}`;
    alike.set(kind, [...(alike.get(kind) ?? []), flow]);
  }
  return [...alike.values()].map((cases, index) => cases[Math.floor((index % 4) * (cases.length / 4))]!);
}

let lab: Lab;
let agent: Agent;
let runner: WireRunner;

async function sluice(words: readonly string[], accept: readonly number[] = []): Promise<string> {
  return lab.run(
    'nodeA',
    process.execPath,
    ['--disable-warning=ExperimentalWarning', main, ...words, ...agentArguments(lab, 'nodeA').slice(0, 4)],
    {
      accept,
      timeoutMs: 60_000,
    },
  );
}

/** What explain says on node A; the exit code must fit what it says. */
async function explained(
  from: PlaceName,
  flow: Pick<Case, 'address' | 'port' | 'protocol' | 'family'>,
  code: number,
): Promise<Explanation> {
  const to = `${flow.family === 6 ? `[${flow.address}]` : flow.address}:${flow.port}/${flow.protocol}`;
  const output = await sluice(['explain', '--from', places[from][flow.family], '--to', to, '-o', 'json'], code === 0 ? [] : [code]);
  const explanation = JSON.parse(output) as Explanation;
  assert.equal({ served: 0, passed: 7, denied: 8 }[explanation.outcome], code, 'the exit code');
  return explanation;
}

/** The row as explain answers it: its verdict, or who may be chosen and whom each of them sees. */
function answered(flow: Case, { verdicts, backends }: Explanation): Case {
  const { reaches, verdict, ...rest } = flow;
  if (backends.length === 0) return { ...rest, ...(reaches === undefined ? {} : { reaches }), verdict: verdicts[0]! };
  const seen = backends.map(({ address, masquerade }) => [placeOf(address)!, masquerade ? 'nodeA' : flow.from] as const);
  return { ...rest, reaches: Object.fromEntries(seen) };
}

describe('explain beside the kernel', () => {
  before(async () => {
    lab = openLab(plainLane);
    await serveAll(lab);
    agent = await startAgent(lab, 'nodeA', manifests, ['--socket', 'host-only', '--xdp', 'off']);
    runner = openWireRunner(lab);
  });
  after(() => lab.close());

  // Pods' packets and the node's calls: every row here is decided by the hook that the row names.
  for (const flow of samples([...packets, sockets]).filter((one) => one.at !== 'socket' || one.from === 'nodeA')) {
    test(`explain, then the wire: ${titleOf(flow)}`, async () => {
      const name = flow.verdict ?? '';
      const explanation = await explained(flow.from, flow, name.startsWith('PASS') ? 7 : /^(DROP|REJECT)/.test(name) ? 8 : 0);
      assert.equal(explanation.from.who, flow.from === 'nodeA' ? 'node' : flow.at === 'pod' ? 'pod' : 'outside', explanation.from.why);
      assert.deepEqual(explanation.differences, []);
      // The wire is judged by what explain said, not by the row.
      if (flow.verdict !== 'PASS_SOCKET') await runner.check(answered(flow, explanation));
    });
  }

  test('a frontend that somebody deleted: said loudly, exit 1', async () => {
    const flow = expand(packets[0]!).find(({ family, protocol }) => family === 4 && protocol === 'tcp')!;
    const maps = pinnedMaps(lab, 'nodeA');
    const key = { address: flow.address, port: flow.port, protocol: 6 };
    const held = maps.frontends4.get(key)!;
    maps.frontends4.delete(key);
    try {
      const said = await sluice(['explain', '--from', places.outside[4], '--to', `${flow.address}:${flow.port}/tcp`], [1]);
      assert.match(said, /^DENIED +REJECT_UNOWNED_PORT/m);
      assert.match(said, /!!! THE KERNEL DOES NOT HOLD WHAT THE MODEL SAYS/);
      assert.match(said, /the kernel has no frontend here, the model has/);
    } finally {
      maps.frontends4.set(key, held);
    }
  });

  test('by name, and a name that nobody has', async () => {
    assert.match(await sluice(['explain', '--from', places.outside[4], '--to', 'lab/web:stream']), /^SERVED/m);
    await assert.rejects(sluice(['explain', '--from', places.outside[4], '--to', 'lab/nobody']), /no such Service here/);
    assert.equal(await sluice(['explain', '--from', places.outside[4], '--to', 'lab/nobody'], [6]), '', 'by its own exit code');
  });

  test('without an agent: from the maps alone', async () => {
    const flow = expand(packets[0]!).find(({ family, protocol }) => family === 4 && protocol === 'tcp')!;
    await agent.end('SIGTERM');
    const explanation = await explained('outside', flow, 0);
    assert.equal(explanation.frontend?.service, 'lab/web', 'the name is in the snapshot');
    assert.equal(explanation.backends.length, 4);
    assert.match(explanation.unknown.join(), /no agent answers/);
  });
});
