// What health probes and load balancers are told: the bodies, headers and codes of kube-proxy, and the sockets behind them.

import assert from 'node:assert/strict';
import { channel } from 'node:diagnostics_channel';
import { Agent, request, type Server } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import type { ModelService } from '../control/model/model.ts';
import { type Health, healthPages, type Readiness } from '../control/observe/health.ts';
import { type HealthPorts, openHealthPorts } from '../control/observe/health-ports.ts';
import { type Listener, openListener, type Respond } from '../control/observe/listener.ts';
import { service } from './lib/services.ts';

const NOW = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
const WELL: Health = { now: NOW, updatedAt: NOW - 5_000, oldestChangeMs: undefined, lateAfterMs: 60_000, nodeEligible: true };
const READY: Readiness = { serving: true, synced: true, generationWanted: 7, generationApplied: 7, refusal: undefined, gatherMs: 0 };

/** Asks a page as it is with this health; the body is compared as text, since clients read it with their eyes too. */
async function asked(path: string, health: Partial<Health> = {}, readiness: Partial<Readiness> = {}) {
  const answered: string[] = [];
  const pages = healthPages({
    health: () => ({ ...WELL, ...health }),
    readiness: () => ({ ...READY, ...readiness }),
    onAnswer: (page, code) => answered.push(`${page} ${code}`),
  });
  return { ...(await pages({ path, address: '192.0.2.1' })), answered };
}

describe('/healthz (12.3)', () => {
  it('is kube-proxy’s body and headers, lastUpdated being now', async () => {
    const { code, headers, body, answered } = await asked('/healthz');
    assert.equal(code, 200);
    assert.deepEqual(headers, { 'Content-Type': 'application/json', 'X-Content-Type-Options': 'nosniff' });
    assert.equal(
      body,
      '{"lastUpdated":"2026-01-02T03:04:05.678Z","currentTime":"2026-01-02T03:04:05.678Z","nodeEligible":true,"healthy":true,' +
        '"status":{"IPv4":{"lastUpdated":"2026-01-02T03:04:00.678Z","healthy":true},"IPv6":{"lastUpdated":"2026-01-02T03:04:00.678Z","healthy":true}}}',
    );
    assert.deepEqual(answered, ['healthz 200']);
  });

  it('turns red when a change is twice syncPeriod old, and says when it was last up to date', async () => {
    assert.equal((await asked('/healthz', { oldestChangeMs: 59_999 })).code, 200);
    const { code, body, answered } = await asked('/healthz', { oldestChangeMs: 60_000 });
    assert.equal(code, 503);
    assert.equal(
      body,
      '{"lastUpdated":"2026-01-02T03:04:00.678Z","currentTime":"2026-01-02T03:04:05.678Z","nodeEligible":true,"healthy":false,' +
        '"status":{"IPv4":{"lastUpdated":"2026-01-02T03:04:00.678Z","healthy":false},"IPv6":{"lastUpdated":"2026-01-02T03:04:00.678Z","healthy":false}}}',
    );
    assert.deepEqual(answered, ['healthz 503']);
  });

  it('is red on a node that leaves, which is healthy all the same', async () => {
    const { code, body } = await asked('/healthz', { nodeEligible: false });
    assert.equal(code, 503);
    assert.match(body, /"nodeEligible":false,"healthy":true,/);
  });

  it('is green while starting, whatever waits, and has no status yet (12.5)', async () => {
    const { code, body } = await asked('/healthz', { updatedAt: undefined, oldestChangeMs: 600_000 });
    assert.equal(code, 200);
    assert.doesNotMatch(body, /status/);
    assert.match((await asked('/healthz', { updatedAt: undefined, nodeEligible: false })).body, /^{"lastUpdated":"0001-01-01T00:00:00Z",/);
  });

  it('stays green for hours while the API server, which makes all changes, is away (12.5)', async () => {
    assert.equal((await asked('/healthz', { updatedAt: NOW - 6 * 3_600_000 })).code, 200);
  });
});

describe('/livez (12.4)', () => {
  it('does not mind that the node leaves, and does not speak of it', async () => {
    const { code, body, answered } = await asked('/livez', { nodeEligible: false });
    assert.equal(code, 200);
    assert.doesNotMatch(body, /nodeEligible/);
    assert.deepEqual(answered, ['livez 200']);
  });
  it('turns red with a late change', async () => {
    assert.equal((await asked('/livez', { oldestChangeMs: 60_000 })).code, 503);
  });
});

describe('/readyz', () => {
  const rows: [sentence: string, health: Partial<Health>, readiness: Partial<Readiness>, code: number][] = [
    ['all is in the kernel', {}, {}, 200],
    ['a change that has just come waits for its turn', { oldestChangeMs: 900 }, { generationWanted: 8 }, 200],
    ['a change waits as long as minSyncPeriod lets it', { oldestChangeMs: 9_000 }, { generationWanted: 8, gatherMs: 10_000 }, 200],
    ['a change waits longer than that', { oldestChangeMs: 9_000 }, { generationWanted: 8 }, 503],
    ['the kernel refuses, at once', { oldestChangeMs: 100 }, { generationWanted: 8, refusal: 'set frontends4: ENOMEM' }, 503],
    ['the source has not said everything yet', { updatedAt: undefined }, { synced: false }, 503],
    ['programs are not attached yet', {}, { serving: false }, 503],
    ['the node leaves: what it serves it still serves', { nodeEligible: false }, {}, 200],
  ];
  for (const [sentence, health, readiness, code] of rows) {
    it(`${code}: ${sentence}`, async () => assert.equal((await asked('/readyz', health, readiness)).code, code));
  }
  it('says why', async () => {
    const { body } = await asked('/readyz', { oldestChangeMs: 100 }, { generationWanted: 8, refusal: 'set frontends4: ENOMEM' });
    assert.deepEqual(JSON.parse(body), {
      ready: false,
      reason: 'the kernel refused: set frontends4: ENOMEM',
      currentTime: '2026-01-02T03:04:05.678Z',
      lastUpdated: '2026-01-02T03:04:00.678Z',
      generationWanted: 8,
      generationApplied: 7,
      oldestChangeSeconds: 0.1,
    });
  });
  it('any other page is none', async () => assert.equal((await asked('/statusz')).code, 404));
});

/** A port of 127.0.0.1 that is taken until it is let go. */
async function takenPort(port = 0): Promise<{ port: number; free(): Promise<void> }> {
  const server = createServer((socket) => socket.destroy());
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve));
  return { port: (server.address() as AddressInfo).port, free: () => new Promise((resolve) => server.close(() => resolve())) };
}

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const taken = await takenPort();
  await taken.free();
  return taken.port;
}

/** Resolves when what a callback tells of has come true. */
function watched() {
  let look = () => {};
  return {
    changed: () => look(),
    until: (condition: () => boolean) =>
      new Promise<void>((resolve) => {
        look = () => {
          if (condition()) resolve();
        };
        look();
      }),
  };
}

describe('a listener', () => {
  const open: Listener[] = [];
  afterEach(() => {
    for (const one of open.splice(0)) one.close();
  });
  const hello: Respond = ({ path, address }) => ({ code: 200, headers: {}, body: `${path} at ${address}` });
  const listen = (address: string, port: number, onChange = () => {}, retryMs = 20) => {
    const one = openListener({ address, port }, hello, onChange, retryMs);
    open.push(one);
    return one;
  };

  it('on the unspecified address serves both families, each by its own address', async () => {
    const one = listen('0.0.0.0', 0);
    await one.tried;
    const { port } = one.bound()!;
    assert.equal(await (await fetch(`http://127.0.0.1:${port}/a?b`)).text(), '/a at 127.0.0.1');
    assert.equal(await (await fetch(`http://[::1]:${port}/`)).text(), '/ at ::1');
  });

  it('that cannot accept a connection goes on listening, however often', async () => {
    const one = listen('127.0.0.1', 0);
    await one.tried;
    const { port } = one.bound()!;
    const server = new Promise<Server>((resolve) => {
      channel('http.server.request.start').subscribe((told) => resolve((told as { server: Server }).server));
    });
    assert.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 200);
    for (let times = 0; times < 2; times++) (await server).emit('error', Object.assign(new Error('accept EMFILE'), { code: 'EMFILE' }));
    assert.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 200);
    assert.deepEqual([one.refusal(), one.bound()?.port], [undefined, port]);
  });

  it('whose port is taken says so and listens once it is free', async () => {
    const taken = await takenPort();
    const watch = watched();
    const one = listen('127.0.0.1', taken.port, watch.changed);
    await one.tried;
    assert.deepEqual([one.refusal(), one.bound()], ['EADDRINUSE', undefined]);
    await taken.free();
    await watch.until(() => one.bound() !== undefined);
    assert.equal(one.refusal(), undefined);
    assert.equal((await fetch(`http://127.0.0.1:${taken.port}/`)).status, 200);
  });

  it('gives its port back at once, although a client keeps a connection open', async () => {
    const one = listen('127.0.0.1', 0);
    await one.tried;
    const { port } = one.bound()!;
    await (await fetch(`http://127.0.0.1:${port}/`)).text();
    one.close();
    const next = await takenPort(port);
    await next.free();
  });

  it('answers what is no HTTP by ending the connection, and goes on', async () => {
    const one = listen('127.0.0.1', 0);
    await one.tried;
    const { port } = one.bound()!;
    await new Promise<void>((resolve) =>
      connect(port, '127.0.0.1')
        .on('error', () => {})
        .on('close', () => resolve())
        .end('\x16\x03\x01 nonsense\r\n\r\n'),
    );
    assert.equal((await fetch(`http://127.0.0.1:${port}/`)).status, 200);
  });
});

describe('healthCheckNodePort (12.1, 12.2)', () => {
  let healthy = true;
  const unserved = new Set<string>();
  let ports: HealthPorts;
  const watch = watched();
  const start = () => {
    healthy = true;
    ports = openHealthPorts(
      'node-a',
      () => healthy,
      (service) => !unserved.has(service),
      watch.changed,
      20,
    );
  };
  afterEach(() => ports.close());

  const asks = (key: string, port: number, ...counts: [4 | 6, number][]): [string, ModelService] => [
    key,
    { ...service(key, []), healthCheck: { port, localEndpoints: new Map(counts) } },
  ];
  const follow = (...services: [string, ModelService][]) => ports.follow(new Map(services), undefined, ['127.0.0.1']);

  /** Asks until it listens: a server's first moment is not told of. */
  async function get(port: number, path = '/', host = '127.0.0.1'): Promise<Response> {
    for (let left = 100; ; left--) {
      try {
        return await fetch(`http://${host}:${port}${path}`);
      } catch (error) {
        if (left === 0) throw error;
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
    }
  }
  const isClosed = async (port: number) => {
    const refused = await new Promise<string | undefined>((resolve) => {
      const socket = connect(port, '127.0.0.1', () => resolve(undefined));
      socket.on('error', ({ code }: NodeJS.ErrnoException) => resolve(code)).on('close', () => socket.destroy());
    });
    assert.equal(refused, 'ECONNREFUSED');
  };

  it('is kube-proxy’s answer, on any path', async () => {
    start();
    const port = await freePort();
    follow(asks('shop/web', port, [4, 2]));
    const answer = await get(port, '/any/path');
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get('content-type'), 'application/json');
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff');
    assert.equal(answer.headers.get('x-load-balancing-endpoint-weight'), '2');
    const body =
      '{\n\t"service": {\n\t\t"namespace": "shop",\n\t\t"name": "web"\n\t},\n\t"localEndpoints": 2,\n\t"serviceProxyHealthy": true\n}';
    assert.equal(await answer.text(), body);
  });

  it('503 without a local endpoint, and 503 while changes do not get through', async () => {
    start();
    const port = await freePort();
    follow(asks('shop/web', port, [4, 0]));
    assert.equal((await get(port)).status, 503);
    follow(asks('shop/web', port, [4, 1]));
    assert.equal((await get(port)).status, 200);
    healthy = false;
    const unhealthy = await get(port);
    assert.equal(unhealthy.status, 503);
    assert.deepEqual(await unhealthy.json(), {
      service: { namespace: 'shop', name: 'web' },
      localEndpoints: 1,
      serviceProxyHealthy: false,
    });
  });

  it('503 while the Service has no room in the maps, whatever endpoints it has', async () => {
    start();
    const port = await freePort();
    follow(asks('shop/web', port, [4, 2]));
    assert.equal((await get(port)).status, 200);
    unserved.add('shop/web');
    const answer = await get(port);
    assert.deepEqual([answer.status, answer.headers.get('x-load-balancing-endpoint-weight')], [503, '0']);
    unserved.clear();
    assert.equal((await get(port)).status, 200);
  });

  it('counts the endpoints of the family that was asked', async () => {
    start();
    const port = await freePort();
    ports.follow(new Map([asks('shop/web', port, [4, 0], [6, 3])]), undefined, ['127.0.0.1', '::1']);
    assert.deepEqual([(await get(port)).status, (await get(port, '/', '[::1]')).status], [503, 200]);
    ports.follow(new Map([asks('shop/web', port, [6, 3])]), undefined, ['127.0.0.1', '::1']);
    assert.equal((await get(port)).headers.get('x-load-balancing-endpoint-weight'), '3');
  });

  it('an unchanged port keeps its connections; a changed one closes the old and opens the new; a Service that goes closes', async () => {
    start();
    const [first, second] = [await freePort(), await freePort()];
    follow(asks('shop/web', first, [4, 1]));
    await get(first);
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const ask = () =>
      new Promise<{ code: number | undefined; reused: boolean }>((resolve, reject) => {
        const sent = request({ port: first, host: '127.0.0.1', agent }, (response) =>
          response.resume().on('end', () => resolve({ code: response.statusCode, reused: sent.reusedSocket })),
        );
        sent.on('error', reject).end();
      });
    await ask();
    follow(asks('shop/web', first, [4, 0]), asks('shop/other', second, [4, 1]));
    assert.deepEqual(await ask(), { code: 503, reused: true });
    agent.destroy();
    follow(asks('shop/web', second, [4, 1]));
    await isClosed(first);
    assert.match(await (await get(second)).text(), /"name": "web"/);
    follow();
    await isClosed(second);
    assert.deepEqual(ports.problems(), []);
  });

  it('a port that is taken is a Problem of its Service alone, and is served once it is free', async () => {
    start();
    const taken = await takenPort();
    const free = await freePort();
    follow(asks('shop/web', taken.port, [4, 1]), asks('shop/other', free, [4, 1]));
    await watch.until(() => ports.problems().length > 0);
    const [problem] = ports.problems();
    assert.deepEqual([problem!.object, problem!.reason], ['Service shop/web', 'FailedToStartServiceHealthcheck']);
    assert.match(problem!.message, new RegExp(`^node node-a cannot listen on 127\\.0\\.0\\.1:${taken.port} \\(EADDRINUSE\\)`));
    assert.equal((await get(free)).status, 200);
    await taken.free();
    await watch.until(() => ports.problems().length === 0);
    assert.equal((await get(taken.port)).status, 200);
  });

  it('follows the addresses of the node', async () => {
    start();
    const port = await freePort();
    const services = new Map([asks('shop/web', port, [4, 1])]);
    const none: ReadonlySet<string> = new Set();
    ports.follow(services, undefined, ['127.0.0.1']);
    assert.equal((await get(port)).status, 200);
    ports.follow(services, none, ['127.0.0.2']);
    assert.equal((await get(port, '/', '127.0.0.2')).status, 200);
    await isClosed(port);
    // An address that is on no device yet.
    ports.follow(services, none, ['192.0.2.55', '127.0.0.2']);
    await watch.until(() => ports.problems().length > 0);
    assert.match(ports.problems()[0]!.message, /192\.0\.2\.55:\d+ \(EADDRNOTAVAIL\)/);
    assert.equal((await get(port, '/', '127.0.0.2')).status, 200);
  });

  it('looks at nothing but what changed', async () => {
    start();
    const [one, other] = [await freePort(), await freePort()];
    follow(asks('shop/web', one, [4, 1]));
    await get(one);
    ports.follow(new Map([asks('shop/web', other, [4, 1])]), new Set(), ['127.0.0.1']);
    assert.equal((await get(one)).status, 200);
    ports.follow(new Map([asks('shop/web', other, [4, 1])]), new Set(['shop/web']), ['127.0.0.1']);
    assert.equal((await get(other)).status, 200);
  });
});
