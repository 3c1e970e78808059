// What a load balancer, a kubelet and a Prometheus are told by a real agent on a node, asked as they would ask: over the network, by the
// node's addresses.

import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { type Agent, startAgent } from './lib/agent.ts';
import { readExposition } from './lib/exposition.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { endpoint, node, type Raw, service, slice } from './lib/objects.ts';
import { askPage, type Page, pageURL } from './lib/pages.ts';
import { type Family, families, type PlaceName, places } from './lib/places.ts';
import { plainLane } from './lib/topology.ts';

const HEALTH_PORT = 31_999;

const web = (more: Raw = {}) =>
  service('lab/web', {
    ...{ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: HEALTH_PORT },
    ...{ clusterIP: '10.96.0.10', clusterIPs: ['10.96.0.10', 'fd96::10'], ports: [{ port: 80, nodePort: 30_080 }], ...more },
  });
const pods = (family: Family, ready: boolean) =>
  slice('lab/web', `web-${family}`, [
    endpoint(places.a1[family], { nodeName: 'node-a', conditions: { ready, serving: true, terminating: !ready } }),
    endpoint(places.b1[family], { nodeName: 'node-b' }),
  ]);
const nodes = (spec: Raw = {}) => [node('node-a', [places.nodeA[4], places.nodeA[6]], undefined, spec), node('node-b', [places.nodeB[4]])];

describe('an agent that is asked', () => {
  let lab: Lab;
  let manifests: string;
  let agent: Agent;
  const write = (...objects: Raw[]) => {
    writeFileSync(join(manifests, '.new'), objects.map((one) => JSON.stringify(one)).join('\n---\n'));
    renameSync(join(manifests, '.new'), join(manifests, 'all.yaml'));
  };
  const all = (ready = true, spec: Raw = {}, more: Raw = {}) => write(web(more), pods(4, ready), pods(6, ready), ...nodes(spec));
  before(async () => {
    lab = openLab(plainLane);
    manifests = join(lab.directory, 'manifests');
    mkdirSync(manifests);
    all();
    agent = await startAgent(lab, 'nodeA', manifests);
  });
  after(() => lab?.close());

  const ask = (place: PlaceName, where: string) => askPage(lab, place, where);
  const url = (port: number, path: string, family: Family = 4, at: PlaceName = 'nodeA') => pageURL(at, port, path, family);

  /** Asks until the answer has that code: what the manifests say takes a moment. */
  async function until(code: number, place: PlaceName, where: string): Promise<Page> {
    const end = performance.now() + 10_000;
    for (;;) {
      const answer = await ask(place, where);
      if (answer.code === code) return answer;
      assert.ok(performance.now() < end, `${where} says ${answer.code}, not ${code}: ${answer.body}`);
      await pause(50);
    }
  }

  it('/healthz, /livez and /readyz are green by both of the node’s addresses', async () => {
    for (const family of families) {
      for (const path of ['/healthz', '/livez', '/readyz']) {
        const { code, headers } = await ask('outside', url(10_256, path, family));
        assert.equal(code, 200, path);
        assert.equal(headers['content-type'], 'application/json');
      }
    }
    const { body } = await ask('outside', url(10_256, '/healthz'));
    const health = JSON.parse(body);
    assert.deepEqual([health.nodeEligible, health.healthy, Object.keys(health.status)], [true, true, ['IPv4', 'IPv6']]);
  });

  it('a health check node port follows the ready endpoints of this node (12.1)', async () => {
    for (const family of families) {
      const answer = await until(200, 'outside', url(HEALTH_PORT, '/', family));
      assert.equal(answer.headers['x-load-balancing-endpoint-weight'], '1');
      assert.deepEqual(JSON.parse(answer.body), {
        service: { namespace: 'lab', name: 'web' },
        localEndpoints: 1,
        serviceProxyHealthy: true,
      });
    }
    all(false);
    const drained = await until(503, 'outside', url(HEALTH_PORT, '/any'));
    assert.equal(JSON.parse(drained.body).localEndpoints, 0);
    all();
    await until(200, 'outside', url(HEALTH_PORT, '/'));
  });

  it('and moves with its port, and goes with its Service (12.2)', async () => {
    all(true, {}, { healthCheckNodePort: HEALTH_PORT - 1 });
    await until(200, 'outside', url(HEALTH_PORT - 1, '/'));
    assert.equal((await ask('outside', url(HEALTH_PORT, '/'))).code, 0);
    write(...nodes());
    await until(0, 'outside', url(HEALTH_PORT - 1, '/'));
    all();
    await until(200, 'outside', url(HEALTH_PORT, '/'));
  });

  it('the metrics are for the node alone, and Prometheus reads them', async () => {
    assert.equal((await ask('outside', url(10_249, '/metrics'))).code, 0);
    const from = 'http://127.0.0.1:10249';
    const { code, body } = await ask('nodeA', `${from}/metrics`);
    assert.equal(code, 200, body);
    const families = readExposition(body);
    const value = (name: string, label?: string) =>
      families.get(name)?.samples.find(({ labels }) => label === undefined || Object.values(labels).includes(label))?.value;
    assert.equal(value('sluice_ready'), 1);
    assert.equal(value('sluice_services'), 1);
    assert.equal(value('sluice_generation_wanted'), value('sluice_generation_applied'));
    assert.equal(value('sluice_map_entries', 'frontends4'), 2);
    assert.equal(value('sluice_map_max_entries', 'frontends4'), 131_072);
    assert.ok(value('sluice_map_entries', 'addresses4')! > 0);
    assert.ok(families.get('kubeproxy_sync_proxy_rules_duration_seconds')!.samples.length > 0);
    assert.ok(value('kubeproxy_proxy_healthz_total', '200')! > 0);
    assert.equal((await ask('nodeA', `${from}/healthz`)).body, 'ok\n');
    assert.equal((await ask('nodeA', `${from}/proxyMode`)).body, 'sluice\n');
    const configuration = JSON.parse((await ask('nodeA', `${from}/configz`)).body);
    assert.equal(configuration['kubeproxy.config.k8s.io'].hostnameOverride, 'node-a');
  });

  it('what the kernel counts is what a scrape counts', async () => {
    const rejected = async () => {
      const { body } = await ask('nodeA', 'http://127.0.0.1:10249/metrics');
      const samples = readExposition(body).get('sluice_verdicts_total')!.samples;
      return samples.filter(({ labels }) => labels.verdict === 'REJECT_UNOWNED_PORT').reduce((sum, sample) => sum + sample.value, 0);
    };
    const before = await rejected();
    assert.equal((await ask('clientA', 'http://10.96.0.10:81/')).code, 0);
    assert.equal((await rejected()) - before, 1);
  });

  it('new flows and drops are counted at their Service, at whatever hook', async () => {
    const counts = async () => {
      const families = readExposition((await ask('nodeA', 'http://127.0.0.1:10249/metrics')).body);
      const of = (name: string, service: string) =>
        families
          .get(name)!
          .samples.filter(({ labels }) => labels.service === service)
          .reduce((sum, { value }) => sum + value, 0);
      return [
        of('sluice_service_new_flows_total', 'web'),
        of('sluice_service_drops_total', 'web'),
        of('sluice_service_drops_total', 'idle'),
      ];
    };
    const idle = service('lab/idle', { clusterIP: '10.96.0.12' });
    const seen = agent.lines.length;
    write(web(), pods(4, true), pods(6, true), ...nodes(), idle, slice('lab/idle', 'idle-1', []));
    await agent.said('applied', seen);
    const before = await counts();
    // A pod's call at the socket hook, one through the NIC to the node port, and one to a Service without endpoints.
    await ask('clientA', 'http://10.96.0.10/');
    await ask('outside', url(30_080, '/'));
    assert.equal((await ask('clientA', 'http://10.96.0.12/')).code, 0);
    const after = await counts();
    assert.deepEqual(
      after.map((count, index) => count - before[index]!),
      [2, 0, 1],
    );
    all();
  });

  it('/healthz is red on a node that the autoscaler takes away, /livez is not (12.3, 12.4)', async () => {
    all(true, { taints: [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }] });
    const answer = await until(503, 'outside', url(10_256, '/healthz'));
    assert.deepEqual([JSON.parse(answer.body).nodeEligible, JSON.parse(answer.body).healthy], [false, true]);
    assert.equal((await ask('outside', url(10_256, '/livez'))).code, 200);
    assert.equal((await ask('outside', url(HEALTH_PORT, '/'))).code, 200, 'the health check node port does not mind');
    all();
    await until(200, 'outside', url(10_256, '/healthz'));
  });

  it('a Service that cannot be honoured turns nothing red', async () => {
    const broken = service('lab/broken', { clusterIP: '10.96.0.11', ports: [{ port: 70_000 }] });
    const seen = agent.lines.length;
    write(web(), pods(4, true), pods(6, true), ...nodes(), broken);
    await agent.said('70000 is not a port number, 1 to 65535; the Service is refused', seen);
    for (const path of ['/healthz', '/livez', '/readyz']) assert.equal((await ask('outside', url(10_256, path))).code, 200, path);
    all();
  });

  it('a health port that is taken is a Problem, told once, and served when it is free (15.7)', async () => {
    const script = `require('node:net').createServer().listen(10256, () => process.stdout.write('taken\\n'))`;
    const holder: ChildProcess = lab.start('nodeB', process.execPath, ['-e', script]);
    await once(holder.stdout!, 'data');
    const other = await startAgent(lab, 'nodeB', manifests);
    const told = () => other.lines.filter(({ level, reason }) => level === 'warn' && reason === 'PortTaken');
    assert.equal(told().length, 1);
    assert.match(told()[0]!.msg, /^0\.0\.0\.0:10256 cannot be listened on \(EADDRINUSE; is kube-proxy still running\?\)/);
    const gone = once(holder, 'exit');
    holder.kill('SIGKILL');
    await gone;
    await until(200, 'nodeB', url(10_256, '/healthz', 4, 'nodeB'));
    await other.said('no longer a problem');
    assert.equal(told().length, 1);
    await other.end('SIGTERM');
    assert.equal((await ask('nodeB', url(10_256, '/healthz', 4, 'nodeB'))).code, 0);
  });

  it('where bindAddressHardFail is set it ends the start, before anything is touched', async () => {
    const config = join(lab.directory, 'hard.yaml');
    writeFileSync(config, 'bindAddressHardFail: true\n');
    // Node A's own agent has the port.
    await assert.rejects(
      startAgent(lab, 'nodeA', manifests, ['--config', config]),
      /ended with 4:(.|\n)*healthzBindAddress: 0\.0\.0\.0:10256 cannot be listened on/,
    );
    assert.equal((await ask('outside', url(10_256, '/readyz'))).code, 200);
  });
});
