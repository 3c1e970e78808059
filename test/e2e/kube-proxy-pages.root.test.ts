// Do probes, load balancers and dashboards that were made for kube-proxy find here what they found there? The real kube-proxy on one node and an
// agent on the other follow one API server, and what each answers is laid side by side.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { agentArguments, watchAgent } from '../lib/agent.ts';
import { type Component, startComponent } from '../lib/component.ts';
import { type ControlPlane, startControlPlane } from '../lib/control-plane.ts';
import { type Family, readExposition } from '../lib/exposition.ts';
import { registerNode } from '../lib/kubelet.ts';
import { type Lab, openLab } from '../lib/netns.ts';
import { askPage, type Page, pageURL } from '../lib/pages.ts';
import { families, networks, nodeObjects, places } from '../lib/places.ts';
import { until } from '../lib/sandbox.ts';
import { plainLane } from '../lib/topology.ts';

const MAIN = fileURLToPath(new URL('../../control/main.ts', import.meta.url));
const CHECK_PORT = 31_998;
/** Of its mode's rules and of nf_conntrack: docs/metrics.md says that they are not ours to claim. */
const NOT_OURS = /_(iptables|nftables)_|_conntrack_reconciler_/;
/** Go and Node have headers of their own for the connection; those of the body count. */
const CONNECTION = /^(date|content-length|transfer-encoding|connection|keep-alive)$/;

describe('beside the real kube-proxy', () => {
  let lab: Lab;
  let plane: ControlPlane;
  let proxy: Component;
  before(async () => {
    lab = openLab(plainLane);
    plane = await startControlPlane(lab, { controllers: 'none' });
    await Promise.all((['nodeA', 'nodeB'] as const).map((name) => registerNode(plane.client, name)));
    const kubeconfig = await plane.kubeconfig('admin');
    proxy = startComponent(lab, 'nodeA', 'kube-proxy', [
      `--kubeconfig=${kubeconfig}`,
      `--hostname-override=${nodeObjects.nodeA}`,
      '--proxy-mode=nftables',
      `--cluster-cidr=${families.map((family) => networks.pods[family]).join(',')}`,
      '--conntrack-max-per-core=0',
    ]);
    const words = ['agent', '--kubeconfig', kubeconfig, '--hostname-override', nodeObjects.nodeB, ...agentArguments(lab, 'nodeB')];
    await watchAgent(lab.start('nodeB', process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...words]));
    await until('kube-proxy answers', async () => (await both(10_256, '/healthz')).every(({ code }) => code === 200));
  });
  after(async () => {
    await proxy?.kill('SIGKILL');
    await plane?.close();
    lab?.close();
  });

  async function page(node: 'nodeA' | 'nodeB', url: string): Promise<Page> {
    const answer = await askPage(lab, node, url);
    return { ...answer, headers: Object.fromEntries(Object.entries(answer.headers).filter(([name]) => !CONNECTION.test(name))) };
  }
  /** kube-proxy's answer, and ours. */
  const both = (port: number, path: string) => {
    const url = `http://127.0.0.1:${port}${path}`;
    return Promise.all([page('nodeA', url), page('nodeB', url)]);
  };
  const metrics = async (node: 'nodeA' | 'nodeB'): Promise<Map<string, Family>> => {
    const { body } = await page(node, 'http://127.0.0.1:10249/metrics');
    const lines = body.split('\n').filter((line) => /^(# (HELP|TYPE) )?kubeproxy_/.test(line));
    return readExposition(`${lines.join('\n')}\n`);
  };

  for (const [port, path] of [
    [10_256, '/healthz'],
    [10_256, '/livez'],
    [10_256, '/no-such-page'],
    [10_249, '/healthz'],
    [10_249, '/no-such-page'],
  ] as const)
    it(`:${port}${path} is the same but for the time`, async () => {
      const times = ({ body, ...rest }: Page) => ({ ...rest, body: body.replace(/"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d)"/g, 'TIME') });
      const [theirs, ours] = await both(port, path);
      assert.deepEqual(times(ours), times(theirs));
    });

  it('/configz and /proxyMode have its headers', async () => {
    for (const path of ['/configz', '/proxyMode']) {
      const [theirs, ours] = await both(10_249, path);
      assert.deepEqual([ours.code, ours.headers], [theirs.code, theirs.headers], path);
    }
  });

  it('a health check node port is the same, with an endpoint and without (12.1)', async () => {
    const spec = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: CHECK_PORT, ports: [{ port: 80 }] };
    await plane.client.create({ apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'default', name: 'checked' }, spec });
    const checks = () => Promise.all((['nodeA', 'nodeB'] as const).map((node) => page(node, pageURL(node, CHECK_PORT, '/any?x'))));
    await until('both listen', async () => (await checks()).every(({ code }) => code === 503));
    const [theirs, ours] = await checks();
    assert.deepEqual(ours, theirs);
    await plane.client.create({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        namespace: 'default',
        name: 'checked-1',
        labels: { 'kubernetes.io/service-name': 'checked' },
        // After the start of both.
        annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': new Date().toISOString() },
      },
      addressType: 'IPv4',
      ports: [{ name: '', protocol: 'TCP', port: 8080 }],
      endpoints: (['a1', 'b1'] as const).map((place, index) => ({
        addresses: [places[place][4]],
        nodeName: nodeObjects[index === 0 ? 'nodeA' : 'nodeB'],
        conditions: { ready: true, serving: true, terminating: false },
      })),
    });
    await until('both have an endpoint', async () => (await checks()).every(({ code }) => code === 200));
    const [one, other] = await checks();
    assert.deepEqual(other, one);
  });

  it('every metric that counts no rules is here under its name, type, labels and buckets, and none of its name that it has not', async () => {
    // After this many answers every counter of it has been shown.
    await both(10_256, '/livez');
    await until('both have counted', async () => {
      const name = 'kubeproxy_network_programming_duration_seconds';
      return (await metrics('nodeA')).has(name) && (await metrics('nodeB')).has(name);
    });
    const shape = (all: Map<string, Family>) =>
      Object.fromEntries(
        [...all]
          .filter(([name]) => !NOT_OURS.test(name))
          .map(([name, { type, samples }]) => {
            const values = (label: string) => [
              ...new Set(samples.map(({ labels }) => labels[label]).filter((value) => value !== undefined)),
            ];
            const labels = [...new Set(samples.flatMap((sample) => Object.keys(sample.labels)))].sort();
            return [name, { type, labels, le: values('le'), policies: values('traffic_policy').sort() }] as const;
          })
          .sort(([a], [b]) => (a < b ? -1 : 1)),
      );
    const [theirs, ours] = [shape(await metrics('nodeA')), shape(await metrics('nodeB'))];
    assert.equal(Object.keys(theirs).length, 13, Object.keys(theirs).join());
    assert.deepEqual(ours, theirs);
  });
});
