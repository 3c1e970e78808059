// Do the rows of the flow tables hold on real connections? Runner `wire`: two nodes, pods, a client outside, an agent on node A.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { masqueradeAll, packets, sockets } from './flows/tables.ts';
import { type Agent, startAgent } from './lib/agent.ts';
import { expand, type Table, titleOf } from './lib/flow.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { plainLane } from './lib/topology.ts';
import { openWireRunner, serveAll, type WireRunner } from './lib/wire.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));

/** A lab, an agent with these flags, and the tables on it. */
function wire(title: string, flags: readonly string[], tables: readonly Table[]): void {
  describe(title, () => {
    let lab: Lab;
    let agent: Agent;
    let runner: WireRunner;
    before(async () => {
      lab = openLab(plainLane);
      await serveAll(lab);
      agent = await startAgent(lab, 'nodeA', manifests, flags);
      runner = openWireRunner(lab);
    });
    after(() => lab.close());
    for (const flow of tables.flatMap(expand)) test(`wire: ${titleOf(flow)}`, () => runner.check(flow));
    test('the agent logged no error meanwhile', () =>
      assert.deepEqual(
        agent.lines.filter(({ level }) => level === 'error' || level === 'fatal'),
        [],
      ));
  });
}

wire('packet by packet, the socket hook off', ['--socket', 'off'], packets);
wire('masqueradeAll', ['--socket', 'off', '--masquerade-all'], [masqueradeAll]);
wire('at the socket', ['--socket', 'on'], [sockets]);
