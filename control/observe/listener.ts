// How does the agent answer HTTP at one address? It listens, and where the port is taken it goes on trying: whoever has it, often the
// kube-proxy that is being replaced, may go. What is answered is the caller's business; no answer waits for a body.

import { createServer, type Server } from 'node:http';
import { isIPv6 } from 'node:net';
import type { Address } from '../model/model.ts';

/** kube-proxy: a listener that failed is tried again after this time. */
const RETRY_MS = 5_000;
/** A client that has not sent its headers by then is cut off. */
const PATIENCE_MS = 10_000;
/** Probes are few: a flood of connections must not use up our descriptors. */
const CONNECTIONS = 512;

export interface Place {
  /** Unspecified, of either family: all addresses of both, as kube-proxy has it. */
  readonly address: Address;
  readonly port: number;
}

export interface Asked {
  readonly path: string;
  /** Our end of the connection. */
  readonly address: Address;
}

export interface Answer {
  readonly code: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

export type Respond = (asked: Asked) => Answer | Promise<Answer>;

export interface Listener {
  /** Resolves when the first attempt is over, well or not. */
  readonly tried: Promise<void>;
  /** Where it listens; undefined: not now. */
  bound(): Place | undefined;
  /** Why it does not listen, in the kernel's words; undefined: it does, or has not tried yet. */
  refusal(): string | undefined;
  /** The port is free when this returns; connections end. */
  close(): void;
}

/** Text as Go's net/http would answer it. */
export function text(code: number, body: string): Answer {
  return { code, headers: { 'Content-Type': 'text/plain; charset=utf-8', 'X-Content-Type-Options': 'nosniff' }, body };
}

/** As kube-proxy's pages are, whose readers must not guess at the type. */
export function json(code: number, value: unknown): Answer {
  return { code, headers: { 'Content-Type': 'application/json', 'X-Content-Type-Options': 'nosniff' }, body: JSON.stringify(value) };
}

/** The kernel did not let us look: the one who asked is told. */
function failed(error: unknown): Answer {
  return text(500, `${error instanceof Error ? error.message : String(error)}\n`);
}

export const NOT_FOUND = text(404, '404 page not found\n');

/** `198.51.100.1:80`, `[fd00::1]:80`. */
export function placeText({ address, port }: Place): string {
  return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
}

function serve(respond: Respond): Server {
  const answerTo = async (asked: Asked): Promise<Answer> => {
    try {
      return await respond(asked);
    } catch (error) {
      return failed(error);
    }
  };
  const server = createServer(
    { requestTimeout: PATIENCE_MS, headersTimeout: PATIENCE_MS, keepAliveTimeout: PATIENCE_MS },
    (request, response) => {
      const path = (request.url ?? '/').split('?', 1)[0]!;
      const local = request.socket.localAddress ?? '';
      // A socket for both families shows IPv4 as ::ffff:a.b.c.d.
      const address = local.startsWith('::ffff:') ? local.slice('::ffff:'.length) : local;
      void (async () => {
        const { code, headers, body } = await answerTo({ path, address });
        if (response.destroyed) return;
        response.writeHead(code, { ...headers, 'Content-Length': Buffer.byteLength(body) });
        response.end(request.method === 'HEAD' ? undefined : body);
      })();
    },
  );
  server.maxConnections = CONNECTIONS;
  // A client that speaks no HTTP, or leaves in the middle, is its own business.
  server.on('clientError', (_, socket) => socket.destroy());
  return server;
}

function isUnspecified(address: Address): boolean {
  return address === '0.0.0.0' || address === '::';
}

/** Opens a listener. onChange: refusal() or bound() changed. */
export function openListener(place: Place, respond: Respond, onChange: () => void, retryMs: number = RETRY_MS): Listener {
  const { promise, resolve } = Promise.withResolvers<void>();
  let server: Server | undefined;
  let bound: Place | undefined;
  let refusal: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  const attempt = (host: Address) => {
    timer = undefined;
    const own = serve(respond);
    server = own;
    own.on('error', (error: NodeJS.ErrnoException) => {
      // While it listens: one connection that was not accepted, and no other is concerned.
      if (closed || own.listening) return;
      // A node without IPv6.
      if (host === '::' && (error.code === 'EAFNOSUPPORT' || error.code === 'EADDRNOTAVAIL')) return attempt('0.0.0.0');
      server = undefined;
      timer = setTimeout(() => attempt(host), retryMs);
      const before = refusal;
      refusal = error.code ?? error.message;
      if (refusal !== before) onChange();
      resolve();
    });
    own.listen({ host, port: place.port, ipv6Only: false }, () => {
      if (closed) return;
      const at = own.address();
      bound = { address: place.address, port: typeof at === 'object' && at !== null ? at.port : place.port };
      refusal = undefined;
      onChange();
      resolve();
    });
  };
  attempt(isUnspecified(place.address) ? '::' : place.address);
  return {
    tried: promise,
    bound: () => bound,
    refusal: () => refusal,
    close() {
      closed = true;
      bound = undefined;
      clearTimeout(timer);
      server?.close();
      server?.closeAllConnections();
      resolve();
    },
  };
}
