// What does sluice say of itself that kube-proxy has no word for? The maps' fill, what became of packets, how far the kernel is behind the
// objects, what is wrong. Everything is counted elsewhere already or in pieces: a scrape walks no big map.

import { Counter, Gauge, type Registry } from 'prom-client';
import { Hook, Verdict } from '../abi/layout.gen.ts';
import type { Maps } from '../kernel/maps.ts';
import type { FlowCounts } from '../kernel/tally.ts';
import type { Model, ModelService, Problem } from '../model/model.ts';
import type { EventCounts } from './events.ts';
import type { OutcomeCounts } from './service-counts.ts';

export interface MapFill {
  readonly entries: number;
  readonly maxEntries: number;
}

/** Where the agent stands. */
export interface Standing {
  readonly ready: boolean;
  readonly generationWanted: number;
  readonly generationApplied: number;
  readonly oldestChangeMs: number | undefined;
  readonly refusals: number;
  readonly drifts: number;
  readonly problems: readonly Problem[];
}

/** One resource of the API server, as it is followed. */
export interface FollowedResource {
  readonly resource: string;
  readonly connected: boolean;
  readonly reconnects: number;
  readonly relists: number;
  readonly errors: number;
}

export interface NodeView {
  readonly version: string;
  readonly standing: () => Standing;
  readonly model: () => Model | undefined;
  /** Undefined: not there yet. */
  readonly maps: () => Pick<Maps, 'verdicts'> | undefined;
  readonly fill: () => Promise<ReadonlyMap<string, MapFill>>;
  readonly flows: () => FlowCounts | undefined;
  /** By `namespace/name`; the empty name is all that have none of their own here. Undefined: not there yet. */
  readonly services: () => Promise<ReadonlyMap<string, Readonly<OutcomeCounts>>> | undefined;
  /** Ports that a masquerade may use. */
  readonly snatPorts: () => number | undefined;
  /** The Service behind a frontend id, `namespace/name`. */
  readonly serviceOf: (frontend: number) => string | undefined;
  /** Empty: the source is no API server. */
  readonly resources: () => readonly FollowedResource[];
  readonly events: () => EventCounts | undefined;
}

/** A Service of its own in the metrics. More are counted together: a scrape's size must not grow with the cluster. */
const SERVICES_SHOWN = 200;

const LAYERS: Readonly<Record<string, string>> = {
  ...{ HOOK_NIC_INGRESS: 'tc', HOOK_NIC_EGRESS: 'tc', HOOK_POD_INGRESS: 'tc', HOOK_POD_EGRESS: 'tc', HOOK_XDP: 'xdp' },
  ...{ HOOK_CONNECT: 'socket', HOOK_SENDMSG: 'socket', HOOK_RECVMSG: 'socket', HOOK_GETPEERNAME: 'socket' },
};

/** Hooks by their place in a verdict's counters: `nic_ingress`, at which layer. */
const HOOKS = Object.entries(Hook)
  .filter(([name]) => name !== 'HOOK_COUNT')
  .map(([name, index]) => ({ hook: name.slice('HOOK_'.length).toLowerCase(), layer: LAYERS[name]!, index }));
const VERDICTS = Object.entries(Verdict).filter(([name]) => name !== 'VERDICT_CONTINUE' && name !== 'VERDICT_COUNT');

/** Sums by Service, those of the most first; what is beyond the shown ones, or of no known Service, is summed under no name. */
export function byService(
  counts: ReadonlyMap<number, number>,
  serviceOf: (frontend: number) => string | undefined,
  shown: number = SERVICES_SHOWN,
): Map<string, number> {
  const sums = new Map<string, number>();
  for (const [frontend, count] of counts) {
    const service = serviceOf(frontend) ?? '';
    sums.set(service, (sums.get(service) ?? 0) + count);
  }
  const named = [...sums].filter(([service]) => service !== '').sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1));
  const rest = named.slice(shown).reduce((sum, [, count]) => sum + count, sums.get('') ?? 0);
  return new Map([...named.slice(0, shown), ...(rest > 0 ? [['', rest] as const] : [])]);
}

function countBy<T>(values: Iterable<T>, wordOf: (value: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(wordOf(value), (counts.get(wordOf(value)) ?? 0) + 1);
  return counts;
}

/** kube-proxy's upstream deprecates the field (3.7). */
export function usesExternalIPs({ ports }: ModelService): boolean {
  return ports.some(({ frontends }) => frontends.some(({ kind }) => kind === 'ExternalIP'));
}

/** Registers our own metrics. */
export function openNodeMetrics(registry: Registry, view: NodeView): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number | undefined) =>
    new Gauge({
      name: `sluice_${name}`,
      help,
      registers,
      collect() {
        const value = read();
        if (value === undefined) this.remove();
        else this.set(value);
      },
    });
  const counter = (name: string, help: string, read: () => number) =>
    new Counter({
      name: `sluice_${name}`,
      help,
      registers,
      collect() {
        this.reset();
        this.inc(read());
      },
    });

  new Gauge({ name: 'sluice_build_info', help: 'The version that runs, in a label', labelNames: ['version'], registers }).set(
    { version: view.version },
    1,
  );
  gauge('ready', 'Whether the kernel holds every Service that can be honoured: what /readyz says', () => (view.standing().ready ? 1 : 0));
  gauge('generation_wanted', 'Changes noted since the start', () => view.standing().generationWanted);
  gauge('generation_applied', 'Of these, how many are in the maps', () => view.standing().generationApplied);
  gauge(
    'oldest_change_age_seconds',
    'Age of the oldest change that is not in the maps; 0: there is none',
    () => (view.standing().oldestChangeMs ?? 0) / 1000,
  );
  counter('kernel_refusals_total', 'Turns that ended because the kernel refused a write', () => view.standing().refusals);
  counter('map_drifts_total', 'Times the maps did not hold what was written, and were repaired', () => view.standing().drifts);
  gauge('services', 'Services in the maps', () => view.model()?.services.size);
  gauge('external_ip_services', 'Services with externalIPs that are served, a deprecated field', () => {
    const services = view.model()?.services.values();
    return services === undefined ? undefined : [...services].filter(usesExternalIPs).length;
  });
  new Gauge({
    name: 'sluice_problems',
    help: 'Problems that sluice status lists, by reason',
    labelNames: ['reason'],
    registers,
    collect() {
      this.reset();
      for (const [reason, count] of countBy(view.standing().problems, (problem) => problem.reason)) this.set({ reason }, count);
    },
  });

  for (const [name, help, of] of [
    [
      'map_entries',
      'Entries in a map, counted and not estimated; the tables of the datapath as of their last sweep, within a minute',
      'entries',
    ],
    ['map_max_entries', 'Entries a map can hold', 'maxEntries'],
  ] as const) {
    new Gauge({
      name: `sluice_${name}`,
      help,
      labelNames: ['map'],
      registers,
      async collect() {
        for (const [map, fill] of await view.fill()) this.set({ map }, fill[of]);
      },
    });
  }
  new Counter({
    name: 'sluice_verdicts_total',
    help: 'Packets and socket calls by what became of them, and by the hook that decided',
    labelNames: ['verdict', 'hook', 'layer'],
    registers,
    collect() {
      this.reset();
      const maps = view.maps();
      if (maps === undefined) return;
      const counts = new Map(maps.verdicts.entries());
      for (const [verdict, number] of VERDICTS) {
        const packets = counts.get(number)?.packets;
        for (const { hook, layer, index } of HOOKS) this.inc({ verdict, hook, layer }, Number(packets?.[index] ?? 0n));
      }
    },
  });
  new Gauge({
    name: 'sluice_service_flows',
    help: `Answered flows that are remembered, for the ${SERVICES_SHOWN} Services that have most; the others together under no name`,
    labelNames: ['namespace', 'service'],
    registers,
    collect() {
      this.reset();
      for (const [key, count] of byService(view.flows()?.byFrontend ?? new Map(), view.serviceOf)) {
        const [namespace = '', service = ''] = key.split('/');
        this.set({ namespace, service }, count);
      }
    },
  });
  new Counter({
    name: 'sluice_service_new_flows_total',
    help: 'Flows and socket calls that were given a backend, by Service; again where a first packet is sent again before anybody answered',
    labelNames: ['namespace', 'service'],
    registers,
    async collect() {
      this.reset();
      for (const [key, counts] of (await view.services()) ?? []) {
        const [namespace = '', service = ''] = key.split('/');
        this.inc({ namespace, service }, counts.flows);
      }
    },
  });
  new Counter({
    name: 'sluice_service_drops_total',
    help: 'Those that asked for a Service and were dropped or rejected for its sake, by Service and verdict',
    labelNames: ['namespace', 'service', 'verdict'],
    registers,
    async collect() {
      this.reset();
      for (const [key, { flows: _, ...drops }] of (await view.services()) ?? []) {
        const [namespace = '', service = ''] = key.split('/');
        for (const [verdict, count] of Object.entries(drops)) if (count > 0) this.inc({ namespace, service, verdict }, count);
      }
    },
  });
  gauge('snat_ports', 'Source ports a masquerade may use', view.snatPorts);
  gauge('snat_flows', 'Masqueraded flows, each of which holds one of these ports towards its backend', () => view.flows()?.masquerades);
  gauge(
    'snat_flows_of_busiest_backend',
    'Masqueraded flows to the backend that has most of them: no more than sluice_snat_ports can be',
    () => view.flows()?.masqueradesOfOne,
  );
  new Gauge({
    name: 'sluice_source_connected',
    help: 'Whether a resource of the API server is watched now',
    labelNames: ['resource'],
    registers,
    collect() {
      this.reset();
      for (const { resource, connected } of view.resources()) this.set({ resource }, connected ? 1 : 0);
    },
  });
  for (const [what, help] of [
    ['reconnects', 'Watches begun after the first'],
    ['relists', 'Complete reads after the first'],
    ['errors', 'Requests and watches that ended otherwise than they should'],
  ] as const) {
    new Counter({
      name: `sluice_source_${what}_total`,
      help,
      labelNames: ['resource'],
      registers,
      collect() {
        this.reset();
        for (const followed of view.resources()) this.inc({ resource: followed.resource }, followed[what]);
      },
    });
  }
  new Counter({
    name: 'sluice_events_total',
    help: 'Kubernetes Events by what became of them',
    labelNames: ['outcome'],
    registers,
    collect() {
      this.reset();
      for (const [outcome, count] of Object.entries(view.events() ?? {})) this.inc({ outcome }, count);
    },
  });
  registerProcess(registry);
}

/** The process, under the names that every Prometheus client library uses. */
function registerProcess(registry: Registry): void {
  const registers = [registry];
  const startedAt = Date.now() / 1000 - process.uptime();
  new Gauge({ name: 'process_start_time_seconds', help: 'When the agent started', registers }).set(startedAt);
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the agent; that of the maps is the kernel’s',
    registers,
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'Processor time of the agent',
    registers,
    collect() {
      const { user, system } = process.cpuUsage();
      this.reset();
      this.inc((user + system) / 1e6);
    },
  });
}
