// The API server as the source: whatever it and the way to it do, the source ends with the server's objects, forgets none
// meanwhile, never gives up and never hammers.

import assert from 'node:assert/strict';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, it } from 'node:test';
import fc from 'fast-check';
import { type Api, ApiError, openApi } from '../control/source/kube/api.ts';
import { type Kube, openKube } from '../control/source/kube/kube.ts';
import type { ReflectorStatus, Timings } from '../control/source/kube/reflector.ts';
import type { Objects } from '../control/source/objects.ts';
import { node, objectsOf, type Raw, service, serviceCIDR, slice } from './lib/objects.ts';
import { CIDRS, errorLine, eventLine, fail, NODES, openScriptedApi, type ScriptedApi, SERVICES, SLICES } from './lib/scripted-api.ts';

/** The house's patience, a hundred times shorter. */
const QUICK: Timings = {
  spacing: 20,
  firstPause: 20,
  longestPause: 300,
  silence: 900,
  settled: 50,
  initialSilence: 150,
  watch: 300_000,
  missing: 200,
};

let api: ScriptedApi;
let kube: Kube;
const closers: (() => unknown)[] = [];

beforeEach(async () => {
  api = await openScriptedApi();
  api.put(NODES, node('node-a', ['192.0.2.1']));
  api.put(NODES, node('node-b', ['192.0.2.2']));
});
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
  await api.close();
});

function follow(timings: Partial<Timings> = {}, through: Api = openApi(api.identity(), 'test')): Kube {
  kube = openKube({ api: through, nodeName: 'node-a', serviceProxyName: undefined, timings: { ...QUICK, ...timings } });
  closers.push(() => kube.close());
  return kube;
}

async function until(holds: () => boolean, what: string, ms = 10_000): Promise<void> {
  const deadline = performance.now() + ms;
  while (!holds()) {
    if (performance.now() > deadline) assert.fail(`never came: ${what}; status ${JSON.stringify(kube?.status().resources)}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

function web(name: string, clusterIP = '10.96.0.10', more: Raw = {}): Raw {
  return service(name, { clusterIP, clusterIPs: [clusterIP], ...more });
}

function names(): string[] {
  return [...kube.objects().services.keys()];
}

function statusOf(resource: string): ReflectorStatus {
  return kube.status().resources.find((one) => one.resource === resource)!;
}

function reasons(): string[] {
  return kube.objects().problems.map(({ reason }) => reason);
}

/** What the server has and this node is to know. */
function wanted(): Objects {
  const unlabelled = (object: Raw) =>
    (object.metadata as { labels?: Raw }).labels?.['service.kubernetes.io/service-proxy-name'] === undefined;
  return objectsOf(
    ...api.objects(SERVICES).filter((one) => unlabelled(one) && (one.spec as Raw).clusterIP !== 'None'),
    ...api.objects(SLICES).filter(unlabelled),
    ...api.objects(NODES).filter((one) => (one.metadata as Raw).name === 'node-a'),
    ...api.objects(CIDRS),
  );
}

function same(a: Objects, b: Objects): boolean {
  const plain = ({ services, slices, nodes, serviceCIDRs }: Objects) =>
    JSON.stringify([services, slices, nodes, serviceCIDRs].map((map) => [...map]));
  return plain(a) === plain(b);
}

/** Requests for a path in a span of so many spacings, at most. */
function busiest(path: string, spacings: number): number {
  const times = api.asked.filter((asked) => asked.path === path).map(({ at }) => at);
  let most = 0;
  for (const from of times) most = Math.max(most, times.filter((at) => at >= from && at < from + spacings * QUICK.spacing).length);
  return most;
}

describe('reading everything', () => {
  it('streams the initial objects, then every change', async () => {
    api.put(SERVICES, web('one'));
    api.put(SLICES, slice('one', 'one-1', ['10.244.0.5']));
    api.put(CIDRS, serviceCIDR('kubernetes', ['10.96.0.0/16']));
    follow();
    assert.equal(kube.synced, false);
    await until(() => kube.synced, 'the first sync');
    assert.ok(same(kube.objects(), wanted()));
    assert.deepEqual([...kube.objects().nodes.keys()], ['node-a'], 'no other node travels');
    assert.ok(api.asked.every(({ query }) => query.get('watch') === 'true' && query.get('allowWatchBookmarks') === 'true'));
    api.put(SERVICES, web('two', '10.96.0.11'));
    api.remove(SERVICES, 'default/one');
    await until(() => names().join() === 'default/two', 'the change');
    assert.equal(statusOf('services').how, 'watch list');
  });

  it('lists page by page where the server does not stream, then watches', async () => {
    api.watchList = 'refused';
    for (let i = 0; i < 1_203; i++) api.put(SERVICES, web(`s${i}`, `10.96.${i >> 8}.${i & 255}`));
    follow();
    await until(() => kube.synced, 'the first sync');
    assert.equal(kube.objects().services.size, 1_203);
    const pages = api.asked.filter(({ path, query }) => path === SERVICES && query.get('watch') === null);
    assert.deepEqual(
      pages.map(({ query }) => query.get('limit')),
      ['500', '500', '500'],
    );
    api.put(SERVICES, web('late', '10.97.0.1'));
    await until(() => kube.objects().services.has('default/late'), 'the change');
    assert.deepEqual([statusOf('services').how, statusOf('services').errors], ['list', 0]);
  });

  it('lists where the server knows nothing of streaming and never says that the initial objects are complete', async () => {
    api.watchList = 'ignored';
    api.put(SERVICES, web('one'));
    follow();
    await until(() => kube.synced, 'the first sync');
    assert.deepEqual(names(), ['default/one']);
    assert.equal(statusOf('services').how, 'list');
  });

  it('a continue token that expired begins the list anew', async () => {
    api.watchList = 'refused';
    for (let i = 0; i < 600; i++) api.put(SERVICES, web(`s${i}`, `10.96.${i >> 8}.${i & 255}`));
    let expired = 0;
    api.order = ({ query }, response) =>
      query.has('continue') && expired++ === 0 && fail(response, 410, 'The provided continue parameter is too old');
    follow();
    await until(() => kube.synced, 'the first sync');
    assert.equal(kube.objects().services.size, 600);
    assert.equal(expired, 2);
  });

  it('an older server refuses the field selector and is asked without it (1.1)', async () => {
    api.put(SERVICES, web('one'));
    api.put(SERVICES, service('headless', { clusterIP: 'None' }));
    api.order = ({ path, query }, response) =>
      path === SERVICES &&
      query.has('fieldSelector') &&
      fail(response, 400, '"spec.clusterIP" is not a known field selector: only "metadata.name"');
    follow();
    await until(() => kube.synced, 'the first sync');
    assert.deepEqual(names(), ['default/headless', 'default/one'], 'the Model skips it');
  });

  it('a server without ServiceCIDRs is no error, and they are looked for again (4.4)', async () => {
    let without = true;
    api.order = ({ path }, response) =>
      path === CIDRS && without && fail(response, 404, 'the server could not find the requested resource');
    api.put(CIDRS, serviceCIDR('kubernetes', ['10.96.0.0/16']));
    follow();
    await until(() => kube.synced, 'the first sync');
    assert.deepEqual([statusOf('servicecidrs').how, statusOf('servicecidrs').errors, reasons()], ['absent', 0, []]);
    without = false;
    await until(() => kube.objects().serviceCIDRs.size === 1, 'the ServiceCIDR after the upgrade');
    assert.equal(statusOf('servicecidrs').how, 'watch list');
  });

  it('ServiceCIDRs that were there are not forgotten by a server that refuses them while it starts', async () => {
    let refusals = 0;
    api.put(CIDRS, serviceCIDR('kubernetes', ['10.96.0.0/16']));
    follow();
    await until(() => kube.synced, 'the first sync');
    let least = 1;
    kube.onChange(() => {
      least = Math.min(least, kube.objects().serviceCIDRs.size);
    });
    api.order = ({ path }, response) => path === CIDRS && refusals++ < 4 && fail(response, refusals % 2 ? 403 : 404, 'not yet');
    for (const open of [...api.watches]) open.reset();
    await until(() => refusals >= 5 && reasons().length === 0 && statusOf('servicecidrs').connected, 'the server to be whole');
    assert.equal(least, 1);
    refusals = 0;
    api.order = ({ path }, response) => path === CIDRS && fail(response, 404, 'the server could not find the requested resource');
    for (const open of [...api.watches]) open.reset();
    await until(() => kube.objects().serviceCIDRs.size === 0, 'a server that really has none');
  });

  it('a Service that gets another proxy’s label goes, and comes back without it (1.2)', async () => {
    const labelled = (labels: Raw) => service('one', { clusterIPs: ['10.96.0.10'] }, { metadata: { labels } });
    api.put(SERVICES, labelled({}));
    follow();
    await until(() => names().length === 1, 'the Service');
    api.put(SERVICES, labelled({ 'service.kubernetes.io/service-proxy-name': 'other' }));
    await until(() => names().length === 0, 'its going');
    api.put(SERVICES, labelled({}));
    await until(() => names().length === 1, 'its return');
  });

  it('an object that is none costs only itself, and its Problem goes with it', async () => {
    api.put(SERVICES, web('one'));
    api.put(
      SLICES,
      slice('one', 'one-1', ['10.244.0.5'], {
        ports: [
          { name: '', port: 70000 },
          { name: 'x', port: -1 },
        ],
      }),
    );
    api.put(SERVICES, { metadata: { namespace: 'default', name: 'Not_A_Name' }, spec: {} });
    follow();
    await until(() => kube.synced, 'the first sync');
    assert.deepEqual(names(), ['default/one']);
    assert.deepEqual(reasons(), ['InvalidName']);
    assert.deepEqual(
      kube
        .objects()
        .slices.get('default/one')?.[0]
        ?.problems.map(({ field }) => field),
      ['ports[0].port', 'ports[1].port'],
    );
    api.remove(SERVICES, 'default/Not_A_Name');
    await until(() => reasons().length === 0, 'the end of the Problem');
  });
});

describe('losing the watch', () => {
  it('what vanished while nobody listened is removed only when the new list is complete (1.11)', async () => {
    api.put(SERVICES, web('one'));
    api.put(SERVICES, web('two', '10.96.0.11'));
    follow();
    await until(() => kube.synced, 'the first sync');
    let half = false;
    api.order = ({ path, query }, response) => {
      if (path !== SERVICES || query.has('resourceVersion')) return false;
      // Half of a new list, and nothing more for now.
      response.writeHead(200);
      response.write(
        eventLine('ADDED', { ...web('three', '10.96.0.12'), metadata: { namespace: 'default', name: 'three', resourceVersion: '900' } }),
      );
      half = true;
      return true;
    };
    api.remove(SERVICES, 'default/one');
    await until(() => names().join() === 'default/two', 'the removal');
    for (const open of api.watches) if (open.path === SERVICES) open.reset();
    api.remove(SERVICES, 'default/two');
    api.put(SERVICES, web('three', '10.96.0.12'));
    api.compact();
    await until(() => half, 'half a list');
    assert.deepEqual(names(), ['default/two'], 'half a list shrinks nothing');
    api.order = undefined;
    await until(() => names().join() === 'default/three', 'the whole list');
  });

  it('resumes where it broke, without reading everything again', async () => {
    follow();
    await until(() => kube.synced, 'the first sync');
    for (let round = 0; round < 3; round++) {
      for (const open of [...api.watches]) open.reset();
      api.put(SERVICES, web(`s${round}`, `10.96.0.${round + 20}`));
      await until(() => names().length === round + 1, `round ${round}`);
    }
    assert.deepEqual([statusOf('services').relists, statusOf('services').reconnects >= 3], [0, true]);
  });

  for (const how of ['as a status', 'as an ERROR event'] as const) {
    it(`410 ${how}: everything is read again`, async () => {
      api.put(SERVICES, web('one'));
      follow();
      await until(() => kube.synced, 'the first sync');
      if (how === 'as a status') {
        for (const open of [...api.watches]) open.reset();
        api.put(SERVICES, web('two', '10.96.0.11'));
        api.compact();
      } else {
        for (const open of api.watches)
          if (open.path === SERVICES) open.send(errorLine(410, 'The resourceVersion for the provided watch is too old.'));
        api.remove(SERVICES, 'default/one');
        api.put(SERVICES, web('two', '10.96.0.11'));
      }
      await until(() => names().includes('default/two'), 'the new list');
      assert.equal(statusOf('services').relists, 1);
      assert.deepEqual(reasons(), [], 'nobody has to know');
    });
  }

  it('an ERROR event of another code is an error, and the watch goes on with a pause', async () => {
    follow();
    await until(() => kube.synced, 'the first sync');
    for (const open of api.watches) if (open.path === SERVICES) open.send(errorLine(500, 'etcdserver: request timed out'));
    api.put(SERVICES, web('one'));
    await until(() => names().length === 1, 'the change');
    assert.deepEqual([statusOf('services').relists, statusOf('services').errors], [0, 1]);
    await until(() => reasons().length === 0, 'the end of the Problem');
  });

  it('a version that the server refuses again and again is given up', async () => {
    follow();
    await until(() => kube.synced, 'the first sync');
    api.order = ({ path, query }, response) =>
      path === SERVICES &&
      query.has('resourceVersion') &&
      fail(response, 504, 'Too large resource version: 1000, current: 3', { 'retry-after': '0' });
    for (const open of [...api.watches]) open.reset();
    api.put(SERVICES, web('one'));
    await until(() => names().length === 1, 'a list without a version');
    assert.equal(statusOf('services').relists, 1);
  });

  it('a line that is no JSON is counted, and the event is asked for again', async () => {
    follow();
    await until(() => kube.synced, 'the first sync');
    for (const open of api.watches) if (open.path === SERVICES) open.send('{"type":"ADDED","object":{"metadata"\n');
    api.put(SERVICES, web('one'));
    await until(() => names().length === 1, 'the change');
    assert.deepEqual([statusOf('services').broken, statusOf('services').relists], [1, 0]);
  });

  it('events that come twice or too late change nothing', async () => {
    api.put(SERVICES, web('one'));
    const old = { ...web('one', '10.96.0.99'), metadata: { namespace: 'default', name: 'one', resourceVersion: '50' } };
    follow();
    await until(() => kube.synced, 'the first sync');
    const before = kube.objects();
    for (const open of api.watches) {
      if (open.path !== SERVICES) continue;
      open.send(eventLine('MODIFIED', old));
      open.send(eventLine('DELETED', old));
      open.send(eventLine('MODIFIED', { ...old, metadata: { ...(old.metadata as Raw), resourceVersion: String(api.version()) } }));
    }
    await until(() => statusOf('services').late === 3, 'the three events');
    assert.equal(kube.objects(), before);
  });

  it('bookmarks alone keep a quiet watch alive and move its version', async () => {
    follow({ silence: 300 });
    await until(() => kube.synced, 'the first sync');
    for (let i = 0; i < 20; i++) {
      api.compact();
      api.bookmark();
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
    assert.deepEqual([statusOf('services').reconnects, statusOf('services').resourceVersion], [0, String(api.version())]);
  });

  it('a watch that goes silent is begun again, where it was', async () => {
    follow({ silence: 100 });
    await until(() => kube.synced, 'the first sync');
    // The server forgets its watches and leaves the connections open.
    api.watches.clear();
    api.put(SERVICES, web('one'));
    await until(() => names().length === 1, 'the change');
    const { relists, errors } = statusOf('services');
    assert.deepEqual([relists, errors, reasons()], [0, 0, []], 'a quiet watch is nobody’s error');
  });

  it('one that stays silent for an hour is not believed', async () => {
    api.put(SERVICES, web('one'));
    follow({ silence: 20 });
    await until(() => kube.synced, 'the first sync');
    // It takes watches and says nothing on them, as a server does that was restored from a backup.
    api.order = ({ path, query }, response) => {
      if (path !== SERVICES || !query.has('resourceVersion')) return false;
      response.writeHead(200);
      response.flushHeaders();
      return true;
    };
    api.watches.clear();
    api.put(SERVICES, web('two', '10.96.0.11'));
    await until(() => names().length === 2, 'the change');
    assert.ok(statusOf('services').relists >= 1);
  });

  it('a history that goes back is another one', async () => {
    api.put(SERVICES, web('one'));
    follow({ silence: 60_000 });
    await until(() => kube.synced, 'the first sync');
    for (const open of api.watches) {
      if (open.path === SERVICES)
        open.send(eventLine('BOOKMARK', { kind: 'Service', apiVersion: 'v1', metadata: { resourceVersion: '7' } }));
    }
    await until(() => statusOf('services').relists === 1, 'a new list');
  });
});

describe('a server in trouble', () => {
  /** In real time a hundred times as much. */
  const withinPace = (path: string) => {
    for (const spacings of [1, 10, 50]) {
      // One more for the edge of the span; three more once, when a way of asking is found out or a version is given up.
      const most = busiest(path, spacings);
      assert.ok(most <= spacings + 4, `${most} requests in ${spacings} spacings`);
    }
  };

  it('that closes every watch at once is asked once a second at most, told once, and believed again', async () => {
    follow();
    await until(() => kube.synced, 'the first sync');
    let told = 0;
    kube.onChange(() => {
      told = Math.max(told, reasons().filter((reason) => reason === 'ApiServerBreaksOff').length);
    });
    api.order = ({ path }, response) => {
      if (path !== SERVICES) return false;
      response.writeHead(200);
      response.flushHeaders();
      response.end();
      return true;
    };
    for (const open of [...api.watches]) open.end();
    await until(() => api.asked.filter(({ path }) => path === SERVICES).length > 10, 'ten attempts');
    withinPace(SERVICES);
    assert.equal(told, 1);
    api.order = undefined;
    api.put(SERVICES, web('one'));
    await until(() => names().length === 1 && reasons().length === 0, 'the change');
  });

  it('that closes every watch after a bookmark is asked once a second at most', async () => {
    follow();
    await until(() => kube.synced, 'the first sync');
    api.order = ({ path, query }, response) => {
      if (path !== SERVICES) return false;
      response.writeHead(200);
      const metadata = { resourceVersion: query.get('resourceVersion') ?? '1' };
      response.end(eventLine('BOOKMARK', { kind: 'Service', apiVersion: 'v1', metadata }));
      return true;
    };
    for (const open of [...api.watches]) open.end();
    await until(() => api.asked.filter(({ path }) => path === SERVICES).length > 20, 'twenty attempts');
    withinPace(SERVICES);
  });

  it('that answers 410 to every watch is not asked faster', async () => {
    api.order = ({ path, query }, response) => path === SERVICES && query.has('resourceVersion') && fail(response, 410, 'too old');
    api.watchList = 'refused';
    follow();
    await until(() => api.asked.filter(({ path }) => path === SERVICES).length > 12, 'twelve requests');
    withinPace(SERVICES);
  });

  it('that ends every watch by 410 as soon as the initial objects are there is not asked faster', async () => {
    api.order = ({ path }, response) => {
      if (path !== SERVICES) return false;
      response.writeHead(200);
      const metadata = { resourceVersion: '100', annotations: { 'k8s.io/initial-events-end': 'true' } };
      response.end(eventLine('BOOKMARK', { kind: 'Service', apiVersion: 'v1', metadata }) + errorLine(410, 'too old resource version'));
      return true;
    };
    follow();
    await until(() => api.asked.filter(({ path }) => path === SERVICES).length > 20, 'twenty attempts');
    withinPace(SERVICES);
  });

  it('that is down loses nothing of what is known, is told of once, and is followed again when it is back', async () => {
    api.put(SERVICES, web('one'));
    follow();
    await until(() => kube.synced, 'the first sync');
    const known = names();
    await api.down();
    await until(() => reasons().length > 0, 'the Problem');
    const [problem, ...others] = kube.objects().problems;
    assert.deepEqual([problem?.reason, others], ['ApiServerUnreachable', []], 'one for all resources');
    assert.match(problem!.message, /^http:\/\/127\.0\.0\.1:\d+: connect ECONNREFUSED .*; what was last heard is served/);
    await until(() => statusOf('services').errors >= 4, 'several attempts');
    assert.deepEqual(names(), known);
    assert.deepEqual(kube.objects().problems, [problem], 'in the same words');
    api.put(SERVICES, web('two', '10.96.0.11'));
    await api.up();
    await until(() => names().length === 2 && reasons().length === 0, 'the change');
  });

  it('that is down at the start is waited for', async () => {
    await api.down();
    follow();
    await until(() => reasons().includes('ApiServerUnreachable'), 'the Problem');
    assert.equal(kube.synced, false);
    await api.up();
    await until(() => kube.synced && reasons().length === 0, 'the first sync');
  });

  for (const code of [500, 503, 429, 401, 403] as const) {
    it(`that answers ${code} loses nothing, and is asked again with pauses`, async () => {
      api.put(SERVICES, web('one'));
      follow();
      await until(() => kube.synced, 'the first sync');
      api.order = ({ path }, response) => path === SERVICES && fail(response, code, 'no');
      for (const open of [...api.watches]) open.reset();
      await until(() => statusOf('services').errors >= 5, 'five attempts');
      withinPace(SERVICES);
      assert.deepEqual(names(), ['default/one']);
      assert.deepEqual(reasons(), [code === 401 || code === 403 ? 'ApiServerRefuses' : 'ApiServerFails']);
      assert.match(kube.objects().problems[0]!.message, new RegExp(`GET /api/v1/services: ${code} no`));
      api.order = undefined;
      api.put(SERVICES, web('two', '10.96.0.11'));
      await until(() => names().length === 2 && reasons().length === 0, 'the change');
    });
  }

  it('that asks to be left alone is left alone for so long', async () => {
    follow();
    await until(() => kube.synced, 'the first sync');
    let refusedAt: number | undefined;
    api.order = ({ path, at }, response) => {
      if (path !== SERVICES || refusedAt !== undefined) return false;
      refusedAt = at;
      return fail(response, 429, 'slow down', { 'retry-after': '1' });
    };
    for (const open of [...api.watches]) open.reset();
    await until(() => api.asked.some(({ path, at }) => path === SERVICES && refusedAt !== undefined && at > refusedAt), 'the next request');
    const next = api.asked.find(({ path, at }) => path === SERVICES && at > refusedAt!)!;
    assert.ok(next.at - refusedAt! >= 990, `${next.at - refusedAt!} ms`);
  });

  it('that forbids ServiceCIDRs alone serves the rest', async () => {
    api.order = ({ path }, response) => path === CIDRS && fail(response, 403, 'servicecidrs is forbidden');
    follow();
    await until(() => kube.synced, 'the first sync');
    assert.deepEqual(reasons(), ['ApiServerRefuses']);
  });
});

describe('several servers', () => {
  it('the next is asked when one does not answer, within the same attempt, and stays in use', async () => {
    const dead = await openScriptedApi();
    await dead.down();
    closers.push(() => dead.close());
    api.put(SERVICES, web('one'));
    follow({}, openApi({ ...api.identity(), servers: [dead.url, api.url] }, 'test'));
    await until(() => kube.synced, 'the first sync');
    assert.deepEqual([kube.status().server, statusOf('services').errors], [api.url, 0]);
  });

  it('when the one in use goes, the other goes on', async () => {
    const other = await openScriptedApi();
    closers.push(() => other.close());
    for (const server of [api, other]) server.put(SERVICES, web('one'));
    follow({}, openApi({ ...api.identity(), servers: [api.url, other.url] }, 'test'));
    await until(() => kube.synced, 'the first sync');
    await api.down();
    for (let i = 0; i < 10; i++) other.put(SERVICES, web('two', '10.96.0.11', { externalIPs: [`192.0.2.${i + 100}`] }));
    await until(() => names().length === 2, 'the change');
    assert.equal(kube.status().server, other.url);
    assert.deepEqual(reasons(), []);
  });

  it('one that is broken inside yields to the other', async () => {
    const other = await openScriptedApi();
    closers.push(() => other.close());
    api.order = (_, response) => fail(response, 503, 'etcd is away');
    other.put(SERVICES, web('one'));
    follow({}, openApi({ ...api.identity(), servers: [api.url, other.url] }, 'test'));
    await until(() => kube.synced, 'the first sync');
    assert.deepEqual([names(), kube.status().server], [['default/one'], other.url]);
  });

  it('what must not be done twice is not sent to another after it may have arrived', async () => {
    let posts = 0;
    api.order = (_, response) => {
      posts++;
      response.socket!.resetAndDestroy();
      return true;
    };
    const through = openApi({ ...api.identity(), servers: [api.url, api.url] }, 'test');
    closers.push(() => through.close());
    await assert.rejects(through.request('POST', '/api/v1/namespaces/default/events', { body: {} }), ApiError);
    assert.equal(posts, 1);
  });
});

describe('a server that is frozen', () => {
  it('is noticed by its silence: a watch that is half open ends, a connection without an answer ends, and the next server goes on', async () => {
    const sockets = new Set<Socket>();
    let frozen = false;
    // Takes connections, as the kernel does for a process that is stopped, and passes nothing on.
    const wall = createServer((near) => {
      sockets.add(near);
      near.on('error', () => {});
      if (frozen) return;
      const far = connect(Number(new URL(api.url).port), '127.0.0.1');
      sockets.add(far);
      far.on('error', () => {});
      far.on('data', (bytes) => frozen || near.write(bytes));
      near.on('data', (bytes) => frozen || far.write(bytes));
    });
    await new Promise<void>((resolve) => wall.listen(0, '127.0.0.1', resolve));
    closers.push(() => {
      for (const socket of sockets) socket.destroy();
      wall.close();
    });
    const behind = `http://127.0.0.1:${(wall.address() as AddressInfo).port}`;
    const patience = { connect: 1_000, headers: 500, body: 500 };
    follow({ silence: 300 }, openApi({ ...api.identity(), servers: [behind, api.url] }, 'test', patience));
    await until(() => kube.synced, 'the first sync');
    assert.equal(kube.status().server, behind);
    frozen = true;
    api.put(SERVICES, web('one'));
    await until(() => names().length === 1, 'the change, by the other server');
    assert.equal(kube.status().server, api.url);
  });

  it('after it began to say what is wrong is not waited for: the watch goes on', async () => {
    let stuck = 0;
    api.order = ({ path }, response) => {
      if (path !== SERVICES || stuck > 0) return false;
      stuck++;
      response.writeHead(503, { 'content-type': 'application/json' });
      response.write('{ "kind": "Status",');
      return true;
    };
    api.put(SERVICES, web('one'));
    follow({}, openApi(api.identity(), 'test', { connect: 1_000, headers: 500, body: 300 }));
    await until(() => kube.synced, 'the first sync');
    assert.deepEqual([stuck, names()], [1, ['default/one']]);
  });
});

it('after any history of objects and faults the source has what the server has', async () => {
  const steps = fc.array(
    fc.oneof(
      { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), n: fc.nat(5), ip: fc.nat(200) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('remove' as const), n: fc.nat(5) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('slice' as const), n: fc.nat(5), ip: fc.nat(200) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('label' as const), n: fc.nat(5) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('lost' as const), n: fc.nat(5) }) },
      {
        weight: 1,
        arbitrary: fc.record({
          do: fc.constantFrom('reset', 'end', 'compact', 'bookmark', 'garbage', 'gone', 'error', 'down', 'wait', 'refuse', 'half', 'stale'),
        }),
      },
    ),
    { minLength: 5, maxLength: 40 },
  );
  await fc.assert(
    fc.asyncProperty(fc.constantFrom('served', 'refused'), steps, async (watchList, all) => {
      const server = await openScriptedApi();
      server.watchList = watchList as 'served' | 'refused';
      const saved = api;
      api = server;
      server.put(NODES, node('node-a', ['192.0.2.1']));
      follow({ silence: 400 }, openApi(server.identity(), 'test'));
      try {
        for (const step of all) {
          const n = 'n' in step ? step.n : 0;
          switch (step.do) {
            case 'put':
              server.put(SERVICES, web(`s${n}`, `10.96.0.${(step as { ip: number }).ip + 1}`));
              break;
            case 'remove':
              server.remove(SERVICES, `default/s${n}`);
              server.remove(SLICES, `default/s${n}-1`);
              break;
            case 'slice':
              server.put(SLICES, slice(`s${n}`, `s${n}-1`, [`10.244.0.${(step as { ip: number }).ip + 1}`]));
              break;
            case 'lost':
              for (const open of [...server.watches]) open.reset();
              server.remove(SERVICES, `default/s${n}`);
              server.compact();
              break;
            case 'label':
              server.put(SERVICES, service(`s${n}`, {}, { metadata: { labels: { 'service.kubernetes.io/service-proxy-name': 'x' } } }));
              break;
            case 'reset':
              for (const open of [...server.watches]) open.reset();
              break;
            case 'end':
              for (const open of [...server.watches]) open.end();
              break;
            case 'compact':
              server.compact();
              break;
            case 'bookmark':
              server.bookmark();
              break;
            case 'garbage':
              for (const open of server.watches) open.send('{"type":\n');
              break;
            case 'gone':
              for (const open of server.watches) open.send(errorLine(410, 'gone'));
              break;
            case 'error':
              for (const open of server.watches) open.send(errorLine(500, 'broken'));
              break;
            case 'down':
              await server.down();
              await new Promise((resolve) => setTimeout(resolve, 10));
              await server.up();
              break;
            case 'refuse': {
              let left = 3;
              server.order = (_, response) => left-- > 0 && fail(response, [500, 429, 410, 403][left % 4]!, 'no');
              for (const open of [...server.watches]) open.reset();
              break;
            }
            case 'half': {
              let left = 2;
              server.order = ({ query }, response) => {
                if (query.get('watch') !== 'true' || left-- <= 0) return false;
                response.writeHead(200);
                response.write(eventLine('ADDED', web('ghost')).slice(0, 40), () => response.socket?.resetAndDestroy());
                return true;
              };
              for (const open of [...server.watches]) open.reset();
              break;
            }
            case 'stale':
              // A server that has forgotten its watches: only silence tells.
              server.watches.clear();
              break;
            case 'wait':
              await new Promise((resolve) => setTimeout(resolve, 30));
              break;
          }
        }
        server.order = undefined;
        await until(() => kube.synced && same(kube.objects(), wanted()), 'the server’s objects');
      } finally {
        kube.close();
        await server.close();
        api = saved;
      }
    }),
    { numRuns: 60, verbose: 1 },
  );
});
