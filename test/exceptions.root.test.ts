// Are the processes of a named cgroup left alone by the socket hook, and served packet by packet all the same?
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Hook, Verdict } from '../control/abi/layout.gen.ts';
import { type Agent, pinnedMaps, startAgent } from './lib/agent.ts';
import { type FlowProtocol, parseDestination, wordsOf } from './lib/flow.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { families, type PlaceName } from './lib/places.ts';
import { plainLane } from './lib/topology.ts';
import { type Answer, serveAll } from './lib/wire.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const peer = fileURLToPath(new URL('../build/peer', import.meta.url));

let lab: Lab;
let agent: Agent;
let file: string;

const setExceptions = (paths: readonly string[]) => writeFileSync(file, JSON.stringify({ sluice: { socketExceptions: paths } }));

before(async () => {
  lab = openLab(plainLane);
  mkdirSync(join(lab.cgroup('nodeA'), 'mesh', 'below'), { recursive: true });
  file = join(lab.directory, 'config.yaml');
  setExceptions(['mesh', 'not-there']);
  await serveAll(lab);
  agent = await startAgent(lab, 'nodeA', manifests, ['--config', file]);
});
after(() => lab.close());

/** Asks from a place, as a process of a cgroup beneath the node's. */
async function askIn(cgroup: string, from: PlaceName, to: string): Promise<Answer> {
  const { address, port, protocol } = parseDestination(to);
  const enter = `echo $$ > ${join(lab.cgroup('nodeA'), cgroup, 'cgroup.procs')} && exec "$0" "$@"`;
  const output = await lab.run(from, 'sh', ['-c', enter, peer, 'ask', protocol, address, String(port)], { accept: [1] });
  return JSON.parse(output) as Answer;
}

/** Calls translated at connect, calls left alone, and requests translated at a pod's interface or sent by the NIC's, since before. */
function counts() {
  const maps = pinnedMaps(lab, 'nodeA');
  const at = (verdict: number, hook: number) => Number(maps.verdicts.get(verdict)!.packets[hook]);
  return {
    translated: at(Verdict.TRANSLATE_SOCKET, Hook.HOOK_CONNECT),
    abstained: at(Verdict.PASS_ABSTAIN, Hook.HOOK_CONNECT),
    pod: at(Verdict.TRANSLATE_REQUEST, Hook.HOOK_POD_INGRESS) > 0,
  };
}

async function connected(
  cgroup: string,
  from: PlaceName,
  to: string,
): Promise<{ name: string | undefined; translated: number; abstained: number }> {
  const earlier = counts();
  const answer = await askIn(cgroup, from, to);
  const later = counts();
  return { name: answer.name, translated: later.translated - earlier.translated, abstained: later.abstained - earlier.abstained };
}

const protocol: FlowProtocol = 'tcp';
for (const family of families) {
  const words = wordsOf(family, protocol);

  for (const cgroup of ['mesh', 'mesh/below'])
    test(`a pod's process in ${cgroup} is left alone and served by its packets (10.2): IPv${family}`, async () => {
      assert.deepEqual(await connected(cgroup, 'clientA', words.clusterIP('here')), { name: 'a1', translated: 0, abstained: 1 });
      assert.ok(counts().pod, 'the packets were translated at the pod');
    });

  test(`beside it the socket hook acts: IPv${family}`, async () => {
    assert.deepEqual(await connected('.', 'clientA', words.clusterIP('here')), { name: 'a1', translated: 1, abstained: 0 });
  });
}

test('a cgroup that is not there is a problem with its path', () => {
  const told = agent.lines.find((line) => line.reason === 'NoSuchCgroup');
  assert.match(told?.msg ?? '', /^not-there: there is no such cgroup/);
});

test('the list may change while the agent runs', async () => {
  const { clusterIP } = wordsOf(4, protocol);
  setExceptions([]);
  await agent.reread();
  assert.equal((await connected('mesh', 'clientA', clusterIP('here'))).translated, 1);
  setExceptions(['mesh']);
  await agent.reread();
  assert.equal((await connected('mesh', 'clientA', clusterIP('here'))).abstained, 1);
});
