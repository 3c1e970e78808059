// A cluster's control plane in the lab: the real etcd, kube-apiserver and kube-controller-manager, in the router's namespace, which every node
// and pod reaches. RBAC is on, calls are audited, tokens are real. Each can be killed, stopped and started by itself.
import { writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { makeCertificates } from './certificates.ts';
import { type Component, componentPath, startComponent } from './component.ts';
import { type KubeClient, openKubeClient } from './kube-client.ts';
import type { Lab, RunOptions } from './netns.ts';
import { families, gateways, networks } from './places.ts';

/** Where the API server is. */
export const apiServerAddress = gateways.nodes;
export const apiServerPort = 6443;
/** The `kubernetes` Service: the first address of each range. */
export const kubernetesIP = { 4: '10.96.0.1', 6: 'fd96::1' } as const;

/** Controllers that make a test's cluster behave; Deployments, Jobs and volumes are none of its business. */
const controllers = [
  'endpointslice-controller',
  'garbage-collector-controller',
  'namespace-controller',
  'root-ca-certificate-publisher-controller',
  'serviceaccount-controller',
  'service-cidr-controller',
];

/** One call in the API server's audit log, as far as tests read it. */
export interface AuditEvent {
  readonly verb: string;
  readonly requestURI: string;
  readonly user: { readonly username: string };
  readonly objectRef?: { readonly apiGroup?: string; readonly resource: string; readonly subresource?: string; readonly name?: string };
  readonly responseStatus?: { readonly code: number };
  readonly annotations?: Readonly<Record<string, string>>;
}

/** Who a kubeconfig signs in: an administrator, or a ServiceAccount as `namespace/name`. */
export type User = 'admin' | `${string}/${string}`;

export interface ControlPlane {
  /** Base URL of the API server. */
  readonly server: string;
  /** The certificate authority, PEM, in a file. */
  readonly authority: string;
  readonly client: KubeClient;
  readonly etcd: Component;
  readonly apiServer: Component;
  /** What the API server was started with, to start it again with more. */
  readonly apiServerArguments: readonly string[];
  /** undefined: started without. */
  readonly controllers: Component | undefined;
  /** Resolves when the API server is ready to serve. */
  ready(timeoutMs?: number): Promise<void>;
  /** Runs kubectl as an administrator; standard output. */
  kubectl(args: readonly string[], options?: RunOptions): Promise<string>;
  /** A token of a ServiceAccount, which exists. */
  token(account: `${string}/${string}`, seconds?: number): Promise<string>;
  /** Writes a kubeconfig for a user; its path. servers: one URL instead of the API server's own. */
  kubeconfig(user: User, server?: string): Promise<string>;
  /** Has etcd forget every revision but the present one. */
  compact(): Promise<void>;
  /** What users other than administrators and the control plane itself asked for, in order. */
  audit(): Promise<AuditEvent[]>;
  /** The last lines of each component's log. */
  logs(): string;
  close(): Promise<void>;
}

export interface ControlPlaneOptions {
  /** More controllers by name, or none at all. */
  readonly controllers?: readonly string[] | 'none';
  readonly apiServerFlags?: readonly string[];
}

const auditPolicy = {
  apiVersion: 'audit.k8s.io/v1',
  kind: 'Policy',
  omitStages: ['RequestReceived'],
  rules: [
    { level: 'None', userGroups: ['system:masters'] },
    { level: 'None', users: ['system:apiserver', 'system:kube-controller-manager'] },
    { level: 'Metadata' },
  ],
};

const etcdURL = 'http://127.0.0.1:2379';

function etcdArguments(directory: string): string[] {
  return [
    ...['--data-dir', join(directory, 'etcd'), '--unsafe-no-fsync', '--log-level', 'warn'],
    ...['--listen-client-urls', etcdURL, '--advertise-client-urls', etcdURL],
  ];
}

interface Files {
  readonly authority: { readonly certificate: string; readonly key: string };
  readonly server: { readonly certificate: string; readonly key: string };
  readonly accounts: { readonly certificate: string; readonly key: string };
  readonly auditPolicy: string;
  readonly auditLog: string;
}

function apiServerArguments({ authority, server, accounts, auditPolicy, auditLog }: Files): string[] {
  return [
    `--etcd-servers=${etcdURL}`,
    '--bind-address=::',
    `--advertise-address=${apiServerAddress[4]}`,
    `--secure-port=${apiServerPort}`,
    `--service-cluster-ip-range=${families.map((family) => networks.services[family]).join(',')}`,
    '--authorization-mode=RBAC',
    `--client-ca-file=${authority.certificate}`,
    `--tls-cert-file=${server.certificate}`,
    `--tls-private-key-file=${server.key}`,
    '--service-account-issuer=https://kubernetes.default.svc.cluster.local',
    `--service-account-key-file=${accounts.certificate}`,
    `--service-account-signing-key-file=${accounts.key}`,
    // A Pod may be made before the controller has made its namespace's ServiceAccount.
    '--disable-admission-plugins=ServiceAccount',
    `--audit-policy-file=${auditPolicy}`,
    `--audit-log-path=${auditLog}`,
    '--profiling=false',
  ];
}

function controllerArguments(kubeconfig: string, { authority, accounts }: Files, more: readonly string[]): string[] {
  return [
    `--kubeconfig=${kubeconfig}`,
    `--controllers=${[...controllers, ...more].join(',')}`,
    `--root-ca-file=${authority.certificate}`,
    `--service-account-private-key-file=${accounts.key}`,
    '--bind-address=127.0.0.1',
    '--leader-elect=false',
    '--kube-api-qps=1000',
    '--kube-api-burst=2000',
    '--concurrent-endpoint-syncs=10',
    '--concurrent-namespace-syncs=10',
    '--profiling=false',
  ];
}

/** Starts the control plane and resolves when it serves. The lab's close() ends it too. */
export async function startControlPlane(lab: Lab, options: ControlPlaneOptions = {}): Promise<ControlPlane> {
  const { directory } = lab;
  const file = (name: string) => join(directory, name);
  const server = `https://${apiServerAddress[4]}:${apiServerPort}`;
  const certificates = await makeCertificates(directory, {
    addresses: families.flatMap((family) => [apiServerAddress[family], kubernetesIP[family], family === 4 ? '127.0.0.1' : '::1']),
    hosts: ['kubernetes', 'kubernetes.default', 'kubernetes.default.svc', 'kubernetes.default.svc.cluster.local', 'localhost'],
  });
  const files: Files = { ...certificates, auditPolicy: file('audit-policy.json'), auditLog: file('audit.log') };
  writeFileSync(files.auditPolicy, JSON.stringify(auditPolicy));
  const authority = await readFile(certificates.authority.certificate, 'base64');

  const writeKubeconfig = (name: string, user: object, url = server) => {
    const path = file(`kubeconfig-${name}`);
    const kubeconfig = {
      apiVersion: 'v1',
      kind: 'Config',
      clusters: [{ name: 'lab', cluster: { server: url, 'certificate-authority-data': authority } }],
      users: [{ name: 'user', user }],
      contexts: [{ name: 'lab', context: { cluster: 'lab', user: 'user' } }],
      'current-context': 'lab',
    };
    writeFileSync(path, JSON.stringify(kubeconfig), { mode: 0o600 });
    return path;
  };
  const adminUser = { 'client-certificate': certificates.admin.certificate, 'client-key': certificates.admin.key };
  const adminKubeconfig = writeKubeconfig('admin', adminUser);

  const etcd = startComponent(lab, 'router', 'etcd', etcdArguments(directory));
  const apiServerWords = [...apiServerArguments(files), ...(options.apiServerFlags ?? [])];
  const apiServer = startComponent(lab, 'router', 'kube-apiserver', apiServerWords);
  const proxy = startComponent(lab, 'router', 'kubectl', ['--kubeconfig', adminKubeconfig, 'proxy', '--unix-socket', file('api.sock')]);
  const client = openKubeClient(file('api.sock'));
  const all: Component[] = [etcd, apiServer, proxy];
  const logs = () =>
    all.map((one, i) => `== ${['etcd', 'kube-apiserver', 'kubectl proxy', 'kube-controller-manager'][i]}\n${one.tail(12)}`).join('\n');

  async function ready(timeoutMs = 60_000): Promise<void> {
    const end = performance.now() + timeoutMs;
    for (;;) {
      let why: unknown;
      try {
        await client.call('GET', '/readyz', { timeoutMs: 2000 });
        // The bootstrap's last step: the Service of the API server itself.
        await client.get('Service', 'default/kubernetes');
        return;
      } catch (error) {
        why = error;
      }
      const gone = [etcd, apiServer].some(({ ended }) => ended);
      if (gone || performance.now() > end) throw new Error(`the API server is ${gone ? 'gone' : 'not ready'}: ${why}\n${logs()}`);
      await pause(50);
    }
  }

  async function token(account: string, seconds = 3600): Promise<string> {
    const [namespace, name] = account.split('/');
    const { status } = (await client.call('POST', `/api/v1/namespaces/${namespace}/serviceaccounts/${name}/token`, {
      body: { apiVersion: 'authentication.k8s.io/v1', kind: 'TokenRequest', spec: { expirationSeconds: seconds } },
    })) as { status: { token: string } };
    return status.token;
  }

  await ready();
  const controllersWanted = options.controllers ?? [];
  const manager =
    controllersWanted === 'none'
      ? undefined
      : startComponent(
          lab,
          'router',
          'kube-controller-manager',
          controllerArguments(writeKubeconfig('controllers', adminUser), files, controllersWanted),
        );
  if (manager) all.push(manager);

  return {
    server,
    authority: certificates.authority.certificate,
    client,
    etcd,
    apiServer,
    apiServerArguments: apiServerWords,
    controllers: manager,
    ready,
    kubectl: (args, runOptions = { timeoutMs: 30_000 }) =>
      lab.run('router', componentPath('kubectl'), ['--kubeconfig', adminKubeconfig, ...args], runOptions),
    token,
    async kubeconfig(user, url = server) {
      const name = `${user.replace('/', '-')}${url === server ? '' : `-${url.replace(/\W+/g, '-')}`}`;
      return writeKubeconfig(name, user === 'admin' ? adminUser : { token: await token(user) }, url);
    },
    async compact() {
      const script = `
        const call = async (path, body) => {
          const answer = await fetch('${etcdURL}/v3/' + path, { method: 'POST', body: JSON.stringify(body) });
          if (!answer.ok) throw new Error(path + ': ' + (await answer.text()));
          return answer.json();
        };
        const { header } = await call('kv/range', { key: btoa('/') });
        await call('kv/compaction', { revision: header.revision, physical: true });`;
      await lab.run('router', process.execPath, ['--input-type=module', '--eval', script]);
    },
    async audit() {
      const text = await readFile(files.auditLog, 'utf8').catch(() => '');
      return text.split('\n').flatMap((line) => (line.endsWith('}') ? [JSON.parse(line) as AuditEvent] : []));
    },
    logs,
    async close() {
      await client.close();
      for (const component of all.toReversed()) await component.kill('SIGKILL');
    },
  };
}

/** A place that speaks to the API server as a ServiceAccount: it is made, and bound to a ClusterRole of that name if rules are given. */
export async function makeServiceAccount(
  { client }: ControlPlane,
  account: `${string}/${string}`,
  rules?: readonly object[],
): Promise<void> {
  const [namespace, name] = account.split('/') as [string, string];
  await client.apply({ apiVersion: 'v1', kind: 'ServiceAccount', metadata: { namespace, name } });
  if (!rules) return;
  const rbac = 'rbac.authorization.k8s.io';
  await client.apply({ apiVersion: `${rbac}/v1`, kind: 'ClusterRole', metadata: { name }, rules });
  await client.apply({
    apiVersion: `${rbac}/v1`,
    kind: 'ClusterRoleBinding',
    metadata: { name },
    roleRef: { apiGroup: rbac, kind: 'ClusterRole', name },
    subjects: [{ kind: 'ServiceAccount', namespace, name }],
  });
}
