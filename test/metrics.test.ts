// What a scrape shows: kube-proxy's names with its buckets and labels, ours beside them, in a form that Prometheus takes, at a price
// that an agent of 10,000 Services can pay.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import type { Registry } from 'prom-client';
import { type Flow4, FlowFlag, Hook, Verdict } from '../control/abi/layout.gen.ts';
import { openFill } from '../control/agent/fill.ts';
import { effectiveFields } from '../control/config/effective.ts';
import { readConfig } from '../control/config.ts';
import { memoryMaps } from '../control/kernel/maps.ts';
import { openFlowTally } from '../control/kernel/tally.ts';
import { buildModel } from '../control/model/build.ts';
import type { Model } from '../control/model/model.ts';
import { metricsPages, openRegistry } from '../control/observe/metrics.ts';
import { byService, type NodeView, openNodeMetrics } from '../control/observe/node-metrics.ts';
import { openProxyMetrics, type ProxyView } from '../control/observe/proxy-metrics.ts';
import { openServiceCounts } from '../control/observe/service-counts.ts';
import { readExposition, type Sample } from './lib/exposition.ts';
import { endpoint, node, objectsOf, type Raw, service, slice } from './lib/objects.ts';

const STARTED = Date.UTC(2026, 0, 1);

function modelOf(...manifests: Raw[]): Model {
  const facts = { name: 'here', zone: undefined, primaryAddresses: ['192.0.2.1'], localAddresses: ['192.0.2.1'], podCIDRs: [] };
  const options = { serviceCIDRs: [], serviceProxyName: undefined, detectLocal: { mode: 'PodInterfaces' } } as const;
  return buildModel(objectsOf(node('here', ['192.0.2.1']), ...manifests), facts, options as unknown as Parameters<typeof buildModel>[2]);
}

function proxyMetrics(registry: Registry, more: Partial<ProxyView> = {}) {
  return openProxyMetrics(registry, {
    startedAt: STARTED,
    model: () => undefined,
    changes: () => ({ seen: { services: 0, slices: 0 }, applied: { services: 0, slices: 0 } }),
    queuedAt: () => undefined,
    ...more,
  });
}

function nodeMetrics(registry: Registry, more: Partial<NodeView> = {}) {
  const maps = memoryMaps({ flows4: 8, flows6: 8, new_flows4: 8, new_flows6: 8, slots: 64 });
  openNodeMetrics(registry, {
    version: '1.2.3',
    standing: () => ({
      ...{ ready: true, generationWanted: 3, generationApplied: 2, oldestChangeMs: 1_500, refusals: 1, drifts: 0 },
      problems: [
        { object: 'Service a/b', reason: 'VIPConflict', message: '' },
        { object: 'Service a/c', reason: 'VIPConflict', message: '' },
      ],
    }),
    model: () => undefined,
    maps: () => maps,
    fill: async () => new Map([['flows4', { entries: 5, maxEntries: 8 }]]),
    flows: () => undefined,
    services: () => undefined,
    snatPorts: () => undefined,
    serviceOf: () => undefined,
    resources: () => [{ resource: 'services', connected: true, reconnects: 2, relists: 1, errors: 3 }],
    events: () => ({ sent: 1, repeated: 2, limited: 3, lost: 4, refused: 5 }),
    ...more,
  });
  return maps;
}

/** A sample's value by name and labels; undefined: it is not shown. */
function reader(text: string) {
  const families = readExposition(text);
  return (name: string, labels: Record<string, string> = {}): number | undefined => {
    const matches = ({ labels: has }: Sample) => Object.entries(labels).every(([label, value]) => has[label] === value);
    const family = families.get(name) ?? families.get(name.replace(/_(bucket|sum|count)$/, ''));
    return family?.samples.filter((sample) => sample.name === name).find(matches)?.value;
  };
}

describe('kube-proxy’s metrics', () => {
  it('have its names, types and buckets', async () => {
    const registry = openRegistry();
    const metrics = proxyMetrics(registry, { queuedAt: () => STARTED + 1_000 });
    metrics.turned({ tookMs: 3, full: true, endedAt: STARTED + 2_000, slices: [{ family: 4, triggeredAt: STARTED + 500 }] });
    metrics.turned({ tookMs: 3, full: false, endedAt: STARTED + 2_000, slices: [] });
    const families = readExposition(await registry.metrics());
    assert.deepEqual([...families].map(([name, { type }]) => `${name} ${type}`).sort(), [
      'kubeproxy_network_programming_duration_seconds histogram',
      'kubeproxy_proxy_healthz_total counter',
      'kubeproxy_proxy_livez_total counter',
      'kubeproxy_sync_full_proxy_rules_duration_seconds histogram',
      'kubeproxy_sync_partial_proxy_rules_duration_seconds histogram',
      'kubeproxy_sync_proxy_rules_duration_seconds histogram',
      'kubeproxy_sync_proxy_rules_endpoint_changes_pending gauge',
      'kubeproxy_sync_proxy_rules_endpoint_changes_total counter',
      'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds gauge',
      'kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge',
      'kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge',
      'kubeproxy_sync_proxy_rules_service_changes_pending gauge',
      'kubeproxy_sync_proxy_rules_service_changes_total counter',
    ]);
    const bounds = (name: string) =>
      families
        .get(name)!
        .samples.filter(({ name: full, labels }) => full.endsWith('_bucket') && labels.ip_family === 'IPv4')
        .map(({ labels }) => labels.le);
    const sync = [0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.256, 0.512, 1.024, 2.048, 4.096, 8.192, 16.384];
    assert.deepEqual(bounds('kubeproxy_sync_proxy_rules_duration_seconds'), [...sync.map(String), '+Inf']);
    const programming = bounds('kubeproxy_network_programming_duration_seconds');
    assert.equal(programming.length, 3 + 59 + 12 + 7 + 1);
    assert.deepEqual(
      [programming.slice(0, 5), programming.slice(61, 65), programming.slice(-4)],
      [
        ['0', '0.25', '0.5', '1', '2'],
        ['59', '60', '65', '70'],
        ['240', '270', '300', '+Inf'],
      ],
    );
  });

  it('tell full turns from partial ones, and both families of each', async () => {
    const registry = openRegistry();
    const metrics = proxyMetrics(registry);
    metrics.turned({ tookMs: 500, full: true, endedAt: STARTED + 1_000, slices: [] });
    metrics.turned({ tookMs: 3, full: false, endedAt: STARTED + 2_500, slices: [] });
    const value = reader(await registry.metrics());
    for (const ip_family of ['IPv4', 'IPv6']) {
      assert.equal(value('kubeproxy_sync_proxy_rules_duration_seconds_count', { ip_family }), 2);
      assert.equal(value('kubeproxy_sync_full_proxy_rules_duration_seconds_sum', { ip_family }), 0.5);
      assert.equal(value('kubeproxy_sync_partial_proxy_rules_duration_seconds_sum', { ip_family }), 0.003);
      assert.equal(value('kubeproxy_sync_proxy_rules_last_timestamp_seconds', { ip_family }), STARTED / 1000 + 2.5);
    }
  });

  it('date a change by its slice, unless that is older than we are', async () => {
    const registry = openRegistry();
    const slices = [
      { family: 4, triggeredAt: STARTED + 1_000 },
      { family: 6, triggeredAt: STARTED - 1 },
      { family: 6, triggeredAt: 0 },
    ] as const;
    proxyMetrics(registry).turned({ tookMs: 1, full: false, endedAt: STARTED + 1_700, slices });
    const value = reader(await registry.metrics());
    assert.equal(value('kubeproxy_network_programming_duration_seconds_sum', { ip_family: 'IPv4' }), 0.7);
    assert.equal(value('kubeproxy_network_programming_duration_seconds_count', { ip_family: 'IPv6' }), undefined);
  });

  it('count changes seen and not yet in the maps', async () => {
    const registry = openRegistry();
    let applied = { services: 4, slices: 7 };
    proxyMetrics(registry, { changes: () => ({ seen: { services: 5, slices: 9 }, applied }) });
    const read = async () => reader(await registry.metrics());
    const names = ['service_changes_pending', 'service_changes_total', 'endpoint_changes_pending', 'endpoint_changes_total'];
    const values = (value: ReturnType<typeof reader>) => names.map((name) => value(`kubeproxy_sync_proxy_rules_${name}`));
    assert.deepEqual(values(await read()), [1, 5, 2, 9]);
    applied = { services: 5, slices: 9 };
    assert.deepEqual(values(await read()), [0, 5, 0, 9]);
  });

  it('count Service ports whose Local policy finds nobody here, by policy and family', async () => {
    const away = endpoint('10.1.0.9', { nodeName: 'there' });
    const model = modelOf(
      service('internal', { clusterIP: '10.96.0.1', internalTrafficPolicy: 'Local' }),
      slice('internal', 'i', [away]),
      service('external', {
        clusterIP: '10.96.0.2',
        type: 'NodePort',
        externalTrafficPolicy: 'Local',
        ports: [{ port: 80, nodePort: 30_080 }],
      }),
      slice('external', 'e', [away]),
      service('here', { clusterIP: '10.96.0.3', internalTrafficPolicy: 'Local' }),
      slice('here', 'h', [endpoint('10.1.0.1', { nodeName: 'here' })]),
      service('nobody', { clusterIP: '10.96.0.4', internalTrafficPolicy: 'Local' }),
      slice('nobody', 'n', []),
    );
    const registry = openRegistry();
    proxyMetrics(registry, { model: () => model });
    const value = reader(await registry.metrics());
    const count = (traffic_policy: string, ip_family: string) =>
      value('kubeproxy_sync_proxy_rules_no_local_endpoints_total', { traffic_policy, ip_family });
    assert.deepEqual([count('internal', 'IPv4'), count('external', 'IPv4'), count('internal', 'IPv6')], [1, 1, 0]);
  });

  it('count the answers of the health pages by code', async () => {
    const registry = openRegistry();
    const metrics = proxyMetrics(registry);
    for (const code of [200, 200, 503]) metrics.answered('healthz', code);
    metrics.answered('livez', 200);
    const value = reader(await registry.metrics());
    assert.equal(value('kubeproxy_proxy_healthz_total', { code: '200' }), 2);
    assert.equal(value('kubeproxy_proxy_healthz_total', { code: '503' }), 1);
    assert.equal(value('kubeproxy_proxy_livez_total', { code: '200' }), 1);
  });
});

describe('our own metrics', () => {
  it('say where the agent stands', async () => {
    const registry = openRegistry();
    nodeMetrics(registry);
    const value = reader(await registry.metrics());
    assert.equal(value('sluice_build_info', { version: '1.2.3' }), 1);
    assert.deepEqual(
      ['ready', 'generation_wanted', 'generation_applied', 'oldest_change_age_seconds'].map((name) => value(`sluice_${name}`)),
      [1, 3, 2, 1.5],
    );
    assert.deepEqual([value('sluice_kernel_refusals_total'), value('sluice_map_drifts_total')], [1, 0]);
    assert.equal(value('sluice_problems', { reason: 'VIPConflict' }), 2);
    assert.deepEqual([value('sluice_map_entries', { map: 'flows4' }), value('sluice_map_max_entries', { map: 'flows4' })], [5, 8]);
    const resource = { resource: 'services' };
    const source = ['connected', 'reconnects_total', 'relists_total', 'errors_total'].map((name) =>
      value(`sluice_source_${name}`, resource),
    );
    assert.deepEqual(source, [1, 2, 1, 3]);
    assert.deepEqual([value('sluice_events_total', { outcome: 'repeated' }), value('sluice_events_total', { outcome: 'lost' })], [2, 4]);
    assert.ok(value('process_resident_memory_bytes')! > 1e6);
  });

  it('a Problem that is over is not shown any more', async () => {
    const registry = openRegistry();
    let problems = [{ object: 'Agent', reason: 'PortTaken', message: '' }];
    const standing = { ready: true, generationWanted: 0, generationApplied: 0, oldestChangeMs: undefined, refusals: 0, drifts: 0 };
    nodeMetrics(registry, { standing: () => ({ ...standing, problems }) });
    assert.equal(reader(await registry.metrics())('sluice_problems', { reason: 'PortTaken' }), 1);
    problems = [];
    assert.equal(reader(await registry.metrics())('sluice_problems', { reason: 'PortTaken' }), undefined);
  });

  it('what is not known yet is not shown as 0', async () => {
    const registry = openRegistry();
    nodeMetrics(registry);
    const value = reader(await registry.metrics());
    for (const name of ['services', 'snat_ports', 'snat_flows', 'external_ip_services'])
      assert.equal(value(`sluice_${name}`), undefined, name);
  });

  it('verdicts have their hook and its layer', async () => {
    const registry = openRegistry();
    const maps = nodeMetrics(registry);
    const packets = new Array<bigint>(Hook.HOOK_COUNT).fill(0n);
    packets[Hook.HOOK_XDP] = 7n;
    packets[Hook.HOOK_NIC_INGRESS] = 2n;
    maps.verdicts.set(Verdict.FORWARD_REQUEST, { packets });
    const value = reader(await registry.metrics());
    const count = (hook: string, layer: string, verdict = 'FORWARD_REQUEST') => value('sluice_verdicts_total', { verdict, hook, layer });
    assert.deepEqual([count('xdp', 'xdp'), count('nic_ingress', 'tc'), count('connect', 'socket')], [7, 2, 0]);
    assert.equal(count('xdp', 'xdp', 'DROP_NO_ROUTE'), 0);
  });

  it('count Services with externalIPs that are served (3.7)', async () => {
    const registry = openRegistry();
    const model = modelOf(
      service('old', { externalIPs: ['203.0.113.1'] }),
      service('new', { clusterIP: '10.96.0.11' }),
      service('headless', { clusterIP: 'None', externalIPs: ['203.0.113.2'] }),
    );
    nodeMetrics(registry, { model: () => model });
    const value = reader(await registry.metrics());
    assert.deepEqual([value('sluice_external_ip_services'), value('sluice_services')], [1, 2]);
  });

  it('flows are shown for the Services that have most, the others together', () => {
    const names = new Map([
      [1, 'a/web'],
      [2, 'a/web'],
      [3, 'b/dns'],
      [4, 'c/db'],
    ]);
    const counts = new Map([
      [1, 5],
      [2, 5],
      [3, 20],
      [4, 1],
      [99, 2],
    ]);
    assert.deepEqual(
      [...byService(counts, (id) => names.get(id), 2)],
      [
        ['b/dns', 20],
        ['a/web', 10],
        ['', 3],
      ],
    );
    assert.deepEqual([...byService(new Map([[4, 1]]), (id) => names.get(id), 2)], [['c/db', 1]]);
  });

  it('new flows and drops are summed by Service, never fall, and go with their Service', async () => {
    const { service_counts: map } = memoryMaps({ flows4: 8, flows6: 8, new_flows4: 8, new_flows6: 8, slots: 64 });
    const names = new Map([
      [1, 'a/web'],
      [2, 'a/web'],
      [3, 'b/dns'],
      [4, 'c/db'],
    ]);
    const counts = openServiceCounts(map, (id) => names.get(id), 2);
    const put = (id: number, flows: number, noEndpoints = 0) =>
      map.set(id, { flows: BigInt(flows), no_endpoints: BigInt(noEndpoints), no_local_backend: 0n, source_range: 0n, others: 0n });
    const read = async () =>
      Object.fromEntries([...(await counts.read())].map(([key, { flows, REJECT_NO_ENDPOINTS }]) => [key, [flows, REJECT_NO_ENDPOINTS]]));
    put(1, 5);
    put(2, 2, 1);
    put(3, 7);
    assert.deepEqual(await read(), { '': [0, 0], 'a/web': [7, 1], 'b/dns': [7, 0] });
    put(1, 6);
    put(4, 100);
    assert.deepEqual(await read(), { '': [100, 0], 'a/web': [8, 1], 'b/dns': [7, 0] }, 'no third name');
    names.delete(3);
    assert.deepEqual(await read(), { '': [100, 0], 'a/web': [8, 1] });
    assert.equal(map.get(3), undefined, 'nobody has the id any more');
    put(4, 103);
    assert.deepEqual(await read(), { '': [100, 0], 'a/web': [8, 1], 'c/db': [3, 0] }, 'what was counted under no name stays there');
  });

  it('a sweep over the flows counts requests by frontend and masquerades by backend', () => {
    const tally = openFlowTally();
    assert.equal(tally.counts(), undefined);
    // A sweep that ended in its middle.
    tally.see(4)(undefined, { frontend: 1, backend: 7, flags: 0 } as Flow4);
    const see = tally.see(4);
    const flow = (frontend: number, backend: number, flags: number) => see(undefined, { frontend, backend, flags } as Flow4);
    const { FLOW_REPLY, FLOW_SEND, FLOW_EGRESS } = FlowFlag;
    for (const [frontend, backend] of [
      [1, 7],
      [1, 7],
      [2, 8],
    ] as const) {
      flow(frontend, backend, FLOW_SEND);
      flow(frontend, backend, FLOW_REPLY | FLOW_SEND);
    }
    flow(3, 9, 0);
    flow(3, 9, FLOW_REPLY | FLOW_EGRESS);
    tally.finish();
    const counts = tally.counts()!;
    assert.deepEqual(counts.entries, { 4: 8, 6: 0 });
    assert.deepEqual(
      [...counts.byFrontend],
      [
        [1, 2],
        [2, 1],
        [3, 1],
      ],
    );
    assert.deepEqual([counts.masquerades, counts.masqueradesOfOne], [3, 2]);
    tally.finish();
    assert.deepEqual(tally.counts()!.entries, { 4: 0, 6: 0 }, 'each sweep counts anew');
  });
});

describe('the fill of the maps', () => {
  it('is walked once a minute at most, and only of maps that nobody else counts', async () => {
    let now = 0;
    const walks: string[][] = [];
    const datapath = {
      maps: memoryMaps({ flows4: 8, flows6: 8, new_flows4: 8, new_flows6: 8, slots: 64 }),
      async fill(named: (name: string) => boolean) {
        walks.push(['frontends4', 'new_flows4', 'flows4'].filter(named));
        return [{ name: 'new_flows4', entries: walks.length, maxEntries: 8 }];
      },
    };
    datapath.maps.snat_ports.set(3, 0b1011n);
    const agent = {
      entries: () =>
        new Map([
          ['frontends4', 12],
          ['slots', 40],
        ]),
    };
    const flows = { entries: { 4: 6, 6: 0 }, byFrontend: new Map(), masquerades: 0, masqueradesOfOne: 0 };
    const fill = openFill(
      () => ({ agent, datapath, flows }),
      () => now,
    );
    const first = await fill.maps();
    assert.deepEqual(walks, [['new_flows4']]);
    assert.deepEqual(
      [first.get('new_flows4'), first.get('slots'), first.get('flows4')?.entries, first.get('frontends4')?.entries],
      [{ entries: 1, maxEntries: 8 }, { entries: 40, maxEntries: 64 }, 6, 12],
    );
    assert.equal(fill.snatPorts(), 3);
    now = 59_999;
    await fill.maps();
    assert.equal(walks.length, 1);
    now = 60_000;
    // This one does not wait; the next has its count.
    assert.equal((await fill.maps()).get('new_flows4')?.entries, 1);
    assert.equal((await fill.maps()).get('new_flows4')?.entries, 2);
    assert.equal(walks.length, 2);
  });
});

describe('metricsBindAddress', () => {
  const config = readConfig({ 'hostname-override': 'node-a', manifests: '/m' });
  const pages = (registry = openRegistry()) => metricsPages(registry, () => effectiveFields(config));
  const ask = async (path: string, registry?: Registry) => pages(registry)({ path, address: '127.0.0.1' });

  it('/healthz is ok, /proxyMode is what there is, anything else is none', async () => {
    const healthz = await ask('/healthz');
    assert.deepEqual([healthz.code, healthz.body, healthz.headers['Content-Type']], [200, 'ok', 'text/plain; charset=utf-8']);
    assert.equal((await ask('/proxyMode')).body, 'sluice');
    for (const path of ['/', '/flagz', '/statusz', '/debug/pprof/', '/debug/flags/v']) assert.equal((await ask(path)).code, 404, path);
  });

  it('/configz is the configuration that counts, under kube-proxy’s group', async () => {
    const { body, headers } = await ask('/configz');
    assert.deepEqual(headers, { 'Content-Type': 'application/json', 'X-Content-Type-Options': 'nosniff' });
    const { 'kubeproxy.config.k8s.io': shown, ...others } = JSON.parse(body);
    assert.deepEqual(others, {});
    assert.deepEqual(
      [shown.kind, shown.hostnameOverride, shown.metricsBindAddress, shown.sluice.manifests],
      ['KubeProxyConfiguration', 'node-a', '127.0.0.1:10249', '/m'],
    );
  });

  it('/metrics is text that Prometheus reads', async () => {
    const registry = openRegistry();
    proxyMetrics(registry);
    nodeMetrics(registry);
    const { code, headers, body } = await ask('/metrics', registry);
    assert.equal(code, 200);
    assert.equal(headers['Content-Type'], 'text/plain; version=0.0.4; charset=utf-8');
    for (const [name, { type, help }] of readExposition(body)) {
      assert.equal(/_total$/.test(name), type === 'counter' || name === 'kubeproxy_sync_proxy_rules_no_local_endpoints_total', name);
      assert.ok(help.length > 10, name);
    }
  });

  it('every metric is in docs/metrics.md under its type, and nothing else is', async () => {
    const registry = openRegistry();
    proxyMetrics(registry);
    nodeMetrics(registry);
    const text = readFileSync(new URL('../docs/metrics.md', import.meta.url), 'utf8');
    const written = new Map<string, string>();
    for (const [, names, type] of text.matchAll(/^\| (`[a-z_`, ]+`) \| (counter|gauge|histogram|) ?\|/gm))
      for (const [, name] of names!.matchAll(/`([a-z_]+)`/g)) written.set(name!, type!);
    const families = readExposition((await ask('/metrics', registry)).body);
    const shown = [...families].map(([name, { type }]) => `${name} ${written.get(name) === '' ? '' : type}`);
    assert.deepEqual([...written].map(([name, type]) => `${name} ${type}`).sort(), shown.sort());
  });

  it('this test’s reader sees what Prometheus would not take', () => {
    const head = '# HELP a_total words\n# TYPE a_total counter\n';
    for (const text of [
      `${head}a_total 1`,
      `${head}a_total x\n`,
      `${head}a_total 1\na_total 1\n`,
      `${head}a_total{b="1",b="2"} 1\n`,
      `${head}a_total{b="1"c="2"} 1\n`,
      `${head}b 1\n`,
      `${head}a_total -1\n`,
      'a_total 1\n',
      '# HELP h words\n# TYPE h histogram\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\nh_sum 1\nh_count 1\n',
    ])
      assert.throws(() => readExposition(text), text);
    readExposition(`${head}a_total{b="x\\"y\\\\\\n"} 1\n`);
  });

  it('a scrape at 10,000 Services does not hold the loop up', async () => {
    const manifests: Raw[] = [];
    for (let i = 0; i < 10_000; i++) {
      manifests.push(service(`s${i}`, { clusterIP: `10.97.${i >> 8}.${i & 255}`, internalTrafficPolicy: 'Local' }));
      manifests.push(slice(`s${i}`, `s${i}`, [`10.1.${i >> 8}.${i & 255}`]));
    }
    const model = modelOf(...manifests);
    const registry = openRegistry();
    proxyMetrics(registry, { model: () => model });
    const byFrontend = new Map(Array.from({ length: 10_000 }, (_, i) => [i, i]));
    nodeMetrics(registry, {
      model: () => model,
      flows: () => ({ entries: { 4: 20_000, 6: 0 }, byFrontend, masquerades: 0, masqueradesOfOne: 0 }),
      serviceOf: (id) => `default/s${id}`,
    });
    await registry.metrics();
    const times: number[] = [];
    let bytes = 0;
    for (let i = 0; i < 9; i++) {
      const began = process.cpuUsage();
      bytes = (await registry.metrics()).length;
      const { user, system } = process.cpuUsage(began);
      times.push((user + system) / 1000);
    }
    const median = times.sort((a, b) => a - b)[4]!;
    console.log(`  a scrape at 10,000 Services: ${median.toFixed(1)} ms of processor, ${bytes} bytes`);
    // Processor time, so that others' load does not count; five times what it is measured at.
    assert.ok(median < 50, `${median} ms`);
    assert.ok(bytes < 200_000, `${bytes} bytes`);
  });
});
