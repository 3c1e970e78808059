// What do clients notice when the control plane breaks, or the agent does? LOAD runs through each fault and nothing of it may fail; afterwards the
// maps must hold what the API server's objects mean, and the next change must arrive.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { verdictCounts, verdictsBetween } from '../lib/agent.ts';
import { type Cluster, openCluster } from '../lib/cluster.ts';
import { apiServerAddress, apiServerPort } from '../lib/control-plane.ts';
import { assertFaultless, type Load, startLoad } from '../lib/load.ts';
import type { Raw } from '../lib/objects.ts';
import { families, nodeNames, places } from '../lib/places.ts';
import { until } from '../lib/sandbox.ts';
import type { StoredService } from '../lib/stage.ts';
import { plainLane } from '../lib/topology.ts';
import { ask } from '../lib/wire.ts';

let cluster: Cluster;
let web: StoredService;
const backends = ['a1', 'a2', 'b1', 'b2'] as const;
/** Others whose endpoints change all the time. */
const churning = Array.from({ length: 20 }, (_, i) => `churning-${i}`);

const both = ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: 80, targetPort: 8080 }));

function service(name: string, spec: Raw = {}): Raw {
  return { apiVersion: 'v1', kind: 'Service', metadata: { namespace: 'default', name }, spec: { ports: [{ port: 80 }], ...spec } };
}

function slice(of: string, endpoints: readonly string[], port: number, more: Raw = {}): Raw {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace: 'default', name: `${of}-slice`, labels: { 'kubernetes.io/service-name': of } },
    addressType: 'IPv4',
    ports: [{ port }],
    endpoints: endpoints.map((address) => ({ addresses: [address] })),
    ...more,
  };
}

before(async () => {
  cluster = await openCluster({ ...plainLane, rpFilter: 1, netfilter: true, offload: true });
  const { client, kubelet } = cluster;
  for (const place of backends) await kubelet.run({ key: `default/web-${place}`, place, labels: { app: 'web' } });
  web = (await client.create(
    service('web', { type: 'NodePort', selector: { app: 'web' }, ipFamilyPolicy: 'RequireDualStack', ports: both }),
  )) as StoredService;
  for (const name of churning) {
    await client.create(service(name));
    await client.create(slice(name, [places.a1[4]], 8080));
  }
  await until('all endpoints of web', async () => {
    const slices = (await client.list('EndpointSlice', 'default', { labelSelector: 'kubernetes.io/service-name=web' })) as unknown as {
      endpoints: { conditions: { ready: boolean } }[] | null;
    }[];
    const ready = slices.flatMap(({ endpoints }) => endpoints ?? []).filter(({ conditions }) => conditions.ready);
    return ready.length === 2 * backends.length;
  });
  await cluster.settled();
});
after(() => cluster?.close());

async function startLoads(): Promise<Load[]> {
  const { lab } = cluster;
  const amounts = { seconds: 300, long: 100, short: 4, rate: 1000 };
  const port = web.spec.ports[0]!.nodePort;
  return Promise.all([
    startLoad(lab, 'outside', { ...amounts, targets: families.map((family) => `${places.nodeA[family]}@${port}`) }),
    startLoad(lab, 'clientA', { ...amounts, targets: web.spec.clusterIPs.map((address) => `${address}@80`) }),
  ]);
}

/** How long a fault lasts: the time is the thing tested, no event is waited for. */
const lasting = (ms: number) => pause(ms);

let changes = 0;
/** One endpoint change of one Service beside the load. */
async function change(): Promise<void> {
  const of = churning[changes % churning.length]!;
  const ends = backends.filter((_, i) => (changes + i) % 3 !== 0).map((place) => places[place][4]);
  await cluster.client.apply(slice(of, ends, 8080 + (changes++ % 5)));
}

/** A change made now arrives on every node within seconds. */
async function changesArrive(): Promise<void> {
  await change();
  await cluster.settled(15_000);
}

/** Runs LOAD around a fault; then the end state is right, the next change arrives, and no packet was dropped or rejected. */
function fault(name: string, seconds: number, disturb: () => Promise<void>): void {
  test(name, { timeout: seconds * 1000 }, async (t) => {
    await cluster.telling(async () => {
      const maps = cluster.maps('nodeA');
      const counts = verdictCounts(maps);
      const loads = await startLoads();
      await disturb();
      await cluster.settled(15_000);
      await changesArrive();
      for (const load of loads) {
        const report = await load.end();
        const { short, fixed, long, udp } = report;
        const connections = short.connections + fixed.connections + long.connections;
        t.diagnostic(`${connections} connections, ${long.answers} echoes, ${udp.received} datagrams`);
        assertFaultless(report);
      }
      const refusals = [...verdictsBetween(counts, verdictCounts(maps)).keys()].filter((verdict) => /^(DROP|REJECT)/.test(verdict));
      assert.deepEqual(refusals, []);
    });
  });
}

/** Drops packets of nodes to the API server, as a firewall that has forgotten them does. */
async function firewall(rule: string): Promise<() => Promise<void>> {
  const nft = (...words: string[]) => cluster.lab.run('router', 'nft', words);
  await nft('add table inet cut; add chain inet cut input { type filter hook input priority 0; }');
  await nft(`add rule inet cut input tcp dport ${apiServerPort} ${rule}`);
  return async () => void (await nft('delete table inet cut'));
}

fault('the API server is killed and comes back; nobody hammers it while it is down', 60, async () => {
  const { plane, lab } = cluster;
  await plane.apiServer.kill('SIGKILL');
  const lift = await firewall(`ip saddr ${places.nodeA[4]} tcp flags syn counter`);
  const began = performance.now();
  await lasting(8000);
  const counted = await lab.run('router', 'nft', ['list', 'table', 'inet', 'cut']);
  const seconds = (performance.now() - began) / 1000;
  await lift();
  const attempts = Number(/packets (\d+)/.exec(counted)![1]);
  assert.ok(attempts > 0, 'nobody tried: the counter counts nothing');
  assert.ok(attempts <= 4 * (seconds + 1), `${attempts} attempts in ${seconds} s for four resources`);
  plane.apiServer.start();
  await plane.ready();
});

fault('etcd is killed, and comes back', 60, async () => {
  const { plane } = cluster;
  await plane.etcd.kill('SIGKILL');
  await lasting(3000);
  plane.etcd.start();
  await plane.ready();
});

fault('the API server stops answering with everything open, and goes on', 60, async () => {
  cluster.plane.apiServer.pause();
  await lasting(8000);
  cluster.plane.apiServer.resume();
  await cluster.plane.ready();
});

fault('the history is compacted while node A is cut off, and the API server starts anew: what it resumes from is gone', 90, async () => {
  const { plane } = cluster;
  const relists = async () => {
    const { resources } = await cluster.following('nodeA');
    return resources.find(({ resource }) => resource === 'endpointslices')!.relists;
  };
  const before = await relists();
  const reconnect = await firewall(`ip saddr ${places.nodeA[4]} drop`);
  const startAnew = async () => {
    await plane.apiServer.kill('SIGKILL');
    plane.apiServer.start();
    await plane.ready();
  };
  // Before anything changes: what a connection of node A has on its way would still arrive.
  await startAnew();
  for (let i = 0; i < 40; i++) await change();
  await plane.compact();
  await startAnew();
  await reconnect();
  await cluster.settled(30_000);
  assert.equal(await relists(), before + 1, 'the slices were read anew, once');
});

fault('connections that are half open, and watches that go silent, are given up and begun anew', 240, async () => {
  const { lab } = cluster;
  // Node A: what is open now is never heard again. Node B: all of it is acknowledged, and nothing comes.
  const relayed = 7443;
  const relay = lab.start('router', process.execPath, [
    fileURLToPath(new URL('../lib/relay.ts', import.meta.url)),
    ...[String(relayed), apiServerAddress[4], String(apiServerPort)],
  ]);
  await once(relay.stdout!, 'data');
  await cluster.agents.get('nodeB')!.end('SIGTERM');
  await cluster.startAgent('nodeB', ['--api-server', `https://${apiServerAddress[4]}:${relayed}`]);
  await changesArrive();
  const open = await lab.run('router', 'ss', ['-Htn', 'state', 'established', `( sport = :${apiServerPort} )`, 'dst', places.nodeA[4]]);
  const ports = [...open.matchAll(/:(\d+)\s*$/gm)].map(([, port]) => port);
  assert.ok(ports.length > 0, 'the agent of node A has a connection to cut');
  const lift = await firewall(`ip saddr ${places.nodeA[4]} tcp sport { ${ports.join(', ')} } drop`);
  const silenced = once(relay.stdout!, 'data');
  relay.kill('SIGUSR2');
  assert.match(String((await silenced)[0]), /silent [1-9]/);
  await change();
  await assert.rejects(cluster.settled(2000), 'the change arrived: nothing was cut');
  await cluster.settled(150_000);
  await lift();
  await cluster.agents.get('nodeB')!.end('SIGTERM');
  await cluster.startAgent('nodeB');
  relay.kill('SIGKILL');
});

fault('slices with ports that cannot be, beside fifty good Services', 60, async () => {
  const { client, lab } = cluster;
  const good = Array.from({ length: 50 }, (_, i) => `good-${i}`);
  await Promise.all(good.map((name) => client.create(service(name))));
  const bad = [70_000, -1, 2_147_483_647];
  for (const [i, port] of bad.entries()) {
    await client.create(service(`bad-${i}`));
    await client.create(slice(`bad-${i}`, [places.a1[4]], port));
  }
  await Promise.all(good.map((name, i) => client.create(slice(name, [places[backends[i % 4]!][4]], 8080))));
  await client.create(
    slice('good-0', [places.b2[4]], 70_000, { metadata: { ...(slice('good-0', [], 0).metadata as Raw), name: 'good-0-bad' } }),
  );
  await cluster.settled();
  const services = (await client.list('Service', 'default')) as StoredService[];
  for (const [i, name] of good.entries()) {
    const { spec } = services.find(({ metadata }) => metadata.name === name)!;
    const [answer] = await ask(lab, 'clientA', 'tcp', spec.clusterIPs[0]!, 80);
    assert.equal(answer?.name, backends[i % 4], `${name}: ${JSON.stringify(answer)}`);
  }
  for (const agent of cluster.agents.values()) {
    const problems = agent.lines.filter(({ level, reason }) => level === 'warn' && reason === 'InvalidPort');
    assert.equal(problems.length, bad.length + 1, 'each impossible port is told once');
  }
  for (const name of [...good, ...bad.map((_, i) => `bad-${i}`)]) {
    await client.delete('Service', `default/${name}`);
    await client.delete('EndpointSlice', `default/${name}-slice`);
  }
  await client.delete('EndpointSlice', 'default/good-0-bad');
});

fault('the agent of node A is killed twenty times while endpoints change', 200, async () => {
  let churn = true;
  const changing = (async () => {
    while (churn) {
      await change();
      await pause(100);
    }
  })();
  for (let i = 0; i < 20; i++) {
    await cluster.agents.get('nodeA')!.end('SIGKILL');
    await cluster.startAgent('nodeA');
  }
  churn = false;
  await changing;
});

test('control: an agent that no longer follows is noticed', { timeout: 30_000 }, async () => {
  await cluster.agents.get('nodeA')!.end('SIGKILL');
  await change();
  await assert.rejects(cluster.settled(1000), /node-a|nodeA/);
  await cluster.startAgent('nodeA');
  await cluster.settled();
});

test('no agent that lives complained of itself', () => {
  for (const node of nodeNames) {
    const { lines } = cluster.agents.get(node)!;
    const errors = lines.filter(({ level }) => level === 'error' || level === 'fatal');
    assert.deepEqual(errors, [], node);
  }
});
