// What does a kubeconfig say? The one module that takes the Kubernetes client, and of it KubeConfig alone. It is loaded when the
// API server is the source, never with the rest.

import { readFileSync } from 'node:fs';
import type { RequestOptions } from 'node:https';
import { dirname, resolve } from 'node:path';
import { type Cluster, KubeConfig, type User } from '@kubernetes/client-node';
import { parse } from 'yaml';
import { memberAt } from '../fields.ts';
import type { Credentials, Identity } from './identity.ts';

/** client-go: `tokenFile` of a user wins over its token and is read again as it rotates. client-node 2.0 does not know the field. */
function tokenFileOf(text: string, user: string): string | undefined {
  const users: unknown = memberAt(parse(text), 'users');
  const found = Array.isArray(users) ? users.find((entry) => memberAt(entry, 'name') === user) : undefined;
  const file = memberAt(found, 'user', 'tokenFile');
  return typeof file === 'string' && file !== '' ? file : undefined;
}

/** client-go: a plug-in is told which version of the protocol we speak. client-node 2.0 leaves that out. */
function withExecInfo(user: User): User {
  const exec = user.exec as { apiVersion?: string; env?: { name: string; value: string }[] | null } | null | undefined;
  if (exec === undefined || exec === null) return user;
  const env = exec.env ?? [];
  if (env.some(({ name }) => name === 'KUBERNETES_EXEC_INFO')) return user;
  const value = JSON.stringify({ kind: 'ExecCredential', apiVersion: exec.apiVersion, spec: { interactive: false } });
  return { ...user, exec: { ...exec, env: [...env, { name: 'KUBERNETES_EXEC_INFO', value }] } };
}

/** A kubeconfig with what client-node leaves out put in. Throws a sentence. */
function readFile(file: string): KubeConfig {
  const read = new KubeConfig();
  const text = readFileSync(file, 'utf8');
  read.loadFromFile(file);
  const user = read.getCurrentUser();
  if (user === null) return read;
  const tokenFile = tokenFileOf(text, user.name);
  const complete: User =
    tokenFile === undefined
      ? withExecInfo(user)
      : { ...user, token: undefined, authProvider: { name: 'tokenFile', config: { tokenFile: resolve(dirname(file), tokenFile) } } };
  const whole = new KubeConfig();
  whole.loadFromOptions({
    clusters: read.clusters,
    contexts: read.contexts,
    users: read.users.map((other) => (other.name === user.name ? complete : other)),
    currentContext: read.currentContext,
  });
  return whole;
}

function load(kubeconfig: string | undefined, root: string): KubeConfig {
  if (kubeconfig !== undefined) return readFile(kubeconfig);
  const pod = new KubeConfig();
  pod.loadFromCluster(root);
  return pod;
}

function headersOf(options: RequestOptions): Record<string, string> {
  const headers: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.headers ?? {})) if (typeof value === 'string') headers[name] = value.trim();
  if (typeof options.auth === 'string') headers.Authorization = `Basic ${Buffer.from(options.auth).toString('base64')}`;
  return headers;
}

/** client-go: a server without a scheme is one by TLS where the cluster or the user speaks of certificates. Throws a sentence. */
function serverOf({ server, caData, caFile, skipTLSVerify }: Cluster, user: User | null): string {
  const tls = skipTLSVerify || [caData, caFile, user?.certData, user?.certFile].some((given) => given !== undefined && given !== '');
  const whole = server.includes('://') ? server : `${tls ? 'https' : 'http'}://${server}`;
  if (!/^https?:/.test(whole) || !URL.canParse(whole)) throw new Error(`its server ${JSON.stringify(server)} is no URL of http or https`);
  return whole.replace(/\/+$/, '');
}

/** The identity in a kubeconfig, or undefined: in the pod. Throws a sentence where it cannot be read. */
export function readIdentity(kubeconfig: string | undefined, servers: readonly string[], root: string): Identity {
  let config = load(kubeconfig, root);
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new Error('it has no current context with a cluster');
  let stale = false;
  return {
    servers: servers.length > 0 ? servers : [serverOf(cluster, config.getCurrentUser())],
    from: kubeconfig === undefined ? 'the service account of this pod' : `kubeconfig ${kubeconfig}`,
    async credentials(): Promise<Credentials> {
      if (stale) config = load(kubeconfig, root);
      stale = false;
      const current = config.getCurrentCluster();
      const proxy = current?.proxyUrl;
      if (proxy?.startsWith('socks')) throw new Error(`proxy-url ${proxy} of the kubeconfig is a SOCKS proxy, which is not supported`);
      const options: RequestOptions & { servername?: string } = {};
      // It makes an agent of its own, which we do not use, and refuses to for a server without TLS.
      if (current?.server.startsWith('http:')) config.clusters = config.clusters.map((one) => ({ ...one, skipTLSVerify: true }));
      await config.applyToHTTPSOptions(options);
      const { ca, cert, key, servername, rejectUnauthorized } = options as Credentials['tls'];
      return {
        headers: headersOf(options),
        tls: {
          ...(ca === undefined ? {} : { ca }),
          ...(cert === undefined ? {} : { cert }),
          ...(key === undefined ? {} : { key }),
          ...(servername === undefined ? {} : { servername }),
          ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
        },
        proxy: proxy === undefined || proxy === '' ? undefined : proxy,
      };
    },
    renew() {
      stale = true;
    },
  };
}
