// From the real kube-proxy to sluice and back, under LOAD: it starts beside, takes over, kube-proxy stops, its rules go; then it comes back and
// sluice leaves. No connection fails, and those that were there live on.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Agent, agentArguments, startAgent } from '../lib/agent.ts';
import { type Component, startComponent } from '../lib/component.ts';
import { type ControlPlane, startControlPlane } from '../lib/control-plane.ts';
import { registerNode } from '../lib/kubelet.ts';
import { type Load, type LoadReport, startLoad } from '../lib/load.ts';
import { type Lab, openLab } from '../lib/netns.ts';
import { families, networks, nodeNames, places } from '../lib/places.ts';
import { openRollout, type Rollout, rolling } from '../lib/rollout.ts';
import { until } from '../lib/sandbox.ts';
import { plainLane } from '../lib/topology.ts';
import { ask, serve } from '../lib/wire.ts';

const main = fileURLToPath(new URL('../../control/main.ts', import.meta.url));
const pods = ['a1', 'a2', 'b1', 'b2'] as const;

/** Resolves after LOAD has had so long to meet what there is: the time is the thing tested, no event is waited for. */
const meanwhile = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

for (const mode of ['nftables', 'iptables'])
  describe(`kube-proxy in mode ${mode}`, () => {
    let lab: Lab;
    let plane: ControlPlane;
    let rollout: Rollout;
    let proxy: Component;
    let agent: Agent;

    before(async () => {
      // With a CNI's masquerade: where kube-proxy's table is the last that translates, the kernel stops translating with it.
      lab = openLab({ ...plainLane, rpFilter: 1, offload: true, netfilter: true });
      rollout = openRollout(
        join(lab.directory, 'manifests'),
        pods.map((place) => ({ place })),
      );
      plane = await startControlPlane(lab, { controllers: 'none' });
      await plane.kubectl(['create', 'namespace', 'lab']);
      await plane.kubectl(['apply', '-f', rollout.directory]);
      await Promise.all(nodeNames.map((node) => registerNode(plane.client, node)));
      await Promise.all(pods.map((pod) => serve(lab, pod, pod, ['8080/tcp', '8080/udp'])));
      const kubeconfig = await plane.kubeconfig('admin');
      proxy = startComponent(lab, 'nodeA', 'kube-proxy', [
        `--kubeconfig=${kubeconfig}`,
        '--hostname-override=node-a',
        `--proxy-mode=${mode}`,
        `--cluster-cidr=${families.map((family) => networks.pods[family]).join(',')}`,
        '--conntrack-max-per-core=0',
      ]);
      await until('kube-proxy serves', answers);
    });
    after(async () => {
      await proxy?.kill('SIGKILL');
      await plane?.close();
      lab?.close();
    });

    async function answers(): Promise<boolean> {
      for (const family of families) {
        const [answer] = await ask(lab, 'outside', 'tcp', places.nodeA[family], rolling.nodePort, { timeoutMs: 1000 });
        if (answer!.error !== undefined) return false;
      }
      return true;
    }

    const startLoads = (): Promise<Load[]> =>
      Promise.all(
        (['outside', 'clientA'] as const).map((client) => {
          const targets = families.map((family) =>
            client === 'outside' ? `${places.nodeA[family]}@${rolling.nodePort}` : `${rolling.clusterIP[family]}@${rolling.port}`,
          );
          return startLoad(lab, client, { targets, seconds: 120, long: 100, short: 4, rate: 0 });
        }),
      );

    async function endLoads(loads: readonly Load[], say: (text: string) => void): Promise<void> {
      for (const [index, load] of loads.entries()) {
        const report: LoadReport = await load.end();
        const { short, fixed, long } = report;
        say(
          `${['outside', 'a pod'][index]}: ${short.connections + fixed.connections} connections; ${long.connections} long-lived with ${long.answers} answers; ${report.failures} failed`,
        );
        assert.equal(report.failures, 0, JSON.stringify(report));
        assert.ok(short.answers > 50 && long.answers > 500 && long.connections === 100, JSON.stringify(report));
      }
    }

    const sluice = (...words: string[]) =>
      lab.run(
        'nodeA',
        'sh',
        ['-c', '"$@" 2>&1; echo "exit $?"', 'sh', process.execPath, main, ...words, ...agentArguments(lab, 'nodeA').slice(0, 4)],
        {
          timeoutMs: 30_000,
        },
      );
    /** What a kubelet's probe is told. */
    const probe = (path: string) =>
      lab.run('nodeA', 'curl', ['-s', '-o', '/dev/null', '-w', '%{http_code}', `http://${places.nodeA[4]}:10256${path}`]);
    const flags = ['--socket', 'host-only'];

    test('beside it, then instead of it: what kube-proxy translated lives on, also without its rules', async (t) => {
      const loads = await startLoads();
      agent = await startAgent(lab, 'nodeA', rollout.directory, flags);
      await meanwhile(1500);
      assert.match(await sluice('status'), new RegExp(`^kube-proxy +rules of its mode .*${mode}`, 'm'));
      assert.match(await sluice('cleanup', '--kube-proxy'), /kube-proxy runs \(pid \d+\)[\s\S]*Nothing was removed[\s\S]*exit 1/);
      // Its pages: it lives, and of being ready it says nothing.
      assert.deepEqual([await probe('/livez'), await probe('/readyz')], ['200', '404']);
      await proxy.kill('SIGTERM');
      // The agent takes the port within 5 s.
      await until('the ports are free', async () => !/cannot be listened on/.test(await sluice('cleanup', '--kube-proxy')));
      assert.equal(await probe('/readyz'), '200');
      assert.match(await sluice('cleanup', '--kube-proxy'), /the grace period is not over[\s\S]*exit 1/);
      const removed = await sluice('cleanup', '--kube-proxy', '--force');
      assert.match(
        removed,
        mode === 'nftables' ? /^removed nftables table ip kube-proxy$/m : /^removed iptables-\w+ chain nat KUBE-SERVICES$/m,
      );
      assert.match(await sluice('cleanup', '--kube-proxy'), /^no rules of kube-proxy are here$/m);
      await meanwhile(2000);
      await endLoads(loads, (text) => t.diagnostic(text));
    });

    test('and back: kube-proxy takes what is new, ours end by themselves', async (t) => {
      const ours = await startLoads();
      proxy.start();
      await until('its rules are back', async () => (await sluice('status')).includes(mode));
      await meanwhile(3000);
      await agent.end('SIGTERM');
      const draining = lab.start('nodeA', process.execPath, [
        main,
        'cleanup',
        '--drain',
        '90',
        ...agentArguments(lab, 'nodeA').slice(0, 4),
      ]);
      const gone = once(draining, 'exit');
      const said: string[] = [];
      const lines = createInterface({ input: draining.stderr! }).on('line', (line) => said.push(line));
      draining.stdout!.resume();
      await until('it drains', () => said.some((line) => line.includes('new connections are left to others')));
      const theirs = await startLoads();
      await meanwhile(2000);
      await endLoads(ours, (text) => t.diagnostic(`began with us: ${text}`));
      const [code] = await gone;
      lines.close();
      assert.equal(code, 0, said.join('\n'));
      assert.ok(
        said.some((line) => line.includes('the last connection has ended')),
        said.join('\n'),
      );
      await meanwhile(1000);
      await endLoads(theirs, (text) => t.diagnostic(`began in the drain: ${text}`));
    });

    test('control: to leave without a drain is noticed', async () => {
      agent = await startAgent(lab, 'nodeA', rollout.directory, flags);
      const loads = await startLoads();
      await agent.end('SIGTERM');
      assert.match(await sluice('cleanup'), /exit 0/);
      await meanwhile(1500);
      const reports = await Promise.all(loads.map((load) => load.end()));
      assert.ok(
        reports.some(({ failures }) => failures > 0),
        'connections lost their translation, and nothing failed',
      );
    });
  });
