// Does a flow go on where client and backend are behind two NICs of the node? XDP redirects from one to the other where both run it
// natively; where the other does not, tc sends. Requests come in by eth0, backends of node B are behind eth1.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { DeviceFlag, Hook, Verdict } from '../control/abi/layout.gen.ts';
import { type Agent, pinnedMaps, startAgent } from './lib/agent.ts';
import { parseDestination, wordsOf } from './lib/flow.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { families } from './lib/places.ts';
import { until } from './lib/sandbox.ts';
import { plainLane } from './lib/topology.ts';
import { ask, serveAll } from './lib/wire.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const TIMES = 20;

/** Packets that were sent on, by the hook that sent them. */
function forwards(lab: Lab): Record<'xdp' | 'tc', Record<'requests' | 'replies', number>> {
  const { verdicts } = pinnedMaps(lab, 'nodeA');
  const at = (hook: number) => {
    const count = (verdict: number) => Number(verdicts.get(verdict)?.packets[hook]);
    return { requests: count(Verdict.FORWARD_REQUEST), replies: count(Verdict.FORWARD_REPLY) };
  };
  return { xdp: at(Hook.HOOK_XDP), tc: at(Hook.HOOK_NIC_INGRESS) };
}

/** A veth's own count of what XDP did there: an independent look. */
async function redirected(lab: Lab, device: string): Promise<number> {
  const statistics = await lab.run('nodeA', 'ethtool', ['-S', device]);
  return [...statistics.matchAll(/rx_queue_\d+_xdp_redirect: (\d+)/g)].reduce((sum, [, count]) => sum + Number(count), 0);
}

/** NICs that the datapath may redirect frames to. */
function nativeNics(lab: Lab): number {
  return [...pinnedMaps(lab, 'nodeA').devices.entries()].filter(([, { flags }]) => flags & DeviceFlag.DEVICE_XDP).length;
}

/** Connections and datagrams of several packets from outside to the pod of node B, through node A's node port: all are answered by it. */
async function askAll(lab: Lab): Promise<void> {
  const failures: string[] = [];
  for (const family of families)
    for (const protocol of ['tcp', 'udp'] as const) {
      const { address, port } = parseDestination(wordsOf(family, protocol).nodePort('remote'));
      const answers = await ask(lab, 'outside', protocol, address, port, { times: TIMES, count: 5, size: 1000, timeoutMs: 10_000 });
      assert.equal(answers.length, TIMES);
      for (const answer of answers) {
        if (answer.error !== undefined) failures.push(`IPv${family} ${protocol}: ${answer.error}`);
        else if (answer.name !== 'b1' || answer.synsAgain > 0) failures.push(`IPv${family} ${protocol}: ${JSON.stringify(answer)}`);
      }
    }
  assert.deepEqual(failures, []);
}

function secondNic(title: string, mtu: number, shows: (lab: () => Lab, agent: () => Agent) => void): void {
  describe(title, () => {
    let lab: Lab;
    let agent: Agent;
    before(async () => {
      lab = openLab({ ...plainLane, rpFilter: 1, netfilter: true, backendMtu: mtu, xdp: true });
      await serveAll(lab);
      agent = await startAgent(lab, 'nodeA', manifests, ['--socket', 'off', '--xdp', 'native']);
    });
    after(() => lab.close());
    shows(
      () => lab,
      () => agent,
    );
  });
}

secondNic('both NICs run XDP natively', 1500, (lab) => {
  test('XDP redirects requests to the second NIC and replies to the first', async () => {
    await until('both NICs have XDP', () => nativeNics(lab()) === 2);
    const [first, second] = [await redirected(lab(), 'eth0'), await redirected(lab(), 'eth1')];
    await askAll(lab());
    const { xdp, tc } = forwards(lab());
    for (const way of ['requests', 'replies'] as const) assert.ok(xdp[way] > 3 * tc[way], `${way}: ${xdp[way]} by XDP, ${tc[way]} by tc`);
    assert.equal((await redirected(lab(), 'eth0')) - first, xdp.requests, 'frames that eth0 redirected');
    assert.equal((await redirected(lab(), 'eth1')) - second, xdp.replies, 'frames that eth1 redirected');
  });
});

secondNic('the second NIC has no XDP: its MTU is more than its driver allows', 9000, (lab, agent) => {
  test('the NIC is told of, and tc sends both ways', async () => {
    await until('the agent tells that eth1 has no XDP', () =>
      agent().lines.some(({ reason, field }) => reason === 'XdpRefused' && field === 'eth1'),
    );
    await askAll(lab());
    const { xdp, tc } = forwards(lab());
    assert.deepEqual(xdp, { requests: 0, replies: 0 });
    assert.ok(tc.requests > 4 * TIMES && tc.replies > 4 * TIMES, JSON.stringify(tc));
    assert.equal(await redirected(lab(), 'eth0'), 0, 'frames that eth0 redirected');
  });
});
