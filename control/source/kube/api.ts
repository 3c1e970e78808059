// How is the API server asked? HTTP with our identity to one of its addresses, and to the next where that one does not answer.
// It knows no resource: what is asked for, and when again, is its callers' business.

import { Agent, type Dispatcher, ProxyAgent } from 'undici';
import { member } from '../fields.ts';
import type { Credentials, Identity } from './identity.ts';

/** How long a server is waited for, in ms. */
export interface Patience {
  readonly connect: number;
  /** It took the connection and says nothing: then it is as good as away. */
  readonly headers: number;
  /** Likewise between two pieces of an answer that has an end. */
  readonly body: number;
}

const PATIENCE: Patience = { connect: 5_000, headers: 15_000, body: 15_000 };
/** Of an answer that is an error so much is read. */
const ERROR_BYTES_MOST = 64 * 1024;
const RETRY_AFTER_MS_MOST = 60_000;

/** Why a request has no result. The message is for people and begins with the server's address. */
export class ApiError extends Error {
  /** HTTP status, or the code of a Status object; undefined: no server answered. */
  readonly status: number | undefined;
  /** The server asked to be left alone for so long. */
  readonly retryAfterMs: number | undefined;
  constructor(message: string, status?: number, retryAfterMs?: number) {
    super(message);
    this.name = 'ApiError';
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

export interface RequestOptions {
  readonly query?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Of the body; application/json where absent. */
  readonly contentType?: string;
  readonly signal?: AbortSignal;
}

export interface Api {
  /** The address in use. */
  readonly server: string;
  readonly identity: Identity;
  /** Resolves with the answer's JSON value. Rejects with an ApiError, or with the reason of the signal. */
  request(method: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE', path: string, options?: RequestOptions): Promise<unknown>;
  /** Resolves when the answer begins; its bytes come until either end closes. Rejects likewise. */
  watch(path: string, options: Pick<RequestOptions, 'query' | 'signal'>): Promise<AsyncIterable<Uint8Array>>;
  close(): Promise<void>;
}

/** undici and Node put the reason of a failed connection at several depths. */
function reasonOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return [...new Set(error.errors.map(reasonOf))].join(', ');
  if (!(error instanceof Error)) return String(error);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : undefined;
  return code === undefined || error.message.includes(code) ? error.message : `${error.message} (${code})`;
}

/** Nothing was sent: even what must not be done twice may be tried elsewhere. */
function isUnsent(error: unknown): boolean {
  const code = error instanceof Error && 'code' in error ? error.code : undefined;
  return ['ECONNREFUSED', 'EHOSTUNREACH', 'ENETUNREACH', 'ENOTFOUND', 'EAI_AGAIN', 'UND_ERR_CONNECT_TIMEOUT'].includes(code as string);
}

function retryAfterMs(headers: Dispatcher.ResponseData['headers']): number | undefined {
  const seconds = Number(headers['retry-after']);
  return Number.isFinite(seconds) && seconds > 0 ? Math.min(seconds * 1000, RETRY_AFTER_MS_MOST) : undefined;
}

/** What the server says is wrong, as far as it comes within the time. */
async function readError(body: Dispatcher.ResponseData['body'], withinMs: number): Promise<string> {
  let text = '';
  // That of a watch would be waited for without an end.
  const timer = setTimeout(() => body.destroy(), withinMs);
  try {
    for await (const piece of body) {
      text += String(piece);
      if (text.length > ERROR_BYTES_MOST) break;
    }
  } catch (error) {
    text ||= reasonOf(error);
  } finally {
    clearTimeout(timer);
  }
  try {
    const message = member(JSON.parse(text), 'message');
    if (typeof message === 'string') return message;
  } catch {
    // Not from an API server, but from something before it.
  }
  return text.trim().split('\n')[0]!.slice(0, 200);
}

function keyOf({ tls, proxy }: Credentials): string {
  return JSON.stringify([tls.ca, tls.cert, tls.key, tls.servername, tls.rejectUnauthorized, proxy].map((part) => String(part)));
}

function makeDispatcher({ tls, proxy }: Credentials, patience: Patience): Dispatcher {
  const connect = { ...tls, timeout: patience.connect, keepAlive: true, keepAliveInitialDelay: 15_000 };
  // Every watch has a connection of its own, and none waits for another's to be made.
  const common = { headersTimeout: patience.headers, bodyTimeout: patience.body, allowH2: false };
  return proxy === undefined ? new Agent({ ...common, connect }) : new ProxyAgent({ ...common, uri: proxy, requestTls: connect });
}

/** Opens a way to the API server; nothing is sent yet. `userAgent` names us in its logs. */
export function openApi(identity: Identity, userAgent: string, patience: Patience = PATIENCE): Api {
  const { servers } = identity;
  let current = 0;
  let dispatcher: { readonly key: string; readonly it: Dispatcher } | undefined;

  /** Certificates rotate: connections that are open go on with the old ones. */
  const dispatcherFor = (credentials: Credentials): Dispatcher => {
    const key = keyOf(credentials);
    if (dispatcher?.key === key) return dispatcher.it;
    void dispatcher?.it.close();
    dispatcher = { key, it: makeDispatcher(credentials, patience) };
    return dispatcher.it;
  };

  const credentials = async (): Promise<Credentials> => {
    try {
      return await identity.credentials();
    } catch (error) {
      throw new ApiError(`${identity.from}: ${error instanceof Error ? error.message.trim() : String(error)}`);
    }
  };

  /** Asks the servers in turn, beginning with the one in use, until one answers and is not broken inside. */
  const exchange = async (
    method: Dispatcher.HttpMethod,
    path: string,
    { query, body, contentType, signal }: RequestOptions,
    bodyTimeout: number,
  ): Promise<Dispatcher.ResponseData['body']> => {
    const { headers, ...given } = await credentials();
    const through = dispatcherFor({ headers, ...given });
    const failures: string[] = [];
    let refused: ApiError | undefined;
    for (let tried = 0; tried < servers.length; tried++) {
      const index = (current + tried) % servers.length;
      const server = servers[index]!;
      const base = new URL(server);
      const search = query === undefined ? '' : `?${new URLSearchParams(query)}`;
      let response: Dispatcher.ResponseData;
      try {
        signal?.throwIfAborted();
        response = await through.request({
          origin: base.origin,
          path: `${base.pathname.replace(/\/$/, '')}${path}${search}`,
          method,
          headers: {
            ...headers,
            accept: 'application/json',
            'user-agent': userAgent,
            ...(body === undefined ? {} : { 'content-type': contentType ?? 'application/json' }),
          },
          body: body === undefined ? null : JSON.stringify(body),
          signal: signal ?? null,
          bodyTimeout,
        });
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        failures.push(`${server}: ${reasonOf(error)}`);
        if (method !== 'GET' && !isUnsent(error)) break;
        continue;
      }
      if (response.statusCode < 300) {
        current = index;
        return response.body;
      }
      const status = response.statusCode;
      const message = await readError(response.body, patience.body);
      if (status === 401) identity.renew();
      refused = new ApiError(
        `${server}: ${method} ${path}: ${status}${message === '' ? '' : ` ${message}`}`,
        status,
        retryAfterMs(response.headers),
      );
      // A server that is broken inside may have a neighbour that is not; any other answer is the cluster's.
      if (status >= 500 && method === 'GET') continue;
      current = index;
      throw refused;
    }
    throw refused ?? new ApiError(failures.join('; '));
  };

  return {
    get server() {
      return servers[current]!;
    },
    identity,
    async request(method, path, options = {}) {
      const body = await exchange(method, path, options, patience.body);
      try {
        return await body.json();
      } catch (error) {
        if (options.signal?.aborted) throw options.signal.reason;
        throw new ApiError(`${servers[current]}: ${method} ${path}: the answer broke off: ${reasonOf(error)}`);
      }
    },
    // The caller watches over the silence of a watch.
    watch: (path, options) => exchange('GET', path, options, 0),
    async close() {
      await dispatcher?.it.destroy();
    },
  };
}
