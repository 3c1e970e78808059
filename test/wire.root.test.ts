// Do the rows of the flow tables hold on real connections? Runner `wire`: two nodes, pods, a client outside, an agent on node A.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nameOf } from '../control/abi/codec.ts';
import { Hook, Verdict } from '../control/abi/layout.gen.ts';
import { under } from './flows/hooks.ts';
import { casesOf, type Setting, titleOfHooks, type WireRun, wireRuns } from './flows/runs.ts';
import { type Agent, pinnedMaps, startAgent } from './lib/agent.ts';
import { titleOf } from './lib/flow.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { plainLane } from './lib/topology.ts';
import { openWireRunner, serveAll, type WireRunner } from './lib/wire.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const everywhere = fileURLToPath(new URL('./flows/everywhere.yaml', import.meta.url));

const settingFlags: Readonly<Record<Setting, readonly string[]>> = {
  none: [],
  masqueradeAll: ['--masquerade-all'],
  rangesEverywhere: ['--config', everywhere],
};

/** A lab, an agent with the hooks of a run, and its cases. */
function wire(run: WireRun): void {
  const { hooks, setting } = run;
  const title = `${titleOfHooks(hooks)}${setting === 'none' ? '' : `, ${setting}`}: ${run.tables}`;
  const used = [...(hooks.tc ? ['tc'] : []), ...(hooks.socket === 'off' ? [] : ['socket'])].join(',');
  const flags = ['--hooks', used, '--socket', hooks.socket, '--xdp', hooks.xdp ? 'native' : 'off', ...settingFlags[setting]];
  describe(title, () => {
    let lab: Lab;
    let agent: Agent;
    let runner: WireRunner;
    before(async () => {
      lab = openLab({ ...plainLane, xdp: hooks.xdp });
      await serveAll(lab);
      agent = await startAgent(lab, 'nodeA', manifests, flags);
      runner = openWireRunner(lab);
    });
    after(() => lab.close());
    for (const one of casesOf(run)) {
      const { flow, also } = under(one, hooks, setting);
      test(`wire, ${title}: ${titleOf(one)}`, () => runner.check(flow, also));
    }
    if (hooks.xdp && setting === 'none')
      test('XDP sent what it could', () => {
        const at = (verdict: number, hook: number) => Number(pinnedMaps(lab, 'nodeA').verdicts.get(verdict)?.packets[hook]);
        for (const verdict of [Verdict.FORWARD_REQUEST, Verdict.FORWARD_REPLY])
          assert.ok(at(verdict, Hook.HOOK_XDP) > at(verdict, Hook.HOOK_NIC_INGRESS) / 2, nameOf(Verdict, verdict));
      });
    test('the agent logged no error meanwhile', () =>
      assert.deepEqual(
        agent.lines.filter(({ level }) => level === 'error' || level === 'fatal'),
        [],
      ));
  });
}

for (const run of wireRuns) wire(run);
