// An API server whose every misbehaviour is a line of a test: it keeps objects with a history, lists and watches them as the real one
// does, and takes orders about the next answer. It proves the client only; what the real server does is in kube.root.test.ts.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Credentials, Identity } from '../../control/source/kube/identity.ts';
import type { Raw } from './objects.ts';

export interface Asked {
  readonly at: number;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly authorization: string | undefined;
}

/** A watch that is open. */
export interface OpenWatch {
  readonly path: string;
  send(line: string): void;
  end(): void;
  reset(): void;
}

interface Change {
  readonly version: number;
  readonly path: string;
  readonly key: string;
  /** undefined: it went. */
  readonly now: Raw | undefined;
  readonly before: Raw | undefined;
}

/** What a test may do with a request before the server does what is usual; true: it is done with. */
export type Order = (asked: Asked, response: ServerResponse) => boolean;

export interface ScriptedApi {
  readonly url: string;
  readonly asked: Asked[];
  readonly watches: Set<OpenWatch>;
  /** Of a server that cannot do it: refuses, or knows nothing of it. */
  watchList: 'served' | 'refused' | 'ignored';
  bookmarks: boolean;
  order: Order | undefined;
  version(): number;
  put(path: string, object: Raw): void;
  remove(path: string, key: string): void;
  objects(path: string): Raw[];
  /** Nobody can resume from before now. */
  compact(): void;
  /** Every open watch gets a bookmark. */
  bookmark(): void;
  identity(more?: readonly string[]): Identity;
  /** Takes no connection any more and resets those that are open. */
  down(): Promise<void>;
  /** Listens again, on the same port. */
  up(): Promise<void>;
  close(): Promise<void>;
}

export const SERVICES = '/api/v1/services';
export const SLICES = '/apis/discovery.k8s.io/v1/endpointslices';
export const NODES = '/api/v1/nodes';
export const CIDRS = '/apis/networking.k8s.io/v1/servicecidrs';

const KINDS: Readonly<Record<string, { kind: string; apiVersion: string }>> = {
  [SERVICES]: { kind: 'Service', apiVersion: 'v1' },
  [SLICES]: { kind: 'EndpointSlice', apiVersion: 'discovery.k8s.io/v1' },
  [NODES]: { kind: 'Node', apiVersion: 'v1' },
  [CIDRS]: { kind: 'ServiceCIDR', apiVersion: 'networking.k8s.io/v1' },
};

type Meta = { name: string; namespace?: string; labels?: Record<string, string> };

function metaOf(object: Raw): Meta {
  return object.metadata as Meta;
}

function keyOf(object: Raw): string {
  const { name, namespace } = metaOf(object);
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** `!label` and the two field selectors that are asked for. */
function selects(query: URLSearchParams, object: Raw): boolean {
  const labels = metaOf(object).labels ?? {};
  for (const term of query.get('labelSelector')?.split(',') ?? []) if (Object.hasOwn(labels, term.slice(1))) return false;
  const field = query.get('fieldSelector');
  if (field?.startsWith('metadata.name=')) return metaOf(object).name === field.slice('metadata.name='.length);
  if (field === 'spec.clusterIP!=None') return (object.spec as { clusterIP?: string } | undefined)?.clusterIP !== 'None';
  return true;
}

export function fail(response: ServerResponse, code: number, message: string, headers: Record<string, string> = {}): true {
  response.writeHead(code, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify({ kind: 'Status', apiVersion: 'v1', status: 'Failure', code, message }));
  return true;
}

export function eventLine(type: string, object: unknown): string {
  return `${JSON.stringify({ type, object })}\n`;
}

export function errorLine(code: number, message: string): string {
  return eventLine('ERROR', { kind: 'Status', apiVersion: 'v1', status: 'Failure', code, message });
}

/** Opens it on a port of its own on 127.0.0.1. */
export async function openScriptedApi(): Promise<ScriptedApi> {
  const current = new Map<string, Map<string, Raw>>(Object.keys(KINDS).map((path) => [path, new Map()]));
  const history: Change[] = [];
  const sockets = new Set<Socket>();
  let version = 100;
  let oldest = 0;
  let port = 0;

  const stamped = (path: string, object: Raw, at: number): Raw => ({
    ...KINDS[path],
    ...object,
    metadata: { ...metaOf(object), resourceVersion: String(at) },
  });
  const bookmarkLine = (path: string, ends: boolean): string =>
    eventLine('BOOKMARK', {
      ...KINDS[path],
      metadata: { resourceVersion: String(version), ...(ends ? { annotations: { 'k8s.io/initial-events-end': 'true' } } : {}) },
    });

  /** The event of a change as a watch with these selectors sees it. */
  const lineOf = (change: Change, query: URLSearchParams): string | undefined => {
    const was = change.before !== undefined && selects(query, change.before);
    const is = change.now !== undefined && selects(query, change.now);
    if (is) return eventLine(was ? 'MODIFIED' : 'ADDED', stamped(change.path, change.now!, change.version));
    return was ? eventLine('DELETED', stamped(change.path, change.before!, change.version)) : undefined;
  };

  const list = (path: string, query: URLSearchParams, response: ServerResponse): void => {
    const all = [...current.get(path)!.values()].filter((object) => selects(query, object)).sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
    const limit = Number(query.get('limit') ?? all.length);
    const [from, at] = (query.get('continue') ?? `0:${version}`).split(':').map(Number) as [number, number];
    if (at < oldest) return void fail(response, 410, 'the provided continue parameter is too old');
    const more = from + limit < all.length ? { continue: `${from + limit}:${at}` } : {};
    const { kind, apiVersion } = KINDS[path]!;
    const items = all.slice(from, from + limit).map((object) => {
      const { kind: _, apiVersion: __, ...item } = stamped(path, object, at);
      return item;
    });
    response.writeHead(200, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ kind: `${kind}List`, apiVersion, metadata: { resourceVersion: String(at), ...more }, items }));
  };

  const watch = (path: string, query: URLSearchParams, response: ServerResponse): void => {
    const initial = query.get('sendInitialEvents') === 'true';
    const since = Number(query.get('resourceVersion') ?? 0);
    if (initial && api.watchList === 'refused')
      return void fail(
        response,
        422,
        'sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled',
      );
    if (since > 0 && since < oldest) return void fail(response, 410, 'too old resource version');
    response.writeHead(200, { 'content-type': 'application/json' });
    response.flushHeaders();
    const open: OpenWatch & { tell(change: Change): void } = {
      path,
      send: (line) => void response.write(line),
      end() {
        // Nobody writes to it before its client has noticed.
        api.watches.delete(open);
        response.end();
      },
      reset: () => void response.socket?.resetAndDestroy(),
      tell(change) {
        const line = lineOf(change, query);
        if (line !== undefined) response.write(line);
      },
    };
    if (initial) {
      for (const object of current.get(path)!.values()) {
        if (selects(query, object)) response.write(eventLine('ADDED', stamped(path, object, version)));
      }
      if (api.watchList === 'served') response.write(bookmarkLine(path, true));
    } else {
      for (const change of history) if (change.path === path && change.version > since) open.tell(change);
    }
    api.watches.add(open);
    response.on('close', () => api.watches.delete(open));
  };

  const answer = (request: IncomingMessage, response: ServerResponse): void => {
    const url = new URL(request.url!, 'http://localhost');
    const asked = {
      at: performance.now(),
      path: url.pathname,
      query: url.searchParams,
      authorization: request.headers.authorization,
    };
    api.asked.push(asked);
    if (api.order?.(asked, response) === true) return;
    if (!current.has(asked.path)) return void fail(response, 404, 'the server could not find the requested resource');
    if (asked.query.get('watch') === 'true') watch(asked.path, asked.query, response);
    else list(asked.path, asked.query, response);
  };

  const server = createServer(answer);
  server.keepAliveTimeout = 60_000;
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => socket.destroy());
  });
  const listen = () => new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));

  const change = (path: string, key: string, now: Raw | undefined): void => {
    const before = current.get(path)!.get(key);
    if (now === undefined && before === undefined) return;
    version++;
    if (now === undefined) current.get(path)!.delete(key);
    else current.get(path)!.set(key, now);
    const made = { version, path, key, now, before };
    history.push(made);
    for (const open of api.watches) if (open.path === path) (open as OpenWatch & { tell(change: Change): void }).tell(made);
  };

  const api: ScriptedApi = {
    get url() {
      return `http://127.0.0.1:${port}`;
    },
    asked: [],
    watches: new Set(),
    watchList: 'served',
    bookmarks: true,
    order: undefined,
    version: () => version,
    put: (path, object) => change(path, keyOf(object), object),
    remove: (path, key) => change(path, key, undefined),
    objects: (path) => [...current.get(path)!.values()],
    compact() {
      version++;
      oldest = version;
    },
    bookmark() {
      for (const open of api.watches) open.send(bookmarkLine(open.path, false));
    },
    identity: (more = []) => ({
      servers: [api.url, ...more],
      from: 'a test',
      credentials: async (): Promise<Credentials> => ({ headers: {}, tls: {}, proxy: undefined }),
      renew() {},
    }),
    async down() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.resetAndDestroy();
      await closed;
    },
    up: listen,
    async close() {
      if (server.listening) await api.down();
    },
  };
  await listen();
  port = (server.address() as AddressInfo).port;
  return api;
}
