// What a test says to the API server: objects made, changed and removed, as an administrator. It speaks through `kubectl proxy`, whose socket is a
// file, for the test itself is in no namespace of the lab.
import { Agent as Dispatcher, request } from 'undici';
import type { Raw } from './objects.ts';

/** What the API server answered with a status of 400 or above. */
export class Refused extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

interface Resource {
  readonly prefix: string;
  readonly plural: string;
  readonly namespaced: boolean;
}

const core = 'api/v1';
const resources: Readonly<Record<string, Resource>> = {
  ConfigMap: { prefix: core, plural: 'configmaps', namespaced: true },
  Event: { prefix: 'apis/events.k8s.io/v1', plural: 'events', namespaced: true },
  EndpointSlice: { prefix: 'apis/discovery.k8s.io/v1', plural: 'endpointslices', namespaced: true },
  ClusterRole: { prefix: 'apis/rbac.authorization.k8s.io/v1', plural: 'clusterroles', namespaced: false },
  ClusterRoleBinding: { prefix: 'apis/rbac.authorization.k8s.io/v1', plural: 'clusterrolebindings', namespaced: false },
  Namespace: { prefix: core, plural: 'namespaces', namespaced: false },
  Node: { prefix: core, plural: 'nodes', namespaced: false },
  Pod: { prefix: core, plural: 'pods', namespaced: true },
  Service: { prefix: core, plural: 'services', namespaced: true },
  ServiceAccount: { prefix: core, plural: 'serviceaccounts', namespaced: true },
  ServiceCIDR: { prefix: 'apis/networking.k8s.io/v1', plural: 'servicecidrs', namespaced: false },
};
export type KindName = keyof typeof resources;

/** An object as the API server has it, as far as tests read it. */
export interface Stored extends Raw {
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly uid: string;
    readonly resourceVersion: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly deletionTimestamp?: string;
  };
}

/** `name` of what has no namespace, else `namespace/name`. */
export type Key = string;

function pathOf(kind: string, key: Key | undefined, namespace?: string): string {
  const resource = resources[kind];
  if (!resource) throw new Error(`kube-client.ts does not know ${kind}`);
  const [first, second] = key === undefined ? [namespace, undefined] : resource.namespaced ? key.split('/') : [undefined, key];
  const within = resource.namespaced && first !== undefined ? `namespaces/${first}/` : '';
  return `/${resource.prefix}/${within}${resource.plural}${second === undefined ? '' : `/${second}`}`;
}

function keyOf(object: Raw): { kind: string; namespace: string | undefined; name: string | undefined } {
  const { namespace, name } = (object.metadata ?? {}) as { namespace?: string; name?: string };
  return { kind: object.kind as string, namespace, name };
}

export interface CallOptions {
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: unknown;
  /** Of the body; JSON where nothing is said. */
  readonly contentType?: string;
  readonly timeoutMs?: number;
}

export interface KubeClient {
  /** Any call; the answer's JSON, or its text where it is none. */
  call(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, options?: CallOptions): Promise<unknown>;
  get(kind: KindName, key: Key): Promise<Stored>;
  /** All of a kind, or those of a namespace. */
  list(kind: KindName, namespace?: string, query?: Readonly<Record<string, string>>): Promise<Stored[]>;
  create(object: Raw): Promise<Stored>;
  /** Creates it or makes it what is said here (server-side apply): fields that are left out and were said before go. */
  apply(object: Raw): Promise<Stored>;
  /** Merges into it (RFC 7386: null removes a field). */
  patch(kind: KindName, key: Key, change: Raw, subresource?: string): Promise<Stored>;
  /** Resolves when the server has taken note; finalizers and grace periods may keep the object. */
  delete(kind: KindName, key: Key, query?: Readonly<Record<string, string>>): Promise<void>;
  close(): Promise<void>;
}

/** A client over the socket that `kubectl proxy --unix-socket` made. */
export function openKubeClient(socketPath: string): KubeClient {
  const dispatcher = new Dispatcher({ connect: { socketPath }, connections: 16 });

  const call: KubeClient['call'] = async (method, path, { query, body, contentType = 'application/json', timeoutMs = 10_000 } = {}) => {
    const answer = await request(`http://localhost${path}`, {
      dispatcher,
      method,
      ...(query ? { query } : {}),
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      headers: { 'content-type': contentType },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    const text = await answer.body.text();
    const json = String(answer.headers['content-type']).startsWith('application/json') ? JSON.parse(text) : undefined;
    if (answer.statusCode >= 400) throw new Refused(answer.statusCode, `${method} ${path}: ${answer.statusCode} ${json?.message ?? text}`);
    return json ?? text;
  };

  return {
    call,
    get: async (kind, key) => (await call('GET', pathOf(kind, key))) as Stored,
    async list(kind, namespace, query) {
      const { items } = (await call('GET', pathOf(kind, undefined, namespace), query ? { query } : {})) as { items: Stored[] };
      return items;
    },
    async create(object) {
      const { kind, namespace } = keyOf(object);
      return (await call('POST', pathOf(kind, undefined, namespace), { body: object })) as Stored;
    },
    async apply(object) {
      const { kind, namespace, name } = keyOf(object);
      return (await call('PATCH', pathOf(kind, namespace === undefined ? name : `${namespace}/${name}`), {
        body: object,
        query: { fieldManager: 'test', force: 'true' },
        contentType: 'application/apply-patch+yaml',
      })) as Stored;
    },
    patch: async (kind, key, change, subresource) =>
      (await call('PATCH', `${pathOf(kind, key)}${subresource ? `/${subresource}` : ''}`, {
        body: change,
        contentType: 'application/merge-patch+json',
      })) as Stored,
    async delete(kind, key, query) {
      await call('DELETE', pathOf(kind, key), query ? { query } : {});
    },
    close: () => dispatcher.close(),
  };
}
