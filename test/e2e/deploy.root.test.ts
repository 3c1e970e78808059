// Is deploy/ what a cluster takes and the agent needs? The real API server judges every object; the agent runs as the DaemonSet says, with its
// ServiceAccount's token and the ClusterRole of deploy/, and the server's audit log says what it asked for.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { parseAllDocuments, stringify } from 'yaml';
import { type Agent, watchAgent } from '../lib/agent.ts';
import { componentPath } from '../lib/component.ts';
import { deployed, signalContainer, startContainer } from '../lib/container.ts';
import { type AuditEvent, type ControlPlane, kubernetesIP, startControlPlane } from '../lib/control-plane.ts';
import { Refused } from '../lib/kube-client.ts';
import { openKubelet, registerNode } from '../lib/kubelet.ts';
import { type Lab, openLab } from '../lib/netns.ts';
import { nodeNames, nodeObjects } from '../lib/places.ts';
import { until } from '../lib/sandbox.ts';
import { plainLane } from '../lib/topology.ts';
import { ask, serve } from '../lib/wire.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEPLOY = join(ROOT, 'deploy');
const ACCOUNT = 'kube-system/sluice';

/** README's section on clusters. */
function readme(): string {
  const [section = ''] = /^## On a cluster$[\s\S]*?(?=^## )/m.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
  return section;
}

/** The files that it shows, by kind. */
function filesOfReadme(): Map<string, Record<string, unknown>> {
  const blocks = readme().match(/(?:^ {4}.*\n)+/gm) ?? [];
  const files = blocks
    .filter((block) => block.startsWith('    apiVersion: '))
    .flatMap((block) => parseAllDocuments(block.replace(/^ {4}/gm, '')));
  return new Map(files.map((file) => file.toJS() as Record<string, unknown>).map((file) => [String(file.kind), file]));
}

/** Commands that README's section on clusters shows and that begin with one of these words, without their comments. */
function commandsOfReadme(...beginnings: string[]): string[] {
  const lines = readme().match(/(?<=^ {4})kubectl .*$/gm) ?? [];
  return lines
    .map((line) => line.replace(/ +# .*| +#$/, '').trim())
    .filter((line) => beginnings.some((words) => line.startsWith(`kubectl ${words}`)));
}

/** `verb resource.group` of each right that a role gives. */
function rightsOf(role: unknown): string[] {
  const { rules } = role as { rules: { apiGroups: string[]; resources: string[]; verbs: string[] }[] };
  return rules.flatMap(({ apiGroups, resources, verbs }) =>
    apiGroups.flatMap((group) => resources.flatMap((resource) => verbs.map((word) => `${word} ${resource}.${group}`))),
  );
}

/** What is read of a pod that a DaemonSet made. */
interface PlacedPod {
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly nodeName?: string;
    readonly affinity: {
      readonly nodeAffinity: {
        readonly requiredDuringSchedulingIgnoredDuringExecution: {
          readonly nodeSelectorTerms: readonly { readonly matchFields: readonly { readonly values: readonly string[] }[] }[];
        };
      };
    };
  };
}

describe('deploy/', () => {
  let lab: Lab;
  let plane: ControlPlane;
  before(async () => {
    await execa('make', ['-s', 'image-root'], { cwd: ROOT });
    lab = openLab(plainLane);
    plane = await startControlPlane(lab, { controllers: ['daemonset-controller'] });
  });
  after(async () => {
    await plane?.close();
    lab?.close();
  });

  it('is accepted by the API server, each object of it', async () => {
    for (const [directory, count] of [
      [DEPLOY, 5],
      [join(DEPLOY, 'cleanup'), 1],
      [join(DEPLOY, 'drain'), 1],
    ] as const) {
      const rendered = await plane.kubectl(['kustomize', directory]);
      const objects = parseAllDocuments(rendered).map((document) => document.toJS());
      assert.equal(objects.length, count);
      const said = await plane.kubectl(['apply', '--dry-run=server', '--warnings-as-errors', '-k', directory]);
      assert.deepEqual(
        said.split('\n').filter((line) => !line.endsWith(' created (server dry run)')),
        [],
      );
      assert.equal(said.split('\n').length, count);
    }
    const wrong = join(lab.directory, 'wrong');
    cpSync(DEPLOY, wrong, { recursive: true });
    const daemonSet = join(wrong, 'daemonset.yaml');
    writeFileSync(daemonSet, readFileSync(daemonSet, 'utf8').replace('hostNetwork:', 'hostNetworks:'));
    await assert.rejects(plane.kubectl(['apply', '--dry-run=server', '-k', wrong]), /unknown field "spec\.template\.spec\.hostNetworks"/);
  });

  it('is installed as README says, with two files of the cluster’s own', async () => {
    const files = filesOfReadme();
    const config = files.get('KubeProxyConfiguration') as { clientConnection?: object; sluice: Record<string, unknown> };
    // As kubeadm's ConfigMap of kube-proxy has it: a file that our pod does not have.
    config.clientConnection = { kubeconfig: '/var/lib/kube-proxy/kubeconfig.conf' };
    // This lab's addresses, and its node's cgroups.
    config.sluice = { ...config.sluice, apiServers: [plane.server], cgroupRoot: '/host/sys/fs/cgroup' };
    const mine = join(lab.directory, 'cluster');
    mkdirSync(mine);
    cpSync(DEPLOY, join(lab.directory, 'sluice/deploy'), { recursive: true });
    writeFileSync(join(mine, 'kustomization.yaml'), stringify(files.get('Kustomization')));
    writeFileSync(join(mine, 'config.yaml'), stringify(config));
    const said = await plane.kubectl(['apply', '--warnings-as-errors', '-k', mine]);
    assert.equal(said.split('\n').length, 5);
    const daemonSet = JSON.parse(await plane.kubectl(['-n', 'kube-system', 'get', 'daemonset', 'sluice', '-o', 'json']));
    assert.match(daemonSet.spec.template.spec.containers[0].image, /^registry\.example\/sluice:\d/);
  });

  it('README’s commands take kube-proxy from one node, and give it back', async () => {
    for (const node of nodeNames) await registerNode(plane.client, node);
    // As kubeadm makes it, as far as it decides where pods go.
    const labels = { 'k8s-app': 'kube-proxy' };
    const kubeProxy = {
      ...{ apiVersion: 'apps/v1', kind: 'DaemonSet', metadata: { namespace: 'kube-system', name: 'kube-proxy', labels } },
      spec: {
        selector: { matchLabels: labels },
        template: {
          metadata: { labels },
          spec: {
            nodeSelector: { 'kubernetes.io/os': 'linux' },
            tolerations: [{ operator: 'Exists' }],
            containers: [{ name: 'kube-proxy', image: 'kube-proxy' }],
            // No kubelet ends it.
            terminationGracePeriodSeconds: 0,
          },
        },
      },
    };
    const file = join(lab.directory, 'kube-proxy.yaml');
    writeFileSync(file, stringify(kubeProxy));
    await plane.kubectl(['apply', '-f', file]);
    const pods = '/api/v1/namespaces/kube-system/pods';
    /** Nodes that have a pod of kube-proxy. Whom the controller wants where goes there, in place of a scheduler. */
    async function placed(): Promise<string[]> {
      const { items } = (await plane.client.call('GET', pods, { query: { labelSelector: 'k8s-app=kube-proxy' } })) as {
        items: PlacedPod[];
      };
      for (const { metadata, spec } of items.filter((pod) => pod.spec.nodeName === undefined)) {
        const [term] = spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms;
        const target = { apiVersion: 'v1', kind: 'Node', name: term!.matchFields[0]!.values[0] };
        const body = { apiVersion: 'v1', kind: 'Binding', metadata: { name: metadata.name }, target };
        // The controller may have taken the pod back meanwhile: a scheduler goes on with the next.
        await plane.client.call('POST', `${pods}/${metadata.name}/binding`, { body }).catch((error: unknown) => {
          if (!(error instanceof Refused && (error.status === 404 || error.status === 409))) throw error;
        });
      }
      return items.flatMap(({ spec }) => spec.nodeName ?? []).sort();
    }
    const [label, patch, take, give, ...more] = commandsOfReadme('label', '-n kube-system patch');
    assert.deepEqual([give, more], [label, []]);
    const run = async (command: string, nodes: readonly string[]) => {
      const kubectl = `kubectl() { ${componentPath('kubectl')} --kubeconfig ${await plane.kubeconfig('admin')} "$@"; }`;
      await lab.run('router', 'sh', ['-c', `${kubectl}; ${command.replace('NODE', nodeObjects.nodeA)}`]);
      await until(`kube-proxy on ${nodes} after ${command}`, async () => (await placed()).join() === nodes.join());
    };
    const both = nodeNames.map((node) => nodeObjects[node]);
    await until('kube-proxy on both nodes', async () => (await placed()).join() === both.join());
    await run(label!, both);
    await run(patch!, both);
    await run(take!, [nodeObjects.nodeB]);
    await run(give!, both);
  });

  describe('as README installs it', () => {
    let agent: ChildProcess;
    let pod: Parameters<typeof startContainer>[2];
    before(async () => {
      await registerNode(plane.client, 'nodeA', 'zone-a');
      await plane.client.create({
        ...{ apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'default', name: 'web' } },
        spec: { selector: { app: 'web' }, ports: [{ port: 80, targetPort: 8080 }] },
      });
      const kubelet = openKubelet(plane.client);
      await kubelet.run({ key: 'default/web-1', place: 'a1', labels: { app: 'web' } });
      await serve(lab, 'a1', 'a1', ['8080/tcp']);

      // What the kubelet does: the ConfigMap that the DaemonSet names now, a token of its ServiceAccount, and the environment of every pod.
      const daemonSet = JSON.parse(await plane.kubectl(['-n', 'kube-system', 'get', 'daemonset', 'sluice', '-o', 'json']));
      const { configMap } = daemonSet.spec.template.spec.volumes.find(({ name }: { name: string }) => name === 'config');
      const { data } = JSON.parse(await plane.kubectl(['-n', 'kube-system', 'get', 'configmap', configMap.name, '-o', 'json']));
      const [configDirectory, account, run] = ['config', 'account', 'run'].map((name) => join(lab.directory, name)) as [
        string,
        string,
        string,
      ];
      for (const directory of [configDirectory, account, run]) mkdirSync(directory);
      for (const [name, text] of Object.entries(data)) writeFileSync(join(configDirectory, name), String(text));
      writeFileSync(join(account, 'token'), await plane.token(ACCOUNT));
      writeFileSync(join(account, 'namespace'), 'kube-system');
      cpSync(plane.authority, join(account, 'ca.crt'));
      pod = {
        volumes: { config: configDirectory, bpf: join(lab.directory, 'bpf'), run, cgroup: lab.cgroup('nodeA') },
        environment: { NODE_NAME: nodeObjects.nodeA, KUBERNETES_SERVICE_HOST: kubernetesIP[4], KUBERNETES_SERVICE_PORT: '443' },
        account,
      };
    });

    async function start(): Promise<Agent> {
      agent = await startContainer(lab, 'nodeA', pod);
      return watchAgent(agent);
    }

    async function stop(): Promise<void> {
      const gone = once(agent, 'exit');
      signalContainer(agent, 'SIGTERM');
      await gone;
    }

    const eventsOfSlice = async () => {
      const { items } = (await plane.client.call('GET', '/apis/events.k8s.io/v1/namespaces/default/events')) as {
        items: { regarding: { name: string }; series?: { count: number } }[];
      };
      return items.filter(({ regarding }) => regarding.name === 'wrong');
    };

    const wrongSlice = {
      ...{ apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', addressType: 'IPv4' },
      metadata: { namespace: 'default', name: 'wrong', labels: { 'kubernetes.io/service-name': 'web' } },
      ports: [{ port: 70000, protocol: 'TCP' }],
      endpoints: [{ addresses: ['10.1.1.12'] }],
    };

    it('the agent asks for what its role gives, all of it, and nothing else', async () => {
      const { lines, said } = await start();
      assert(lines.some(({ reason }) => reason === 'KubeconfigMissing'));
      await until('the Service answers', async () => {
        const { spec } = (await plane.client.get('Service', 'default/web')) as unknown as { spec: { clusterIP: string } };
        const [answer] = await ask(lab, 'clientA', 'tcp', spec.clusterIP, 80, { timeoutMs: 300 });
        return answer?.name === 'a1';
      });
      // An Event, and the same again, which is counted at the first.
      await plane.client.create(wrongSlice);
      await until('an Event at the slice', async () => (await eventsOfSlice()).length === 1);
      const before = lines.length;
      await plane.client.delete('EndpointSlice', 'default/wrong');
      await said('no longer a problem', before);
      await plane.client.create(wrongSlice);
      await until('it is counted there', async () => ((await eventsOfSlice())[0]?.series?.count ?? 1) > 1);
      await stop();
      // A server that does not stream its lists, as before Kubernetes 1.32.
      await plane.apiServer.kill('SIGKILL');
      plane.apiServer.start([...plane.apiServerArguments, '--feature-gates=WatchList=false']);
      await plane.ready();
      await start();
      await stop();

      const calls = async () =>
        (await plane.audit()).filter(({ user }) => user.username === `system:serviceaccount:${ACCOUNT.replace('/', ':')}`);
      const refused = (asked: readonly AuditEvent[]) =>
        asked.filter(({ responseStatus }) => [401, 403].includes(responseStatus?.code ?? 0));
      const asked = await calls();
      assert(asked.length > 10);
      assert.deepEqual(refused(asked), []);
      const used = new Set(
        asked.flatMap(({ verb, objectRef }) => (objectRef ? [`${verb} ${objectRef.resource}.${objectRef.apiGroup ?? ''}`] : [])),
      );
      assert.deepEqual([...used].sort(), rightsOf(deployed('rbac.yaml').find(({ kind }) => kind === 'ClusterRole')).sort());

      // The log would have told: as the agent, something that its role does not give.
      const words = ['--kubeconfig', await plane.kubeconfig(ACCOUNT), 'get', 'pods'];
      await assert.rejects(lab.run('router', componentPath('kubectl'), words), /Forbidden/);
      await until('the refusal is in the log', async () => refused(await calls()).length === 1);
    });
  });
});
