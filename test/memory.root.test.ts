// What is remembered, for how long, and what is not: affinity, Maglev, flows of one client to two frontends, datagrams of Services that
// come, empty and go, networks of ClusterIPs that change. The rows of docs/semantics.md that are histories, on real connections.
import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { ClientKind } from '../control/abi/layout.gen.ts';
import type { Maps } from '../control/kernel/maps.ts';
import { type Agent, pinnedMaps, startAgent, verdictCounts, verdictsBetween } from './lib/agent.ts';
import { type FlowProtocol, parseDestination, wordsOf } from './lib/flow.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { endpoint, type Raw, service, serviceCIDR, slice } from './lib/objects.ts';
import { backendPort, type PlaceName, places } from './lib/places.ts';
import { until } from './lib/sandbox.ts';
import { plainLane } from './lib/topology.ts';
import { type Answer, type AskOptions, ask, serveAll } from './lib/wire.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));

let lab: Lab;
let maps: Maps;

async function askTo(from: PlaceName, to: string, options: AskOptions = {}): Promise<Answer> {
  const { address, port, protocol } = parseDestination(to);
  return (await ask(lab, from, protocol, address, port, options))[0]!;
}

/** Who answered; fails where nobody did. */
async function answerer(from: PlaceName, to: string, options: AskOptions = {}): Promise<PlaceName> {
  const answer = await askTo(from, to, options);
  assert.equal(answer.error, undefined, `${from} to ${to}: ${answer.error}`);
  return answer.name!;
}

/** No flow is remembered. */
function forgetFlows(): void {
  for (const table of [maps.flows4, maps.new_flows4]) table.deleteMany([...table.entries()].map(([key]) => key));
}

function idOf(pod: PlaceName, protocol: FlowProtocol): number {
  const number = protocol === 'tcp' ? 6 : 17;
  for (const [id, entry] of maps.backends4.entries())
    if (entry.address === places[pod][4] && entry.port === backendPort && entry.protocol === number && entry.flags !== 0) return id;
  throw new Error(`no backend ${pod}`);
}

describe('over the manifests of the flow tables', () => {
  before(async () => {
    lab = openLab(plainLane);
    await serveAll(lab);
    await startAgent(lab, 'nodeA', manifests, ['--socket', 'off', '--xdp', 'off']);
    maps = pinnedMaps(lab, 'nodeA');
  });
  after(() => lab.close());

  for (const protocol of ['tcp', 'udp'] as const) {
    const words = wordsOf(4, protocol);

    /** The affinity of clientA at Service `sticky`. */
    function affinity() {
      const found = [...maps.affinities.entries()].find(
        ([{ kind, client, frontend }]) =>
          kind === ClientKind.CLIENT_ADDRESS && client === places.clientA[4] && frontend === maps.frontends4.get(key())?.id,
      );
      return found ?? assert.fail('no affinity is remembered');
    }
    const key = () => ({ address: parseDestination(words.clusterIP('sticky')).address, port: 80, protocol: protocol === 'tcp' ? 6 : 17 });
    /** Gives clientA an affinity of this age. */
    function setAffinity(pod: PlaceName, ageSeconds: number): void {
      const [at, held] = affinity();
      const id = idOf(pod, protocol);
      const jiffies = ageSeconds * maps.settings.get(0)!.jiffies_per_second;
      const { generation } = maps.backends4.get(id)!;
      maps.affinities.set(at, { ...held, backend: id, generation, seen: (held.seen - jiffies) >>> 0 });
    }

    test(`affinity holds to its second, then the choice is fresh and remembered (5.2, 5.6): ${protocol}`, async () => {
      await answerer('clientA', words.clusterIP('sticky'));
      const { affinity_seconds } = maps.frontends4.get(key())!;
      assert.equal(affinity_seconds, 10_800);
      for (const pod of ['a1', 'b2', 'a2'] as const) {
        setAffinity(pod, affinity_seconds - 60);
        forgetFlows();
        assert.equal(await answerer('clientA', words.clusterIP('sticky')), pod, 'a minute before the end it counts, and is renewed');
        assert.equal(await answerer('clientA', words.clusterIP('sticky')), pod);
      }
      const met = new Set<PlaceName>();
      for (let round = 0; round < 24 && met.size < 2; round++) {
        setAffinity('a1', affinity_seconds + 1);
        const name = await answerer('clientA', words.clusterIP('sticky'));
        met.add(name);
        assert.equal(affinity()[1].backend, idOf(name, protocol), 'what was chosen is what is remembered');
        assert.equal(await answerer('clientA', words.clusterIP('sticky')), name, 'and followed by the next');
      }
      assert.ok(met.size > 1, `24 fresh choices of four: always ${[...met]}`);
    });

    test(`an affinity to a backend that takes no new connections is not followed (5.2): ${protocol}`, async () => {
      await answerer('clientA', words.clusterIP('sticky'));
      const frontend = maps.frontends4.get(key())!;
      // Without b2, as if it were not ready any more: slots ascend by id.
      const members = Array.from({ length: frontend.cluster.count }, (_, i) => maps.slots.get(frontend.cluster.first + i));
      setAffinity('b2', 10);
      const others = members.filter((id) => id !== idOf('b2', protocol));
      const first = maps.slots.length - others.length;
      maps.slots.fill(first, others);
      const changed = { ...frontend, cluster: { first, count: others.length } };
      const check = (frontend.check ^ frontend.cluster.first ^ frontend.cluster.count ^ first ^ others.length) >>> 0;
      maps.frontends4.set(key(), { ...changed, check });
      try {
        const name = await answerer('clientA', words.clusterIP('sticky'));
        assert.notEqual(name, 'b2');
        assert.equal(affinity()[1].backend, idOf(name, protocol));
      } finally {
        maps.frontends4.set(key(), frontend);
      }
    });

    test(`one client port to two frontends of one backend: both are answered (9.11): ${protocol}`, async () => {
      const port = protocol === 'tcp' ? 42_001 : 42_002;
      const seen: number[] = [];
      for (const to of [words.nodePort('here'), words.vip('here'), words.externalIP('here')]) {
        const answer = await askTo('outside', to, { sourcePort: port });
        assert.equal(answer.error, undefined, `${to}: ${answer.error}`);
        assert.deepEqual([answer.name, answer.seen], ['a1', places.outside[4]]);
        seen.push(answer.seenPort!);
      }
      assert.equal(seen[0], port, 'the first keeps the port');
      assert.equal(new Set(seen).size, 3, `the backend sees three clients: ${seen}`);
    });
  }

  test('Maglev for a client from outside, chance for a pod, of one tuple asked again and again (6.3)', async () => {
    const words = wordsOf(4, 'udp');
    const met = async (from: PlaceName, to: string) => {
      const names = new Set<PlaceName>();
      for (let round = 0; round < 16; round++) {
        forgetFlows();
        names.add(await answerer(from, to, { sourcePort: 42_100 }));
      }
      return [...names];
    };
    assert.equal((await met('outside', words.nodePort('web'))).length, 1);
    assert.ok((await met('clientA', words.nodePort('web'))).length > 1, 'a pod at the same node port');
  });
});

describe('Services that come, empty and go', () => {
  let directory: string;
  let agent: Agent;
  const VIP = '203.0.113.7';
  const put = (name: string, ...objects: readonly Raw[]) => {
    const path = join(directory, name);
    writeFileSync(`${path}.new`, objects.map((object) => JSON.stringify(object)).join('\n---\n'));
    renameSync(`${path}.new`, path);
  };
  const spec = { clusterIP: '10.96.0.70', externalIPs: [VIP], ports: [{ port: 53, protocol: 'UDP' }] };
  const slices = (...pods: readonly PlaceName[]) =>
    slice(
      'dns',
      'dns-1',
      pods.map((pod) => endpoint(places[pod][4], { nodeName: 'node-a' })),
      {
        addressType: 'IPv4',
        ports: [{ name: '', protocol: 'UDP', port: backendPort }],
      },
    );
  const key = { address: '10.96.0.70', port: 53, protocol: 17 };
  const query = (address: string, from: PlaceName = 'clientA') =>
    ask(lab, from, 'udp', address, 53, { sourcePort: 42_200, unconnected: true, timeoutMs: 400 }).then(([answer]) => answer!);

  /** The verdicts on node A that moved meanwhile. */
  async function moved(run: () => Promise<unknown>): Promise<readonly string[]> {
    const counts = verdictCounts(maps);
    await run();
    return [...verdictsBetween(counts, verdictCounts(maps)).keys()];
  }

  before(async () => {
    lab = openLab(plainLane);
    await serveAll(lab);
    directory = join(lab.directory, 'manifests');
    mkdirSync(directory);
    agent = await startAgent(lab, 'nodeA', directory, ['--xdp', 'off']);
    maps = pinnedMaps(lab, 'nodeA');
  });
  after(() => lab.close());

  test('datagrams of one socket port before the Service, with it, without endpoints, with others, and after it (9.2, 9.3)', async () => {
    for (const address of [VIP, key.address]) assert.ok((await query(address)).error, `${address} is nobody's yet`);
    put('dns.json', service('dns', spec), slices('a1'));
    await until('the Service is programmed', () => maps.frontends4.get(key)?.cluster.count === 1);
    for (const address of [VIP, key.address])
      assert.equal((await query(address)).name, 'a1', 'what passed before it was there is no obstacle');

    put('dns.json', service('dns', spec), slices('a2'));
    await until('a1 is gone', () =>
      [...maps.backends4.entries()].every(([, { address, flags }]) => address !== places.a1[4] || flags === 0),
    );
    assert.equal((await query(key.address)).name, 'a2', 'the very next datagram');

    put('dns.json', service('dns', spec));
    await until('no endpoint is left', () => maps.frontends4.get(key)?.cluster.count === 0);
    const empty = await moved(() => query(key.address));
    assert.ok(empty.includes('REJECT_NO_ENDPOINTS'), empty.join());

    put('dns.json', service('dns', spec), slices('a1'));
    await until('one is there again', () => maps.frontends4.get(key)?.cluster.count === 1);
    assert.equal((await query(key.address)).name, 'a1', 'empty and not empty');

    await agent.end('SIGKILL');
    put('dns.json', service('dns', spec), slices('a2'));
    assert.equal((await query(key.address)).name, 'a1', 'nobody knows better while no agent runs');
    agent = await startAgent(lab, 'nodeA', directory, ['--xdp', 'off']);
    assert.equal((await query(key.address)).name, 'a2', 'what changed while it was away counts from its first turn');

    rmSync(join(directory, 'dns.json'));
    await until('the Service is gone', () => maps.frontends4.get(key) === undefined);
    const gone = await moved(() => query(key.address));
    assert.ok(!gone.includes('TRANSLATE_REQUEST'), `no datagram goes to a backend of a Service that is gone: ${gone}`);
  });

  test('networks of ClusterIPs come and go while traffic asks (4.4)', async () => {
    const unassigned = '10.97.0.9';
    const drops = async () => (await moved(() => query(unassigned))).includes('DROP_UNASSIGNED');
    assert.equal(await drops(), false);
    put('cidr.json', serviceCIDR('more', ['10.97.0.0/16']));
    await until('the network is known', () => maps.settings.get(0)?.service_count4 === 1);
    assert.equal(await drops(), true);
    put('cidr.json', serviceCIDR('more', ['10.98.0.0/16']));
    await until('it is another', () => maps.settings.get(0)?.service4[0]?.network === '10.98.0.0');
    assert.equal(await drops(), false);
  });
});
