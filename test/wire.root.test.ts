// Do the rows of the flow tables hold on real connections? Runner `wire`: two nodes, pods, a client outside, an agent on node A.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { nameOf } from '../control/abi/codec.ts';
import { Hook, Verdict } from '../control/abi/layout.gen.ts';
import { type Hooks, under } from './flows/hooks.ts';
import { callsEverywhere, masqueradeAll, packets, rangesEverywhere, sockets } from './flows/tables.ts';
import { type Agent, pinnedMaps, startAgent } from './lib/agent.ts';
import { type Case, expand, type Table, titleOf } from './lib/flow.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { plainLane } from './lib/topology.ts';
import { openWireRunner, serveAll, type WireRunner } from './lib/wire.ts';

/** Every row of some tables for one family and protocol, another one from row to row. turn: which the first has. */
function inTurn(tables: readonly Table[], turn: number): Case[] {
  const rows = new Map<string, Case[]>();
  for (const flow of tables.flatMap(expand)) rows.set(flow.name, [...(rows.get(flow.name) ?? []), flow]);
  return [...rows.values()].map((cases, index) => cases[(index + turn) % cases.length]!);
}

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const everywhere = fileURLToPath(new URL('./flows/everywhere.yaml', import.meta.url));

/** A lab, an agent with these hooks and flags, and cases on it: those that nobody serves with these hooks are left out. */
function wire(hooks: Hooks, flags: readonly string[], cases: readonly Case[]): void {
  const title = [`tc${hooks.xdp ? ' and XDP' : ''}, the socket hook ${hooks.socket}`, ...flags].join(', ');
  describe(title, () => {
    let lab: Lab;
    let agent: Agent;
    let runner: WireRunner;
    before(async () => {
      lab = openLab({ ...plainLane, xdp: hooks.xdp });
      await serveAll(lab);
      agent = await startAgent(lab, 'nodeA', manifests, ['--socket', hooks.socket, '--xdp', hooks.xdp ? 'native' : 'off', ...flags]);
      runner = openWireRunner(lab);
    });
    after(() => lab.close());
    for (const one of cases) {
      const served = under(one, hooks);
      if (served !== undefined) test(`wire, ${title}: ${titleOf(one)}`, () => runner.check(served.flow, served.also));
    }
    if (hooks.xdp)
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

wire({ socket: 'off', xdp: false }, [], packets.flatMap(expand));
wire({ socket: 'off', xdp: false }, ['--masquerade-all'], expand(masqueradeAll));
wire({ socket: 'off', xdp: false }, ['--config', everywhere], inTurn([rangesEverywhere], 0));
wire({ socket: 'on', xdp: false }, ['--config', everywhere], inTurn([rangesEverywhere, callsEverywhere], 1));
wire({ socket: 'on', xdp: false }, [], expand(sockets));
// The other combinations, each row once: what differs between families and protocols was just shown.
wire({ socket: 'off', xdp: true }, [], inTurn([...packets, sockets], 0));
wire({ socket: 'on', xdp: true }, [], inTurn([...packets, sockets], 1));
wire({ socket: 'host-only', xdp: true }, [], inTurn([...packets, sockets], 2));
// Packets, too, in the lanes.
wire({ socket: 'host-only', xdp: false }, [], inTurn([sockets], 3));
wire({ socket: 'on', xdp: false }, [], inTurn(packets, 0));
wire({ socket: 'off', xdp: false }, [], inTurn([sockets], 1));
