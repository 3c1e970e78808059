// Are Events, health and metrics right where the API server is the real one? What is wrong stands beside its object as kubectl shows it, with the
// rights of deploy/ and no others; an API server that is away turns nothing red.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseAllDocuments } from 'yaml';
import { type Agent, agentArguments, watchAgent } from '../lib/agent.ts';
import { type ControlPlane, makeServiceAccount, startControlPlane } from '../lib/control-plane.ts';
import { readExposition } from '../lib/exposition.ts';
import type { Stored } from '../lib/kube-client.ts';
import { openKubelet, registerNode } from '../lib/kubelet.ts';
import { type Lab, openLab } from '../lib/netns.ts';
import { askPage, pageURL } from '../lib/pages.ts';
import { nodeObjects, places } from '../lib/places.ts';
import { until } from '../lib/sandbox.ts';
import { plainLane } from '../lib/topology.ts';

const MAIN = fileURLToPath(new URL('../../control/main.ts', import.meta.url));
const RBAC = fileURLToPath(new URL('../../deploy/rbac.yaml', import.meta.url));
const HEALTH_PORT = 31_999;

interface EventOf extends Stored {
  readonly regarding: { readonly kind: string; readonly namespace?: string; readonly name: string; readonly uid: string };
  readonly reason: string;
  readonly note: string;
  readonly type: string;
}

describe('an agent at the real API server', () => {
  let lab: Lab;
  let plane: ControlPlane;
  let agent: Agent;
  before(async () => {
    lab = openLab(plainLane);
    plane = await startControlPlane(lab);
    const { rules } = parseAllDocuments(readFileSync(RBAC, 'utf8'))
      .map((document) => document.toJS())
      .find(({ kind }) => kind === 'ClusterRole');
    await makeServiceAccount(plane, 'kube-system/sluice', rules);
    await registerNode(plane.client, 'nodeA', 'zone-a');
    await registerNode(plane.client, 'nodeB', 'zone-b');
    const words = ['agent', '--kubeconfig', await plane.kubeconfig('kube-system/sluice'), '--hostname-override', nodeObjects.nodeA];
    agent = await watchAgent(
      lab.start('nodeA', process.execPath, ['--disable-warning=ExperimentalWarning', MAIN, ...words, ...agentArguments(lab, 'nodeA')]),
    );
  });
  after(async () => {
    await plane?.close();
    lab?.close();
  });

  const events = async (reason: string) =>
    ((await plane.client.list('Event', 'default')) as EventOf[]).filter((one) => one.reason === reason);
  /** The one Event of that reason, when it is there. */
  async function event(reason: string): Promise<EventOf> {
    await until(`an Event ${reason}`, async () => (await events(reason)).length > 0);
    const [only, ...others] = await events(reason);
    assert.equal(others.length, 0, `one Event ${reason}`);
    return only!;
  }
  const service = (name: string, spec: object) =>
    plane.client.create({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { namespace: 'default', name },
      spec: { ports: [{ port: 80 }], ...spec },
    });
  const code = async (port: number, path: string) => (await askPage(lab, 'outside', pageURL('nodeA', port, path))).code;
  const metrics = async () => readExposition((await askPage(lab, 'nodeA', 'http://127.0.0.1:10249/metrics')).body);

  it('a deprecated field and a disputed address stand at their Services, where kubectl describe shows them', async () => {
    const first = await service('first', { externalIPs: ['203.0.113.9'] });
    const deprecated = await event('DeprecatedField');
    assert.deepEqual([deprecated.regarding.name, deprecated.regarding.uid, deprecated.type], ['first', first.metadata.uid, 'Warning']);
    const described = await plane.kubectl(['describe', 'service', 'first']);
    assert.match(described, /Warning +DeprecatedField +\S+ +sluice +spec\.externalIPs is deprecated/);
    // The older keeps it; creation times are whole seconds, and names decide between equals.
    await service('second', { externalIPs: ['203.0.113.9'] });
    const conflict = await event('VIPConflict');
    assert.deepEqual([conflict.regarding.kind, conflict.regarding.name], ['Service', 'second']);
    assert.match(conflict.note, /203\.0\.113\.9/);
  });

  it('a port that no slice can have stands at the slice', async () => {
    const slice = await plane.client.create({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { namespace: 'default', name: 'odd', labels: { 'kubernetes.io/service-name': 'first' } },
      addressType: 'IPv4',
      ports: [{ name: '', port: 70_000, protocol: 'TCP' }],
      endpoints: [{ addresses: [places.b1[4]] }],
    });
    const invalid = await event('InvalidPort');
    assert.deepEqual([invalid.regarding.kind, invalid.regarding.uid], ['EndpointSlice', slice.metadata.uid]);
    assert.equal(await code(10_256, '/readyz'), 200);
  });

  it('a health check port that is taken has kube-proxy’s Event, and is served when it is free (12.1)', async () => {
    const script = `require('node:net').createServer().listen(${HEALTH_PORT}, () => process.stdout.write('taken\\n'))`;
    const holder = lab.start('nodeA', process.execPath, ['-e', script]);
    await once(holder.stdout!, 'data');
    const spec = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: HEALTH_PORT, selector: { app: 'web' } };
    await service('web', spec);
    const failed = await event('FailedToStartServiceHealthcheck');
    assert.deepEqual([failed.regarding.name, failed.action], ['web', 'Listen']);
    assert.match(failed.note, new RegExp(`node node-a cannot listen on .*:${HEALTH_PORT} \\(EADDRINUSE\\)`));
    holder.kill('SIGKILL');
    await once(holder, 'exit');
    await until('503 without a pod', async () => (await code(HEALTH_PORT, '/')) === 503);
    await openKubelet(plane.client).run({ key: 'default/web-1', place: 'a1', labels: { app: 'web' } });
    await until('200 with a pod on this node', async () => (await code(HEALTH_PORT, '/')) === 200);
  });

  it('how long a change took is dated by the endpointslice controller, and the source is counted by resource', async () => {
    const shown = await metrics();
    const count = (name: string, label: string) =>
      shown.get(name)!.samples.find((sample) => !sample.name.endsWith('_bucket') && Object.values(sample.labels).includes(label))?.value;
    const programmed = shown.get('kubeproxy_network_programming_duration_seconds')!.samples.find(({ name }) => name.endsWith('_count'));
    assert.ok(programmed!.value > 0, 'the slice of web is dated');
    assert.equal(count('sluice_source_connected', 'services'), 1);
    assert.equal(count('sluice_source_connected', 'endpointslices'), 1);
    assert.ok(count('sluice_events_total', 'sent')! >= 4);
    assert.equal(count('sluice_events_total', 'refused'), 0);
    assert.equal(shown.get('sluice_external_ip_services')!.samples[0]!.value, 2);
    assert.ok(shown.get('kubeproxy_sync_proxy_rules_service_changes_total')!.samples[0]!.value >= 4);
  });

  it('a node that the autoscaler takes away is no longer eligible, and is again (12.3)', async () => {
    const taints = [{ key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' }];
    await plane.client.patch('Node', nodeObjects.nodeA, { spec: { taints } });
    await until('/healthz is red', async () => (await code(10_256, '/healthz')) === 503);
    assert.equal(await code(10_256, '/livez'), 200);
    await plane.client.patch('Node', nodeObjects.nodeA, { spec: { taints: null } });
    await until('/healthz is green', async () => (await code(10_256, '/healthz')) === 200);
  });

  it('with the rights of deploy/ nothing was refused', async () => {
    const refused = (await plane.audit()).filter(
      (call) => call.user.username.endsWith(':sluice') && (call.responseStatus?.code ?? 0) >= 400,
    );
    assert.deepEqual(
      refused
        .map(({ verb, requestURI, responseStatus }) => `${verb} ${requestURI} ${responseStatus?.code}`)
        .filter((line) => / 40[13]$/.test(line)),
      [],
    );
    const verbs = new Set((await plane.audit()).filter(({ objectRef }) => objectRef?.resource === 'events').map(({ verb }) => verb));
    assert.ok(verbs.has('create'));
  });

  it('an API server that is away turns nothing red (12.5)', async () => {
    const seen = agent.lines.length;
    await plane.apiServer.kill('SIGKILL');
    await until('the agent says that it is away', () => agent.lines.slice(seen).some(({ reason }) => reason === 'ApiServerUnreachable'));
    for (const path of ['/healthz', '/livez', '/readyz']) assert.equal(await code(10_256, path), 200, path);
    assert.equal(
      (await metrics()).get('sluice_source_connected')!.samples.every(({ value }) => value === 0),
      true,
    );
    plane.apiServer.start();
    await plane.ready();
    await until('all is watched again', async () =>
      (await metrics()).get('sluice_source_connected')!.samples.every(({ value }) => value === 1),
    );
  });
});
