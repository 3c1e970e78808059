// The command line over maps in memory: what people see, what programs get, what the filters keep, how a verb ends.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { pino } from 'pino';
import { parse } from 'yaml';
import { ClientKind, FlowFlag, Hook, SocketDirection, Verdict } from '../control/abi/layout.gen.ts';
import type { AgentStatus } from '../control/agent/status.ts';
import { openAgent } from '../control/agent.ts';
import { EXITS } from '../control/cli/exits.ts';
import { writeLines } from '../control/cli/output.ts';
import { SECTIONS } from '../control/cli/sections/sections.ts';
import { align } from '../control/cli/table.ts';
import { durationText, printable, printableJson, printableYaml } from '../control/cli/text.ts';
import type { Environment } from '../control/cli/verb.ts';
import { readConfig } from '../control/config.ts';
import { KernelError, type Maps, memoryMaps } from '../control/kernel/maps.ts';
import { run } from '../control/main.ts';
import { serve } from '../control/observe/protocol.ts';
import { type Snapshot, writeSnapshot } from '../control/observe/snapshot.ts';
import { endpoint, type Raw, service, slice } from './lib/objects.ts';
import { testSource } from './lib/source.ts';

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-cli-'));
});
after(() => rmSync(directory, { recursive: true }));

const SIZES = { frontends4: 64, frontends6: 64, backends4: 64, backends6: 64, addresses4: 64, addresses6: 64, slots: 65536 };
const NOW = 1_790_000_000_000;

interface World {
  readonly maps: Maps;
  readonly names: Snapshot['names'];
  /** The id of a Service port's frontends. */
  readonly idOf: (service: string) => number;
}

/** Maps as an agent fills them from these objects. */
async function world(...objects: readonly Raw[]): Promise<World> {
  const maps = memoryMaps(SIZES);
  const source = testSource();
  const agent = openAgent({
    config: {
      nodeName: 'node-a',
      serviceCIDRs: [],
      serviceProxyName: undefined,
      detectLocal: { mode: 'PodInterfaces' },
      nodePortAddresses: { primary: true, ranges: [] },
      syncPeriodMs: 30_000,
      minSyncPeriodMs: undefined,
    },
    source,
    addresses: () => ({ localAddresses: ['192.0.2.10'], defaultRouteAddresses: ['192.0.2.10'] }),
    maps,
    log: pino({ level: 'silent' }),
  });
  source.put(...objects);
  await agent.settled();
  const names = agent.names();
  agent.close();
  const idOf = (wanted: string) => [...names].find(([, name]) => name.service === wanted)?.[0] ?? assert.fail(`no ${wanted}`);
  return { maps, names, idOf };
}

const EXAMPLE: readonly Raw[] = [
  service(
    'web',
    {
      type: 'LoadBalancer',
      clusterIP: '10.96.0.10',
      clusterIPs: ['10.96.0.10', 'fd96::10'],
      ipFamilies: ['IPv4', 'IPv6'],
      externalIPs: ['203.0.113.9'],
      externalTrafficPolicy: 'Local',
      sessionAffinity: 'ClientIP',
      loadBalancerSourceRanges: ['198.51.100.0/24'],
      ports: [{ name: 'http', port: 80, nodePort: 30080 }],
    },
    { status: { loadBalancer: { ingress: [{ ip: '203.0.113.10' }] } } },
  ),
  slice('web', 'web-1', [endpoint('10.244.1.5', { nodeName: 'node-a' }), endpoint('10.244.2.5', { nodeName: 'node-b' })], {
    ports: [{ name: 'http', port: 8080 }],
  }),
  slice('web', 'web-2', ['fd00::5'], { ports: [{ name: 'http', port: 8080 }] }),
  service('empty', { clusterIP: '10.96.0.9', clusterIPs: ['10.96.0.9'], ports: [{ port: 53, protocol: 'UDP' }] }),
];

class Text extends Writable {
  text = '';
  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.text += chunk;
    done();
  }
}

interface Ending {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

interface Given {
  readonly maps?: Maps | undefined;
  readonly names?: Snapshot['names'];
  readonly pinnedMaps?: Environment['pinnedMaps'];
}

let states = 0;

/** Runs a command line against maps, with a snapshot where names are given. */
async function sluice(
  words: string,
  { maps, names, pinnedMaps }: Given = {},
  state = join(directory, `state-${++states}`),
): Promise<Ending> {
  mkdirSync(state, { recursive: true });
  if (names !== undefined) writeSnapshot(join(state, 'snapshot'), { writtenAt: NOW - 5000, names, status: undefined });
  const out = new Text();
  const err = new Text();
  const args = words.split(' ');
  const places = args.includes('--help') ? [] : ['--state-directory', state, '--pin-directory', '/sys/fs/bpf/none'];
  const code = await run([...args, ...places], {
    out,
    err,
    native: () => assert.fail('no verb under test loads the addon'),
    pinnedMaps: pinnedMaps ?? (() => maps),
    monotonicNs: () => 1_000_000_000_000n,
    now: () => NOW,
  });
  return { code, out: out.text, err: err.text };
}

describe('dump for people', () => {
  it('frontends: every address and port, the Service behind the number', async () => {
    const given = await world(...EXAMPLE);
    const id = (family: 4 | 6, at: string) => [...given.maps[`frontends${family}`].entries()].find(([key]) => key.address === at)?.[1].id;
    const { out, code, err } = await sluice('dump frontends', given);
    const [v4, v6, empty] = [id(4, '10.96.0.10'), id(6, 'fd96::10'), id(4, '10.96.0.9')].map(String);
    const width = Math.max(...[v4, v6, empty].map((text) => text?.length ?? 0));
    const line = (text: string, number: string | undefined) => `${text}  ${(number ?? '').padStart(width)}`;
    assert.deepEqual(out.split('\n'), [
      line('FRONTEND         PROTOCOL  SERVICE           KIND       POLICY   BACKENDS  LOCAL  MAGLEV  AFFINITY  SOURCES', 'ID'),
      line('0.0.0.0:30080    TCP       default/web:http  NodePort   Local           2      1     701     3h00m  any    ', v4),
      line('10.96.0.9:53     UDP       default/empty     ClusterIP  Cluster      none      -       -         -  any    ', empty),
      line('10.96.0.10:80    TCP       default/web:http  ClusterIP  Cluster         2      -     701     3h00m  any    ', v4),
      line('203.0.113.9:80   TCP       default/web:http  External   Local           2      1     701     3h00m  any    ', v4),
      line('203.0.113.10:80  TCP       default/web:http  External   Local           2      1     701     3h00m  ranges ', v4),
      line('[::]:30080       TCP       default/web:http  NodePort   Local           1      0     701     3h00m  any    ', v6),
      line('[fd96::10]:80    TCP       default/web:http  ClusterIP  Cluster         1      -     701     3h00m  any    ', v6),
      '',
    ]);
    assert.deepEqual([code, err], [0, '']);
  });

  it('backends, slices and Maglev tables: which backend stands where', async () => {
    const given = await world(...EXAMPLE);
    assert.deepEqual((await sluice('dump backends', given)).out.split('\n'), [
      'ID  BACKEND          PROTOCOL  STATE    PLACE   GENERATION  SERVICES',
      ' 1  10.244.1.5:8080  TCP       serving  local            1  default/web:http',
      ' 2  10.244.2.5:8080  TCP       serving  remote           1  default/web:http',
      ' 1  [fd00::5]:8080   TCP       serving  remote           1  default/web:http',
      '',
    ]);
    const slices = (await sluice('dump slices', given)).out.split('\n').map((line) => line.replace(/ +\d+ /, ' SLOT '));
    assert.deepEqual(slices.slice(1), [
      'default/web:http  IPv4    Cluster SLOT  10.244.1.5:8080   1',
      'default/web:http  IPv4    Cluster SLOT  10.244.2.5:8080   2',
      'default/web:http  IPv4    Local SLOT  10.244.1.5:8080   1',
      'default/web:http  IPv6    Cluster SLOT  [fd00::5]:8080    1',
      '',
    ]);
    const maglev = JSON.parse((await sluice('dump maglev -o json --backend 10.244.2.5', given)).out);
    assert.equal(maglev.length, 1);
    assert.equal(maglev[0].size, 701);
    assert.ok(Math.abs(maglev[0].slots - 350) <= 1);
  });

  it('conntrack, affinity and verdicts: where a flow goes, how old it is, who sticks to whom', async () => {
    const given = await world(...EXAMPLE);
    const { maps } = given;
    const frontend = [...maps.frontends4.entries()].find(([key]) => key.address === '10.96.0.10')?.[1].id ?? 0;
    const settings = { ...zeroSettings(maps), jiffies_per_second: 250 };
    maps.settings.set(0, settings);
    maps.self_tests.set(0, { runs: 1n, netns_cookie: 0n, jiffies: 2n ** 32n + 100n, ktime_ns: 999_000_000_000n });
    const key = { source: '10.244.1.7', destination: '10.96.0.10', source_port: 40000, destination_port: 80, protocol: 6 };
    const way = { frontend, backend: 2, generation: 1, ifindex: 0, route_generation: 0, resolved: 0, next_hop: '0.0.0.0', mtu: 0 };
    const macs = { source_mac: '00:00:00:00:00:00', destination_mac: '00:00:00:00:00:00' };
    maps.flows4.set(key, {
      ...{ source: '10.244.1.7', destination: '10.244.2.5', source_port: 40000, destination_port: 8080 },
      ...way,
      ...macs,
      seen: (350 - 500) >>> 0,
      flags: FlowFlag.FLOW_CONFIRMED | FlowFlag.FLOW_FIN,
    });
    const { out } = await sluice('dump conntrack', given);
    assert.deepEqual(out.split('\n'), [
      'PROTOCOL  DIRECTION  FROM              TO             BECOMES FROM      BECOMES TO       WAY    STATE    SERVICE           AGE',
      'TCP       request    10.244.1.7:40000  10.96.0.10:80  10.244.1.7:40000  10.244.2.5:8080  stack  closing  default/web:http   2s',
      '',
    ]);
    maps.affinities.set(
      { frontend, kind: ClientKind.CLIENT_ADDRESS, client: '198.51.100.7' },
      { backend: 2, generation: 1, seen: (350 - 250 * 60) >>> 0 },
    );
    maps.affinities.set({ frontend, kind: ClientKind.CLIENT_ADDRESS, client: '198.51.100.8' }, { backend: 2, generation: 9, seen: 350 });
    // Cookie 0x10cc: the low word first, as the socket hook lays it there.
    maps.affinities.set({ frontend, kind: ClientKind.CLIENT_NETNS, client: 'cc10::' }, { backend: 2, generation: 1, seen: 350 });
    assert.deepEqual((await sluice('dump affinity', given)).out.split('\n').slice(1).sort(), [
      '',
      'default/web:http  198.51.100.7  10.244.2.5:8080     1m00s    2h59m',
      'default/web:http  198.51.100.8  backend 2 (absent)     0s    3h00m',
      'default/web:http  netns 4300    10.244.2.5:8080        0s    3h00m',
    ]);
    const asked = { cookie: 77n, address: '10.244.2.5', port: 8080, protocol: 6, direction: SocketDirection.SOCKET_REPLY };
    maps.socket_flows.set(asked, { address: '10.96.0.10', port: 80, frontend, backend: 2, generation: 1, seen: 350 });
    assert.deepEqual((await sluice('dump sockets', given)).out.split('\n'), [
      'COOKIE  PROTOCOL  ASKED FOR      GETS             SERVICE           AGE',
      '    77  TCP       10.96.0.10:80  10.244.2.5:8080  default/web:http   0s',
      '',
    ]);
    const packets = [0n, 0n, 7n, 0n, 0n, 0n, 0n, 0n, 0n];
    maps.verdicts.set(Verdict.REJECT_NO_ENDPOINTS, { packets });
    const [row] = JSON.parse((await sluice('dump verdicts -o json', given)).out);
    assert.deepEqual([row.verdict, row.packets, row.hooks.pod_ingress, row.hooks.connect], ['REJECT_NO_ENDPOINTS', 7, 7, 0]);
    assert.equal(Hook.HOOK_POD_INGRESS, 2);
  });

  it('all of it, each table under its name', async () => {
    const { out } = await sluice('dump', await world(...EXAMPLE));
    assert.deepEqual(
      out
        .split('\n')
        .filter((line) => line.startsWith('== '))
        .map((line) => line.slice(3)),
      SECTIONS.map((section) => section.name),
    );
    assert.match(out, /== conntrack\nPROTOCOL .*\n\(none\)\n/);
  });

  it('the number where the name is not known, with a warning', async () => {
    const { maps, idOf } = await world(...EXAMPLE);
    const { out, err, code } = await sluice('dump frontends --address 10.96.0.9', { maps });
    assert.match(out, new RegExp(`10\\.96\\.0\\.9:53 +UDP +#${idOf('default/empty')} `));
    assert.match(err, /there is none.*shown by number/);
    assert.equal(code, 0);
  });

  it('a slot that names no backend is shown as such', async () => {
    const given = await world(...EXAMPLE);
    given.maps.slots.fill([...given.maps.frontends4.entries()].find(([key]) => key.port === 80)?.[1].cluster.first ?? 0, [63]);
    assert.match((await sluice('dump slices', given)).out, /backend 63 \(absent\)/);
  });
});

function zeroSettings(maps: Maps) {
  return maps.settings.get(0) ?? assert.fail('settings has one entry');
}

describe('dump for programs', () => {
  it('JSON and YAML say the same, for one table and for all', async () => {
    const given = await world(...EXAMPLE);
    for (const table of [...SECTIONS.map((section) => section.name), 'all']) {
      const json = JSON.parse((await sluice(`dump ${table} -o json`, given)).out);
      const yaml = parse((await sluice(`dump ${table} -o yaml`, given)).out);
      assert.deepEqual(yaml, json, table);
    }
    const all = JSON.parse((await sluice('dump all -o json', given)).out);
    assert.deepEqual(
      Object.keys(all),
      SECTIONS.map((section) => section.name),
    );
    const cluster = all.frontends.find((row: { address: string }) => row.address === '10.96.0.10');
    assert.deepEqual(cluster, {
      service: 'default/web',
      portName: 'http',
      frontendId: cluster.frontendId,
      address: '10.96.0.10',
      port: 80,
      protocol: 'TCP',
      family: 4,
      kind: 'ClusterIP',
      policy: 'Cluster',
      hasEndpoints: true,
      backends: ['10.244.1.5:8080', '10.244.2.5:8080'],
      localBackends: ['10.244.1.5:8080'],
      maglevSize: 701,
      localMaglevSize: 701,
      affinitySeconds: 10800,
      sourceRanges: false,
      selfAllowed: false,
    });
    assert.deepEqual(
      all['source-ranges'].map((row: { range: string }) => row.range),
      ['198.51.100.0/24'],
    );
  });

  it('names keep their value while no control character reaches the terminal', async () => {
    const given = await world(...EXAMPLE);
    const evil = 'ns/\x1b[31m\u202e\u0085\n"\\\u{e0001}';
    const names = new Map([[given.idOf('default/empty'), { service: evil, port: '' }]]);
    for (const format of ['table', 'json', 'yaml']) {
      const { out } = await sluice(`dump frontends --address 10.96.0.9 -o ${format}`, { maps: given.maps, names });
      assert.doesNotMatch(out.replaceAll('\n', ''), /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u, format);
      if (format === 'table') assert.match(out, /ns\/\\x1b\[31m\\u202e\\x85\\n"\\\\\\u\{e0001\}/);
      if (format === 'json') assert.equal(JSON.parse(out)[0].service, evil);
      if (format === 'yaml') assert.equal(parse(out)[0].service, evil);
    }
  });
});

describe('filters', () => {
  it('keep what is about the Service, the address, the backend', async () => {
    const given = await world(...EXAMPLE);
    const rows = async (words: string) => JSON.parse((await sluice(`dump ${words} -o json`, given)).out);
    const addresses = async (words: string) => (await rows(`frontends ${words}`)).map((row: { address: string }) => row.address);
    assert.deepEqual(await addresses('--service default/empty'), ['10.96.0.9']);
    assert.deepEqual(await addresses('--service default/nobody'), []);
    assert.deepEqual(await addresses('--address fd96:0:0::0010'), ['fd96::10']);
    assert.deepEqual(await addresses('--backend [fd00::5]:8080'), ['::', 'fd96::10']);
    assert.deepEqual(await addresses('--backend fd00::5 --address fd96::10'), ['fd96::10']);
    assert.deepEqual(await addresses('--backend 10.244.1.5:9'), []);
    const all = await rows('all --service default/empty');
    assert.deepEqual([all.frontends.length, all.backends.length, all.settings.length], [1, 0, 0]);
  });

  it('refuse what can match nothing, and a Service where no names are known', async () => {
    const given = await world();
    for (const words of ['--service web', '--address 10.96.0', '--backend web:80', '-o xml']) {
      const { code, err } = await sluice(`dump frontends ${words}`, given);
      assert.equal(code, EXITS.usage.code, words);
      assert.notEqual(err, '', words);
    }
    const { code, err } = await sluice('dump frontends --service default/web', { maps: given.maps });
    assert.equal(code, EXITS.nothingPinned.code);
    assert.match(err, /--service needs names/);
  });
});

describe('how a verb ends', () => {
  it('with the code its help documents', async () => {
    assert.equal((await sluice('dump', { maps: undefined })).code, EXITS.nothingPinned.code);
    assert.equal((await sluice('dump nonsense')).code, EXITS.usage.code);
    assert.equal((await sluice('fly')).code, EXITS.usage.code);
    assert.equal((await sluice('status')).code, EXITS.notRunning.code);
    assert.equal((await sluice('agent')).code, EXITS.usage.code);
    const wrong = await sluice('dump --config /nonexistent/config.yaml', { maps: memoryMaps(SIZES) });
    assert.equal(wrong.code, EXITS.usage.code);
    assert.match(wrong.err, /--config.*\/nonexistent\/config\.yaml/);
    const refusing = (error: Error) => ({ pinnedMaps: () => assert.fail(error) });
    const forbidden = await sluice('dump', refusing(Object.assign(new Error('openPin'), { code: 'EPERM' })));
    assert.equal(forbidden.code, EXITS.precondition.code);
    assert.match(forbidden.err, /run as root/);
    const failed = await sluice('dump', refusing(new KernelError('page', 'flows4', 'EFAULT')));
    assert.deepEqual([failed.code, failed.err], [EXITS.failed.code, 'sluice: page flows4: EFAULT\n']);
    const bug = await sluice('dump', refusing(new TypeError('a bug')));
    assert.equal(bug.code, EXITS.failed.code);
    assert.match(bug.err, /TypeError: a bug\n {4}at /);
  });

  it('agent --write-config-to writes what counts and ends', async () => {
    const file = join(directory, 'written.yaml');
    const words =
      '--hostname-override node-z --masquerade-all=true -v=4 --proxy-mode ipvs --healthz-bind-address= --nodeport-addresses all';
    const { code, out, err } = await sluice(`agent --write-config-to ${file} ${words}`);
    assert.deepEqual([code, out, err], [0, '', '']);
    const { nodeName, masqueradeAll, verbosity, healthzBindAddress, nodePortAddresses } = readConfig({}, file);
    assert.deepEqual(
      [nodeName, masqueradeAll, verbosity, healthzBindAddress, nodePortAddresses.primary],
      ['node-z', true, 4, undefined, false],
    );
    assert.equal((await sluice('agent --write-config-to /nonexistent/x')).code, EXITS.failed.code);
  });

  it('a list may be given in several flags, as kube-proxy takes it', async () => {
    const file = join(directory, 'lists.yaml');
    const words = '--nodeport-addresses=10.0.0.0/8 --nodeport-addresses=192.168.0.0/16,fd00::/64 --map-size flows4=10 --map-size flows6=20';
    assert.deepEqual(await sluice(`agent --write-config-to ${file} ${words}`), { code: 0, out: '', err: '' });
    const { nodePortAddresses, mapSizes } = readConfig({}, file);
    assert.deepEqual(nodePortAddresses.ranges, ['10.0.0.0/8', '192.168.0.0/16', 'fd00::/64']);
    assert.deepEqual(mapSizes, { flows4: 10, flows6: 20 });
  });

  it('agent does instead of running what a switch says in any of Go’s ways, and nothing where nobody can tell', async () => {
    for (const flag of ['--cleanup', '--init-only']) {
      // To run, it would want a source before the addon.
      for (const yes of ['=true', '=TRUE', '=1', '=t', ''])
        assert.match((await sluice(`agent ${flag}${yes}`)).err, /no verb under test loads the addon/, flag + yes);
      const { code, err } = await sluice(`agent ${flag}=yes`);
      assert.deepEqual([code, err], [EXITS.usage.code, `sluice: ${flag}: given "yes"; allowed: true, false\n`]);
    }
    assert.match((await sluice('agent --cleanup=0 --init-only=F')).err, /sluice.manifests .* given nothing/);
  });

  it('every verb has help with an example and exit codes, and help is no failure', async () => {
    for (const verb of ['agent', 'dump', 'status', 'explain', 'check', 'cleanup']) {
      const { out, code } = await sluice(`${verb} --help`);
      assert.equal(code, 0);
      assert.match(out, new RegExp(`Examples:\n  sluice ${verb}`));
      assert.match(out, /Exit codes:\n {2}0 {2}done/);
      for (const option of ['--config', '--pin-directory', '--state-directory']) assert.match(out, new RegExp(option), `${verb} ${option}`);
    }
    assert.match((await sluice('--help')).out, /Exit codes:/);
    assert.equal(new Set(Object.values(EXITS).map(({ code }) => code)).size, Object.keys(EXITS).length);
  });
});

describe('status', () => {
  const status: AgentStatus = {
    version: '0.1.0',
    pid: 42,
    startedAt: NOW - 190_000,
    takenAt: NOW,
    node: { name: 'node-a', hasObject: false, zone: null, primaryAddresses: ['192.0.2.10'], nodePortAddresses: ['192.0.2.10'] },
    source: {
      synced: true,
      services: 3,
      endpointSlices: 4,
      manifests: { directory: '/etc/m', files: 2, ignored: { 'apps/v1 Deployment': 1 } },
      apiServer: null,
    },
    loop: { services: 2, turns: 9, lastWritten: 5, oldestChangeMs: 1500, refusal: 'set frontends4: ENOMEM', refusals: 3, drifts: 0 },
    problems: [
      { object: 'Service default/w\x1b', origin: 'w.yaml', field: 'spec.clusterIP', reason: 'NoClusterIP', message: 'no clusterIP' },
    ],
    datapath: undefined,
  };

  it('asks the running agent', async () => {
    const state = join(directory, 'running');
    mkdirSync(state);
    const server = await serve(join(state, 'agent.sock'), () => status);
    const { out, code } = await sluice('status', {}, state);
    await server.close();
    assert.equal(code, 0);
    assert.deepEqual(out.split('\n'), [
      'agent         runs since 3m10s, pid 42, version 0.1.0',
      "node          node-a, zone unknown, 192.0.2.10 (no Node object: the default-route device's)",
      'NodePorts on  192.0.2.10',
      'manifests     /etc/m: 2 files, 3 Services, 4 EndpointSlices; not ours: 1 apps/v1 Deployment',
      'in the maps   2 Services after 9 turns, drift found 0 times',
      'changes       the oldest waits since 1500 ms; refused 3 times: set frontends4: ENOMEM',
      '',
      '1 Problem',
      '  Service default/w\\x1b spec.clusterIP (w.yaml): NoClusterIP: no clusterIP',
      '',
    ]);
  });

  it('says of every resource how it is followed', async () => {
    const state = join(directory, 'kube');
    mkdirSync(state);
    const resource = {
      synced: true,
      how: 'watch list',
      connected: true,
      reconnects: 3,
      relists: 1,
      errors: 2,
      broken: 0,
      late: 0,
    } as const;
    const apiServer = {
      identity: 'kubeconfig /etc/k',
      servers: ['https://192.0.2.1:6443', 'https://192.0.2.2:6443'],
      server: 'https://192.0.2.2:6443',
      resources: [
        { ...resource, resource: 'services', resourceVersion: '1234', heardMs: 12_000 },
        { ...resource, resource: 'nodes', how: 'list' as const, synced: false, connected: false, resourceVersion: null, heardMs: null },
      ],
    };
    const server = await serve(join(state, 'agent.sock'), () => ({
      ...status,
      source: { ...status.source, synced: false, manifests: null, apiServer },
    }));
    const { out, code } = await sluice('status', {}, state);
    await server.close();
    assert.equal(code, 0);
    assert.match(
      out,
      /^API server +https:\/\/192\.0\.2\.2:6443, one of 2, by kubeconfig \/etc\/k: 3 Services, 4 EndpointSlices, first read not done$/m,
    );
    assert.deepEqual(out.split('\n').slice(7, 10), [
      'RESOURCE  SYNCED  BY          WATCHED  VERSION  HEARD    RECONNECTS  RELISTS  ERRORS  BROKEN  LATE',
      'services  yes     watch list  yes      1234     12s ago           3        1       2       0     0',
      'nodes     no      list        no       -        never             3        1       2       0     0',
    ]);
  });

  it('of a dead agent: what the snapshot and the pins still say', async () => {
    const state = join(directory, 'dead');
    mkdirSync(state);
    writeSnapshot(join(state, 'snapshot'), { writtenAt: NOW - 65_000, names: new Map(), status });
    const { maps } = await world(...EXAMPLE);
    const { out, err, code } = await sluice('status', { maps }, state);
    assert.equal(code, EXITS.notRunning.code);
    assert.match(err, /no agent listens/);
    assert.match(out, /^agent +does not run; last heard of 1m05s ago$/m);
    assert.match(out, /^node +node-a,/m);
    assert.match(out, /^frontends4 +5 +64 +7\.8%$/m);
    assert.match(out, /NoClusterIP/);
  });
});

describe('text', () => {
  it('printable text has no control, format or separator character, and distinct texts stay distinct', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.string({ unit: 'binary' }), (a, b) => {
        assert.doesNotMatch(printable(a), /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Zl}\p{Zp}]/u);
        if (a !== b) assert.notEqual(printable(a), printable(b));
        assert.equal(JSON.parse(printableJson(JSON.stringify(a))), a);
      }),
    );
    assert.equal(printableYaml('"\u{e0001}\u2028"\n'), '"\\U000e0001\\u2028"\n');
  });

  it('durations', () => {
    assert.deepEqual([0, 59.9, 60, 3599, 3600, 86_399, 90_000].map(durationText), [
      '0s',
      '59s',
      '1m00s',
      '59m59s',
      '1h00m',
      '23h59m',
      '1d01h',
    ]);
  });

  it('a table is lazy: a million rows are never held', () => {
    let made = 0;
    function* rows(): Generator<string[]> {
      for (; made < 1_000_000; made++) yield [String(made)];
    }
    const lines = align([{ title: 'N', right: true }], rows());
    lines.next();
    lines.next();
    assert.ok(made < 10_000, `${made} rows were made for two lines`);
  });
});

describe('output', () => {
  it('stops quietly when the reader has left, and not before the reader had time', async () => {
    let written = 0;
    const leaving = new Writable({
      write(_chunk, _encoding, done) {
        written++;
        done(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
      },
    });
    let made = 0;
    function* endless(): Generator<string> {
      for (;;) {
        made++;
        yield 'x'.repeat(1000);
      }
    }
    await writeLines(leaving, endless());
    assert.equal(written, 1);
    assert.ok(made < 1000);
    let most = 0;
    const slow = new Writable({
      highWaterMark: 1000,
      write(_chunk, _encoding, done) {
        most = Math.max(most, slow.writableLength);
        setImmediate(done);
      },
    });
    await writeLines(
      slow,
      Array.from({ length: 1000 }, () => 'x'.repeat(1000)),
    );
    assert.ok(most < 200_000, `${most} bytes were waiting`);
  });

  it('other write errors are errors', async () => {
    const full = new Writable({ write: (_chunk, _encoding, done) => done(Object.assign(new Error('no space'), { code: 'ENOSPC' })) });
    await assert.rejects(writeLines(full, ['a']), /no space/);
  });
});
