// What do dashboards made for kube-proxy find here? Its metrics under its names, with its buckets and labels, where they are true of us. One
// turn of ours does both families, so both carry its times; what speaks of iptables, nftables or nf_conntrack is not ours to claim.

import { Counter, Gauge, Histogram, type Registry } from 'prom-client';
import type { Family, Model } from '../model/model.ts';

const FAMILY: Readonly<Record<Family, string>> = { 4: 'IPv4', 6: 'IPv6' };
const FAMILIES = [4, 6] as const;

function steps(first: number, width: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index * width);
}

/** kube-proxy: 1 ms, doubled 14 times. */
const SYNC_BUCKETS = Array.from({ length: 15 }, (_, index) => 0.001 * 2 ** index);
/** kube-proxy: to a minute by seconds, to two minutes by five, to five minutes by thirty; its MergeBuckets puts a 0 before them all. */
const PROGRAMMING_BUCKETS = [0, 0.25, 0.5, ...steps(1, 1, 59), ...steps(60, 5, 12), ...steps(120, 30, 7)];

/** One slice as far as it is measured. */
export interface MeasuredSlice {
  readonly family: Family;
  /** ms since the epoch; 0: not said. */
  readonly triggeredAt: number;
}

/** A turn that succeeded. Times in ms since the epoch. */
export interface MeasuredTurn {
  readonly tookMs: number;
  readonly full: boolean;
  readonly endedAt: number;
  /** The slices that came or changed with it. */
  readonly slices: Iterable<MeasuredSlice>;
}

/** How many changes the source told of, and how many of them are in the maps. */
export interface ChangeCounts {
  readonly seen: { readonly services: number; readonly slices: number };
  readonly applied: { readonly services: number; readonly slices: number };
}

export interface ProxyMetrics {
  turned(turn: MeasuredTurn): void;
  answered(page: 'healthz' | 'livez', code: number): void;
}

export interface ProxyView {
  /** ms since the epoch. */
  readonly startedAt: number;
  readonly model: () => Model | undefined;
  readonly changes: () => ChangeCounts;
  /** When a change was noted last, in ms since the epoch; undefined: never. */
  readonly queuedAt: () => number | undefined;
}

/** Service ports whose Local policy finds no endpoint here while there are some elsewhere. kube-proxy: counted by port and family. */
export function countWithoutLocal(model: Model): Record<'internal' | 'external', Record<Family, number>> {
  const counts = { internal: { 4: 0, 6: 0 }, external: { 4: 0, 6: 0 } };
  for (const { ports } of model.services.values()) {
    for (const port of ports) {
      if (!port.hasEndpoints || port.local.length > 0) continue;
      if (port.internalLocal) counts.internal[port.family]++;
      if (port.externalLocal && port.frontends.some(({ kind }) => kind !== 'ClusterIP')) counts.external[port.family]++;
    }
  }
  return counts;
}

/** Registers kube-proxy's metrics. */
export function openProxyMetrics(registry: Registry, view: ProxyView): ProxyMetrics {
  const registers = [registry];
  const byFamily = { labelNames: ['ip_family'] as const, registers };
  const histogram = (name: string, help: string, buckets: number[]) =>
    new Histogram({ name: `kubeproxy_${name}`, help, buckets, ...byFamily });
  const all = histogram('sync_proxy_rules_duration_seconds', 'Time of a turn from objects to maps', SYNC_BUCKETS);
  const full = histogram(
    'sync_full_proxy_rules_duration_seconds',
    'Time of a turn that compared the maps whole: the first, after a refusal, and the periodic look',
    SYNC_BUCKETS,
  );
  const partial = histogram('sync_partial_proxy_rules_duration_seconds', 'Time of a turn that looked at what had changed', SYNC_BUCKETS);
  const programming = histogram(
    'network_programming_duration_seconds',
    'From the change of a pod or Service, as its EndpointSlice dates it, until it was in the maps',
    PROGRAMMING_BUCKETS,
  );
  const lastSync = new Gauge({
    name: 'kubeproxy_sync_proxy_rules_last_timestamp_seconds',
    help: 'When a turn succeeded last',
    ...byFamily,
  });
  const healthz = new Counter({
    name: 'kubeproxy_proxy_healthz_total',
    help: 'Answers of /healthz by HTTP status',
    labelNames: ['code'],
    registers,
  });
  const livez = new Counter({
    name: 'kubeproxy_proxy_livez_total',
    help: 'Answers of /livez by HTTP status',
    labelNames: ['code'],
    registers,
  });

  new Gauge({
    name: 'kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds',
    help: 'When a change was noted last; much later than the last sync, something hangs',
    ...byFamily,
    collect() {
      const at = view.queuedAt();
      if (at !== undefined) for (const family of FAMILIES) this.set({ ip_family: FAMILY[family] }, at / 1000);
    },
  });
  for (const [word, of] of [
    ['service', 'services'],
    ['endpoint', 'slices'],
  ] as const) {
    const what = word === 'service' ? 'Services' : 'EndpointSlices';
    new Gauge({
      name: `kubeproxy_sync_proxy_rules_${word}_changes_pending`,
      help: `Changes of ${what} that are not in the maps yet`,
      registers,
      collect() {
        const { seen, applied } = view.changes();
        this.set(seen[of] - applied[of]);
      },
    });
    new Counter({
      name: `kubeproxy_sync_proxy_rules_${word}_changes_total`,
      help: `Changes of ${what} that the source told of`,
      registers,
      collect() {
        this.reset();
        this.inc(view.changes().seen[of]);
      },
    });
  }
  new Gauge({
    // kube-proxy: a gauge for all its name.
    name: 'kubeproxy_sync_proxy_rules_no_local_endpoints_total',
    help: 'Service ports with a Local traffic policy and no endpoint on this node, while there are some elsewhere',
    labelNames: ['traffic_policy', 'ip_family'],
    registers,
    collect() {
      const model = view.model();
      if (model === undefined) return;
      for (const [policy, counts] of Object.entries(countWithoutLocal(model)))
        for (const family of FAMILIES) this.set({ traffic_policy: policy, ip_family: FAMILY[family] }, counts[family]);
    },
  });

  return {
    turned({ tookMs, full: whole, endedAt, slices }) {
      for (const family of FAMILIES) {
        const labels = { ip_family: FAMILY[family] };
        all.observe(labels, tookMs / 1000);
        (whole ? full : partial).observe(labels, tookMs / 1000);
        lastSync.set(labels, endedAt / 1000);
      }
      for (const { family, triggeredAt } of slices) {
        // kube-proxy: what happened before the start says nothing about how fast we are.
        if (triggeredAt > view.startedAt) programming.observe({ ip_family: FAMILY[family] }, Math.max(0, endedAt - triggeredAt) / 1000);
      }
    },
    answered(page, code) {
      (page === 'healthz' ? healthz : livez).inc({ code });
    },
  };
}
