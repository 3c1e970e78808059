// Is the lab's cluster one? The real API server, its controllers, tokens, audit log, and what happens to each when it is killed.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type ControlPlane, makeServiceAccount, startControlPlane } from '../lib/control-plane.ts';
import type { Stored } from '../lib/kube-client.ts';
import { type Kubelet, openKubelet, registerNode } from '../lib/kubelet.ts';
import { type Lab, openLab } from '../lib/netns.ts';
import { places } from '../lib/places.ts';
import { until } from '../lib/sandbox.ts';
import { plainLane } from '../lib/topology.ts';

let lab: Lab;
let plane: ControlPlane;
let kubelet: Kubelet;

before(async () => {
  lab = openLab(plainLane);
  plane = await startControlPlane(lab);
  kubelet = openKubelet(plane.client);
});
after(async () => {
  await plane?.close();
  lab?.close();
});

const web = { kind: 'Service', metadata: { namespace: 'default', name: 'web' } } as const;

interface Slice extends Stored {
  readonly endpoints: readonly { readonly addresses: readonly string[]; readonly conditions: Readonly<Record<string, boolean>> }[] | null;
}

const endpointsOfWeb = async () => {
  const slices = (await plane.client.list('EndpointSlice', 'default', { labelSelector: 'kubernetes.io/service-name=web' })) as Slice[];
  return slices.flatMap(({ endpoints }) => endpoints ?? []);
};

test('a Pod that runs becomes an endpoint of its Service, fails its probe, terminates and is gone', async () => {
  await registerNode(plane.client, 'nodeA', 'zone-a');
  await plane.client.create({
    ...web,
    apiVersion: 'v1',
    spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }], ipFamilyPolicy: 'RequireDualStack' },
  });
  await kubelet.run({ key: 'default/web-1', place: 'a1', labels: { app: 'web' } });
  const state = async () => (await endpointsOfWeb()).map(({ addresses, conditions }) => ({ address: addresses[0], ...conditions }));
  const both = (conditions: Readonly<Record<string, boolean>>) =>
    [places.a1[4], places.a1[6]].map((address) => ({ address, ...conditions }));
  const becomes = (what: string, wanted: readonly object[]) =>
    until(what, async () => {
      const now = await state();
      return JSON.stringify(now.toSorted((a, b) => (a.address! < b.address! ? -1 : 1))) === JSON.stringify(wanted);
    });
  await becomes('ready', both({ ready: true, serving: true, terminating: false }));
  await kubelet.setReady('default/web-1', false);
  await becomes('not ready', both({ ready: false, serving: false, terminating: false }));
  await kubelet.setReady('default/web-1', true);
  await kubelet.terminate('default/web-1');
  await becomes('terminating', both({ ready: false, serving: true, terminating: true }));
  await kubelet.remove('default/web-1');
  await becomes('gone', []);
});

test("a ServiceAccount's token is worth what its ClusterRole grants, and the audit log says what it asked for", async () => {
  await makeServiceAccount(plane, 'kube-system/reader', [{ apiGroups: [''], resources: ['services'], verbs: ['list'] }]);
  const kubeconfig = await plane.kubeconfig('kube-system/reader');
  const ask = (...words: string[]) => plane.kubectl([`--kubeconfig=${kubeconfig}`, ...words]);
  assert.match(await ask('get', 'services', '--all-namespaces'), /web/);
  await assert.rejects(ask('get', 'nodes'), /forbidden/);
  const calls = (await plane.audit()).filter(({ user }) => user.username === 'system:serviceaccount:kube-system:reader');
  const called = (resource: string) => calls.find(({ objectRef }) => objectRef?.resource === resource);
  assert.equal(called('services')?.responseStatus?.code, 200);
  assert.equal(called('nodes')?.responseStatus?.code, 403);
});

test('the API server comes back after a kill, and so does etcd', async () => {
  const { resourceVersion } = (await plane.client.get('Service', 'default/web')).metadata;
  await plane.apiServer.kill('SIGKILL');
  await assert.rejects(plane.client.get('Service', 'default/web'));
  await plane.etcd.kill('SIGKILL');
  plane.etcd.start();
  plane.apiServer.start();
  await plane.ready();
  assert.equal((await plane.client.get('Service', 'default/web')).metadata.resourceVersion, resourceVersion);
});

test('a revision before the compaction is gone: 410', async () => {
  await plane.compact();
  await plane.apiServer.kill('SIGKILL');
  plane.apiServer.start();
  await plane.ready();
  const old = { watch: 'true', resourceVersion: '1', timeoutSeconds: '5' };
  const answer = await plane.client.call('GET', '/api/v1/services', { query: old }).catch((error: Error) => error.message);
  assert.match(JSON.stringify(answer), /too old resource version|Expired|410/);
});
