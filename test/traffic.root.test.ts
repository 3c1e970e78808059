// What about traffic that no row of a table is? The node's other ports, the node's own packets without the socket hook, fragments, ICMP
// errors, narrow ways, other people's filters, and a dead or absent datapath.
import assert from 'node:assert/strict';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { servingPins } from '../control/kernel/pins.ts';
import { type Agent, pinnedMaps, startAgent, verdictCounts, verdictsBetween } from './lib/agent.ts';
import { parseDestination, wordsOf } from './lib/flow.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { families, type PlaceName, places } from './lib/places.ts';
import { plainLane } from './lib/topology.ts';
import { type Answer, type AskOptions, ask, serveAll } from './lib/wire.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const protocols = ['tcp', 'udp'] as const;

/** Asks a destination of the flow tables' words. */
async function askTo(lab: Lab, from: PlaceName, to: string, options: AskOptions = {}): Promise<Answer> {
  const { address, port, protocol } = parseDestination(to);
  return (await ask(lab, from, protocol, address, port, options))[0]!;
}

/** The verdicts on node A that moved while something ran. */
async function moved(lab: Lab, run: () => Promise<unknown>): Promise<Map<string, number>> {
  const maps = pinnedMaps(lab, 'nodeA');
  const counts = verdictCounts(maps);
  await run();
  return verdictsBetween(counts, verdictCounts(maps));
}

describe('the socket hook off', () => {
  let lab: Lab;
  let agent: Agent;
  const own = (flags: readonly string[] = []) => startAgent(lab, 'nodeA', manifests, ['--socket', 'off', ...flags]);
  before(async () => {
    lab = openLab(plainLane);
    await serveAll(lab);
    agent = await own();
  });
  after(() => lab.close());

  for (const family of families)
    for (const protocol of protocols) {
      const words = wordsOf(family, protocol);

      test(`an externalIP equal to a node address takes the Service's port alone, ssh and the rest stay: IPv${family} ${protocol}`, async () => {
        assert.equal((await askTo(lab, 'outside', words.host('nodeA', 80))).name, 'a1');
        for (const port of [22, 8080]) assert.equal((await askTo(lab, 'outside', words.host('nodeA', port))).name, 'nodeA', `port ${port}`);
        for (const port of [22, 8080])
          assert.equal((await askTo(lab, 'clientA', words.host('nodeA', port))).name, 'nodeA', `port ${port} from a pod`);
      });

      test(`the node's own packets to a ClusterIP are served on their way out: IPv${family} ${protocol}`, async () => {
        for (const [service, backend] of [
          ['here', 'a1'],
          ['remote', 'b1'],
          ['host-elsewhere', 'nodeB'],
        ] as const) {
          const answer = await askTo(lab, 'nodeA', words.clusterIP(service), { timeoutMs: 1500 });
          assert.deepEqual(
            [answer.name, answer.name && answer.seen],
            [backend, places.nodeA[family]],
            `${service}: ${JSON.stringify(answer)}`,
          );
        }
      });
    }

  for (const family of families)
    for (const from of ['clientA', 'nodeA', 'outside'] as const)
      test(`a port that had a Service's connection is free for one to the backend itself: IPv${family} from ${from}`, async () => {
        const tcp = wordsOf(family, 'tcp');
        const service = from === 'outside' ? tcp.nodePort('here') : tcp.clusterIP('here');
        for (const sourcePort of [43001, 43002]) {
          assert.equal((await askTo(lab, from, service, { sourcePort })).name, 'a1');
          const direct = await askTo(lab, from, tcp.host('a1', 8080), { sourcePort });
          assert.deepEqual([direct.name, direct.error], ['a1', undefined]);
          const again = await askTo(lab, from, service, { sourcePort });
          assert.deepEqual([again.name, again.error], ['a1', undefined]);
        }
      });

  for (const family of families) {
    const udp = wordsOf(family, 'udp');

    test(`a datagram in fragments: named and dropped where it is for a frontend, let through where it is not: IPv${family}`, async () => {
      const verdicts = await moved(lab, async () => {
        const answer = await askTo(lab, 'outside', udp.nodePort('here'), { size: 4000, timeoutMs: 300 });
        assert.equal(answer.error, 'ETIMEDOUT');
      });
      assert.equal(verdicts.get('DROP_FRAGMENT'), 1);
      assert.equal(verdicts.get('TRANSLATE_REQUEST'), undefined);
      assert.equal((await askTo(lab, 'outside', udp.host('nodeA', 22), { size: 4000 })).name, 'nodeA');
    });
  }

  /** Attaches a filter of somebody else in front of a device, as the tools of others do; returns what removes it. */
  async function foreign(section: string): Promise<() => Promise<string>> {
    const object = join(lab.directory, 'foreign.o');
    const source = fileURLToPath(new URL('./foreign.bpf.c', import.meta.url));
    await execa('clang', [
      '-O2',
      '-g',
      '-target',
      'bpf',
      `-I/usr/include/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`,
      '-c',
      source,
      '-o',
      object,
    ]);
    await lab.run('nodeA', 'tc', ['qdisc', 'replace', 'dev', 'eth0', 'clsact']);
    await lab.run('nodeA', 'tc', [
      'filter',
      'add',
      'dev',
      'eth0',
      'ingress',
      'bpf',
      'direct-action',
      'object-file',
      object,
      'section',
      section,
    ]);
    return () => lab.run('nodeA', 'tc', ['qdisc', 'delete', 'dev', 'eth0', 'clsact']);
  }

  test("somebody else's filter sees what we pass, and its drop counts", async () => {
    const remove = await foreign('drop');
    const udp = wordsOf(4, 'udp');
    assert.equal((await askTo(lab, 'outside', udp.host('nodeA', 22), { timeoutMs: 300 })).error, 'ETIMEDOUT');
    assert.equal((await askTo(lab, 'outside', udp.nodePort('here'))).name, 'a1');
    await remove();
    assert.equal((await askTo(lab, 'outside', udp.host('nodeA', 22))).name, 'nodeA');
  });

  test("somebody else's filter that ends the chain does not end ours", async () => {
    const remove = await foreign('end');
    for (const family of families) assert.equal((await askTo(lab, 'outside', wordsOf(family, 'tcp').nodePort('remote'))).name, 'b1');
    await remove();
  });

  test('control: without our programs nothing of it works', async () => {
    await agent.end('SIGTERM');
    const tcp = wordsOf(4, 'tcp');
    assert.equal((await askTo(lab, 'outside', tcp.nodePort('here'))).name, 'a1', 'a stopped agent keeps serving');
    const links = servingPins(lab.pinDirectory('nodeA'))!.deviceLinks;
    for (const link of readdirSync(links)) rmSync(join(links, link));
    // The kernel lets go of a link some time after its last pin: asked until it has.
    const fails = async (from: PlaceName, to: string) => {
      for (let tries = 0; tries < 20; tries++) if ((await askTo(lab, from, to, { timeoutMs: 500 })).error) return true;
      return false;
    };
    assert.ok(await fails('outside', tcp.nodePort('here')));
    assert.ok(await fails('clientA', tcp.clusterIP('here')));
    agent = await own();
    assert.equal((await askTo(lab, 'outside', tcp.nodePort('here'))).name, 'a1', 'and serves again with them');
  });
});

/** A Service whose only backend has nobody listening, on node B. */
const closed = ['10.96.0.90', 'fd96::90'].map((address, index) => ({
  service: `{apiVersion: v1, kind: Service, metadata: {name: closed-${index}, namespace: lab}, spec: {type: NodePort, clusterIP: '${address}', clusterIPs: ['${address}'], ports: [{protocol: UDP, port: 80, nodePort: 3009${index}}]}}`,
  slice: `{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {name: closed-${index}, namespace: lab, labels: {kubernetes.io/service-name: closed-${index}}}, addressType: IPv${families[index]}, ports: [{name: '', protocol: UDP, port: 9}], endpoints: [{addresses: ['${places.b1[families[index]!]}'], nodeName: node-b}]}`,
}));

test('an ICMP error about a translated flow has its verdict, and no half of a translation reaches the client', async () => {
  const lab = openLab(plainLane);
  try {
    await serveAll(lab);
    const directory = join(lab.directory, 'manifests');
    mkdirSync(directory);
    writeFileSync(join(directory, 'closed.yaml'), `${closed.flatMap(({ service, slice }) => [service, slice]).join('\n---\n')}\n`);
    await startAgent(lab, 'nodeA', directory, ['--socket', 'off']);
    for (const [index, family] of families.entries())
      for (const [from, to] of [
        ['outside', `${places.nodeA[family]} 3009${index}`],
        ['clientA', `${family === 4 ? '10.96.0.90' : 'fd96::90'} 80`],
      ] as const) {
        const [address, port] = to.split(' ') as [string, string];
        const verdicts = await moved(lab, async () => {
          const [answer] = await ask(lab, from, 'udp', address, Number(port), { timeoutMs: 400 });
          assert.equal(answer!.error, 'ETIMEDOUT', `${from} to ${to}: ${JSON.stringify(answer)}`);
        });
        assert.ok(verdicts.has('DROP_ICMP_ERROR'), `${from} to ${to}: ${[...verdicts.keys()]}`);
      }
  } finally {
    lab.close();
  }
});

test('a way narrower than the packets: the client is told, and the transfer comes through', async () => {
  const lab = openLab({ ...plainLane, backendMtu: 1400, offload: true });
  try {
    await serveAll(lab);
    await startAgent(lab, 'nodeA', manifests, ['--socket', 'off']);
    for (const family of families) {
      const verdicts = await moved(lab, async () => {
        const answer = await askTo(lab, 'outside', wordsOf(family, 'tcp').nodePort('remote'), { size: 4000, count: 20 });
        assert.equal(answer.name, 'b1', JSON.stringify(answer));
      });
      assert.ok(verdicts.has('REJECT_TOO_BIG'), [...verdicts.keys()].join(' '));
    }
  } finally {
    lab.close();
  }
});
