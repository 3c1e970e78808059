// What a cluster's users see beside their objects: Events over real HTTP, to a server that holds them to the API's rules, answers slowly or
// wrongly, or is away. Nothing of it may hold the agent up.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, it } from 'node:test';
import { pino } from 'pino';
import type { ModelService } from '../control/model/model.ts';
import { openAnnouncements, regardingOf } from '../control/observe/announcements.ts';
import { type EventSink, type Occurrence, openRecorder, type Pace, type Recorder, type Regarding } from '../control/observe/events.ts';
import { node, objectsOf, service, slice } from './lib/objects.ts';
import { service as modelService } from './lib/services.ts';

interface Stored {
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly regarding: Regarding;
  readonly reason: string;
  readonly note: string;
  readonly type: string;
  readonly series?: { readonly count: number; readonly lastObservedTime: string };
  readonly [field: string]: unknown;
}

const MICRO_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/;
const WORD = /^[A-Za-z]{1,128}$/;

/** kube-apiserver: what it refuses of an Event of events.k8s.io/v1 that is made. */
function invalid(event: Stored, namespace: string): string | undefined {
  const { metadata, regarding } = event;
  if (!/^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(metadata.name) || metadata.name.length > 253) return 'metadata.name';
  if (metadata.namespace !== namespace || namespace !== (regarding.namespace ?? 'default')) return 'metadata.namespace';
  if (!MICRO_TIME.test(String(event.eventTime))) return 'eventTime';
  if (!WORD.test(event.reason) || !WORD.test(String(event.action))) return 'reason';
  if (!/^[a-z.-]+$/.test(String(event.reportingController)) || String(event.reportingInstance).length > 128) return 'reportingController';
  if (!['Normal', 'Warning'].includes(event.type)) return 'type';
  if (event.note.length > 1024) return 'note';
  return 'series' in event || 'deprecatedSource' in event || 'deprecatedCount' in event ? 'series' : undefined;
}

/** The part of an API server that keeps Events, with real sockets. `answer` may have it say something else first. */
class EventServer {
  readonly events = new Map<string, Stored>();
  readonly requests: string[] = [];
  answer: () => number | 'silence' | undefined = () => undefined;
  private readonly server: Server;
  private readonly watching = new Set<() => void>();

  constructor() {
    this.server = createServer(async (request, response) => {
      let text = '';
      for await (const piece of request) text += piece;
      this.requests.push(`${request.method} ${request.headers['content-type']}`);
      const special = this.answer();
      if (special !== 'silence') response.writeHead(special ?? this.take(request.method!, request.url!, text)).end('{}');
      for (const look of this.watching) look();
    });
  }

  private take(method: string, path: string, text: string): number {
    const [, namespace, name] = /^\/apis\/events\.k8s\.io\/v1\/namespaces\/([^/]+)\/events(?:\/([^/]+))?$/.exec(path) ?? [];
    const body = JSON.parse(text);
    if (method === 'POST' && namespace !== undefined && name === undefined) {
      const wrong = invalid(body, namespace);
      if (wrong !== undefined) return 422;
      if (this.events.has(body.metadata.name)) return 409;
      this.events.set(body.metadata.name, body);
      return 201;
    }
    const event = this.events.get(name ?? '');
    if (method !== 'PATCH' || event === undefined) return 404;
    if (!MICRO_TIME.test(body.series?.lastObservedTime) || body.series.count < 2 || Object.keys(body).join() !== 'series') return 422;
    this.events.set(name!, { ...event, ...body });
    return 200;
  }

  async open(): Promise<EventSink> {
    this.server.listen(0, '127.0.0.1');
    await once(this.server, 'listening');
    const { port } = this.server.address() as AddressInfo;
    return {
      async send(method, path, contentType, body, signal) {
        const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
          ...{ method, signal, headers: { 'content-type': contentType }, body: JSON.stringify(body) },
        });
        await answer.text();
        return answer.status;
      },
    };
  }

  /** Resolves when a request has made the condition true. */
  until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!condition()) return;
        this.watching.delete(look);
        resolve();
      };
      this.watching.add(look);
      look();
    });
  }

  close(): void {
    this.server.closeAllConnections();
    this.server.close();
  }
}

const WEB: Regarding = { apiVersion: 'v1', kind: 'Service', namespace: 'shop', name: 'web', uid: 'web-uid' };
const CONFLICT: Occurrence = { type: 'Warning', reason: 'VIPConflict', action: 'Program', note: '203.0.113.1:80 is another Service’s' };

describe('Events', () => {
  let server: EventServer;
  let recorder: Recorder;
  const lines: string[] = [];
  let now = 0;

  async function open(pace: Pace = {}): Promise<void> {
    server = new EventServer();
    lines.length = now = 0;
    const log = pino({ base: null }, { write: (line: string) => void lines.push(line) });
    recorder = openRecorder(await server.open(), 'node-a', log, { gapMs: 0, retryMs: 1, clock: () => now, ...pace });
  }
  afterEach(() => {
    recorder.close();
    server.close();
  });
  const record = (occurrence: Partial<Occurrence> = {}, regarding = WEB) =>
    recorder.record(`${regarding.kind} ${regarding.namespace}/${regarding.name}`, { ...CONFLICT, ...occurrence }, () => regarding);
  const counted = (outcome: keyof ReturnType<Recorder['counts']>, count: number) => () => recorder.counts()[outcome] >= count;
  /** The counts follow the answers by a turn or two. */
  const settled = async (condition: () => boolean) => {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve));
  };

  it('stand beside their object, as the API wants them', async () => {
    await open();
    record();
    await settled(counted('sent', 1));
    const [event] = [...server.events.values()];
    assert.deepEqual(event!.regarding, WEB);
    assert.deepEqual(
      [event!.type, event!.reason, event!.action, event!.note, event!.reportingController, event!.reportingInstance],
      ['Warning', 'VIPConflict', 'Program', '203.0.113.1:80 is another Service’s', 'sluice', 'node-a'],
    );
    assert.deepEqual(server.requests, ['POST application/json']);
  });

  it('of two nodes that start at one moment have names of their own, and a node’s long name is cut to what the API takes', async (t) => {
    t.mock.method(Date, 'now', () => 1_800_000_000_000);
    server = new EventServer();
    const sink = await server.open();
    const nodes = ['node-a', 'b'.repeat(200)].map((name) => openRecorder(sink, name, pino({ level: 'silent' }), { gapMs: 0, retryMs: 1 }));
    for (const one of nodes) one.record('Service shop/web', CONFLICT, () => WEB);
    await settled(() => nodes.every((one) => one.counts().sent + one.counts().refused === 1));
    assert.deepEqual(
      nodes.map((one) => one.counts().refused),
      [0, 0],
    );
    assert.equal(server.events.size, 2);
    [recorder] = nodes as [Recorder];
    nodes[1]!.close();
  });

  it('the same again is counted at the one that is there: the second time at once, later every five minutes', async () => {
    await open();
    record();
    await settled(counted('sent', 1));
    const count = () => [...server.events.values()].map(({ series }) => series?.count);
    record();
    await settled(counted('repeated', 1));
    assert.deepEqual([count(), server.requests.at(-1)], [[2], 'PATCH application/merge-patch+json']);
    for (let i = 0; i < 100; i++) record();
    now = 300_000;
    record();
    await settled(counted('repeated', 2));
    assert.deepEqual([count(), server.requests.length], [[103], 3]);
  });

  it('that does not happen for ten minutes is a new one the next time', async () => {
    await open();
    record();
    await settled(counted('sent', 1));
    now = 600_000;
    record();
    await settled(counted('sent', 2));
    assert.equal(server.events.size, 2);
  });

  it('that the server has forgotten, as it does after an hour, is made again', async () => {
    await open();
    record();
    await settled(counted('sent', 1));
    server.events.clear();
    record();
    await settled(counted('sent', 2));
    assert.equal(server.events.size, 1);
  });

  it('ten at once of one object, then one in five minutes; others are not held up by it', async () => {
    await open();
    for (let i = 0; i < 50; i++) record({ note: `number ${i}` });
    record({}, { ...WEB, name: 'other' });
    await settled(counted('sent', 11));
    assert.deepEqual([recorder.counts().limited, server.events.size], [40, 11]);
    now = 300_000;
    record({ note: 'later' });
    record({ note: 'too much again' });
    await settled(counted('sent', 12));
    assert.equal(recorder.counts().limited, 41);
  });

  it('without a server recording costs nothing, the queue is bounded, and the rest is lost', async () => {
    await open();
    server.close();
    const began = process.cpuUsage().user;
    for (let i = 0; i < 5_000; i++) record({}, { ...WEB, name: `s${i}` });
    assert.ok(process.cpuUsage().user - began < 1_000_000, 'less than a second for 5,000');
    assert.ok(recorder.counts().lost >= 4_499, `${recorder.counts().lost}`);
    // Of one that nobody took the next ones do not wait for ever.
    await settled(counted('lost', 4_505));
    assert.equal(recorder.counts().sent, 0);
  });

  it('waits for a server that is overloaded, and tells it then', async () => {
    await open();
    let refusals = 3;
    server.answer = () => (refusals-- > 0 ? 429 : undefined);
    record();
    await settled(counted('sent', 1));
    assert.deepEqual([server.requests.length, recorder.counts().lost], [4, 0]);
  });

  it('that the server does not want is counted and told once, and not tried again', async () => {
    await open();
    server.answer = () => 403;
    record();
    record({}, { ...WEB, name: 'other' });
    await settled(counted('refused', 2));
    assert.equal(server.requests.length, 2);
    assert.equal(lines.filter((line) => /refused an Event/.test(line)).length, 1);
  });

  it('after close nothing is sent, not even what a silent server has been asked', async () => {
    await open();
    server.answer = () => 'silence';
    record();
    record({ note: 'waits behind it' });
    await server.until(() => server.requests.length === 1);
    recorder.close();
    record({ note: 'too late' });
    await new Promise((resolve) => setImmediate(resolve));
    assert.deepEqual([server.requests.length, recorder.counts().sent], [1, 0]);
  });

  it('the longest names and notes fit, cut between characters', async () => {
    await open();
    const name = `${'a'.repeat(235)}.-${'b'.repeat(20)}`;
    record({ note: 'ü'.repeat(3_000) }, { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', namespace: 'shop', name, uid: '' });
    await settled(counted('sent', 1));
    const [event] = [...server.events.values()];
    assert.match(event!.note, /^ü+…$/);
    assert.ok(Buffer.byteLength(event!.note) <= 1024);
  });

  it('of an object without a namespace are in default', async () => {
    await open();
    record({}, { apiVersion: 'v1', kind: 'Node', namespace: undefined, name: 'node-a', uid: 'node-uid' });
    await settled(counted('sent', 1));
    assert.equal([...server.events.values()][0]!.metadata.namespace, 'default');
  });
});

describe('what becomes an Event, and where', () => {
  const withUid = (manifest: ReturnType<typeof service>, uid: string) => ({
    ...manifest,
    metadata: { ...(manifest.metadata as object), uid },
  });
  const objects = objectsOf(
    withUid(service('shop/web'), 'service-uid'),
    withUid(slice('shop/web', 'web-1', ['10.0.0.1']), 'slice-uid'),
    withUid(node('node-a', ['192.0.2.1']), 'node-uid'),
  );
  const recorded: string[] = [];
  const recorder: Recorder = {
    record: (object, { type, reason, action, note }, regarding) =>
      void recorded.push([object, type, reason, action, note, regarding()?.uid].join(' | ')),
    counts: () => ({ sent: 0, repeated: 0, limited: 0, lost: 0, refused: 0 }),
    close() {},
  };
  const announcements = () => openAnnouncements(recorder, () => objects, 'node-a');
  afterEach(() => recorded.splice(0));

  it('a Problem of an object stands at the object', () => {
    announcements().problem({
      object: 'Service shop/web',
      field: 'spec.ports[0].port',
      reason: 'InvalidPort',
      message: '70000 is no port',
    });
    assert.deepEqual(recorded, ['Service shop/web | Warning | InvalidPort | Program | spec.ports[0].port: 70000 is no port | service-uid']);
  });
  it('that of a slice at the slice, that of the agent at the Node', () => {
    announcements().problem({ object: 'EndpointSlice shop/web-1', reason: 'InvalidPort', message: 'm' });
    announcements().problem({ object: 'Agent', reason: 'PortTaken', message: 'm' });
    assert.deepEqual(
      recorded.map((line) => line.split(' | ').at(-1)),
      ['slice-uid', 'node-uid'],
    );
  });
  it('a health check port that cannot be had has kube-proxy’s reason and action', () => {
    announcements().problem({ object: 'Service shop/web', reason: 'FailedToStartServiceHealthcheck', message: 'm' });
    assert.match(recorded[0]!, /\| Warning \| FailedToStartServiceHealthcheck \| Listen \|/);
  });
  it('what every Service passes through is none, nor that the API server is away', () => {
    for (const reason of ['NoEndpointSlices', 'NoClusterIP', 'ApiServerUnreachable'])
      announcements().problem({ object: 'Service shop/web', reason, message: 'm' });
    assert.deepEqual(recorded, []);
  });
  it('without a Node object there is nothing to put one at', () => {
    assert.equal(regardingOf('Agent', objects, 'node-b'), undefined);
    assert.equal(regardingOf('File x.yaml', objects, 'node-a'), undefined);
  });

  it('a deprecated field is told once for as long as it is used', () => {
    const uses = modelService('shop/web', [{ frontends: ['ExternalIP 203.0.113.1:80'], backends: [] }]);
    const not = modelService('shop/web', [{ frontends: ['ClusterIP 10.96.0.1:80'], backends: [] }]);
    const services = (one: ModelService) => new Map([['shop/web', one]]);
    const told = announcements();
    told.deprecated(services(uses), undefined);
    told.deprecated(services(uses), new Set(['shop/web']));
    told.deprecated(services(not), new Set());
    assert.equal(recorded.length, 1);
    assert.match(recorded[0]!, /^Service shop\/web \| Warning \| DeprecatedField \| Program \| spec\.externalIPs /);
    told.deprecated(services(not), new Set(['shop/web']));
    told.deprecated(services(uses), new Set(['shop/web']));
    assert.equal(recorded.length, 2);
    told.deprecated(new Map(), new Set(['shop/web']));
    told.deprecated(services(uses), undefined);
    assert.equal(recorded.length, 3);
  });
});
