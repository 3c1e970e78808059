// Which backends stand behind which Service port: the slices new connections choose from, the Maglev tables over them,
// and the backends themselves.

import { BackendFlag } from '../../abi/layout.gen.ts';
import type { Family } from '../../model/model.ts';
import { readFrontends } from './frontends.ts';
import {
  type BackendEntry,
  backendLookup,
  backendText,
  type Context,
  protocolText,
  type Row,
  type Section,
  servicePortText,
  servicePortValue,
  servicesOf,
} from './section.ts';

interface Run {
  readonly id: number;
  readonly family: Family;
  readonly policy: 'Cluster' | 'Local';
  readonly first: number;
  readonly count: number;
}

/** The runs of slots that frontends name, each once per Service port however many frontends share it. */
function* runs(context: Context, kind: 'slice' | 'table'): Generator<Run> {
  const seen = new Set<string>();
  for (const { family, frontend } of readFrontends(context)) {
    const pair = kind === 'slice' ? [frontend.cluster, frontend.local] : [frontend.cluster_table, frontend.local_table];
    for (const [i, run] of pair.entries()) {
      const key = `${family} ${frontend.id} ${i} ${run.first}`;
      if (run.count === 0 || seen.has(key)) continue;
      seen.add(key);
      yield { id: frontend.id, family, policy: i === 0 ? 'Cluster' : 'Local', first: run.first, count: run.count };
    }
  }
}

function backendFields(entry: BackendEntry | undefined, id: number) {
  return { backendId: id, address: entry?.address ?? null, port: entry?.port ?? null };
}

export const slices: Section = {
  name: 'slices',
  columns: [
    { title: 'SERVICE' },
    { title: 'FAMILY' },
    { title: 'POLICY' },
    { title: 'SLOT', right: true },
    { title: 'BACKEND' },
    { title: 'ID', right: true },
  ],
  *rows(context) {
    const find = backendLookup(context.maps);
    for (const run of runs(context, 'slice')) {
      for (let slot = run.first; slot < run.first + run.count; slot++) {
        const id = context.maps.slots.get(slot);
        const entry = find(run.family, id);
        yield {
          cells: [servicePortText(context, run.id), `IPv${run.family}`, run.policy, String(slot), backendText(entry, id), String(id)],
          value: { ...servicePortValue(context, run.id), family: run.family, policy: run.policy, slot, ...backendFields(entry, id) },
          services: servicesOf(context, run.id),
          addresses: entry === undefined ? [] : [entry.address],
          backends: entry === undefined ? [] : [backendText(entry, id)],
        };
      }
    }
  },
};

export const maglev: Section = {
  name: 'maglev',
  columns: [
    { title: 'SERVICE' },
    { title: 'FAMILY' },
    { title: 'POLICY' },
    { title: 'FIRST', right: true },
    { title: 'SIZE', right: true },
    { title: 'BACKEND' },
    { title: 'SLOTS', right: true },
    { title: 'SHARE', right: true },
  ],
  *rows(context) {
    const find = backendLookup(context.maps);
    for (const run of runs(context, 'table')) {
      const counts = new Map<number, number>();
      for (let slot = run.first; slot < run.first + run.count; slot++) {
        const id = context.maps.slots.get(slot);
        counts.set(id, (counts.get(id) ?? 0) + 1);
      }
      for (const [id, slots] of [...counts].sort(([a], [b]) => a - b)) {
        const entry = find(run.family, id);
        const share = slots / run.count;
        yield {
          cells: [
            servicePortText(context, run.id),
            `IPv${run.family}`,
            run.policy,
            String(run.first),
            String(run.count),
            backendText(entry, id),
            String(slots),
            `${(100 * share).toFixed(1)}%`,
          ],
          value: {
            ...servicePortValue(context, run.id),
            family: run.family,
            policy: run.policy,
            firstSlot: run.first,
            size: run.count,
            ...backendFields(entry, id),
            slots,
            share: Number(share.toFixed(4)),
          },
          services: servicesOf(context, run.id),
          addresses: entry === undefined ? [] : [entry.address],
          backends: entry === undefined ? [] : [backendText(entry, id)],
        };
      }
    }
  },
};

/** Which Services may choose a backend, by family and id. */
function users(context: Context): Map<string, Set<number>> {
  const found = new Map<string, Set<number>>();
  for (const run of runs(context, 'slice')) {
    for (let slot = run.first; slot < run.first + run.count; slot++) {
      const key = `${run.family} ${context.maps.slots.get(slot)}`;
      const ids = found.get(key) ?? new Set();
      found.set(key, ids.add(run.id));
    }
  }
  return found;
}

function stateOf(flags: number): 'serving' | 'draining' | 'gone' {
  if (flags & BackendFlag.BACKEND_SERVING) return 'serving';
  return flags & BackendFlag.BACKEND_LIVE ? 'draining' : 'gone';
}

function placeOf(flags: number): 'host' | 'local' | 'remote' {
  if (flags & BackendFlag.BACKEND_HOST) return 'host';
  return flags & BackendFlag.BACKEND_LOCAL ? 'local' : 'remote';
}

function backendRow(context: Context, family: Family, id: number, entry: BackendEntry, usedBy: ReadonlySet<number>): Row {
  const texts = new Map([...usedBy].map((frontend) => [frontend, servicePortText(context, frontend)]));
  const ids = [...usedBy].sort((a, b) => ((texts.get(a) ?? '') < (texts.get(b) ?? '') ? -1 : 1));
  const services = [...new Set(ids.flatMap((frontend) => servicesOf(context, frontend)))];
  return {
    cells: [
      String(id),
      backendText(entry, id),
      protocolText(entry.protocol),
      stateOf(entry.flags),
      placeOf(entry.flags),
      String(entry.generation),
      ids.length === 0 ? '-' : [...texts.values()].sort().join(','),
    ],
    value: {
      backendId: id,
      family,
      address: entry.address,
      port: entry.port,
      protocol: protocolText(entry.protocol),
      state: stateOf(entry.flags),
      place: placeOf(entry.flags),
      generation: entry.generation,
      servicePorts: ids.map((frontend) => servicePortValue(context, frontend)),
    },
    services,
    addresses: [entry.address],
    backends: [backendText(entry, id)],
  };
}

export const backends: Section = {
  name: 'backends',
  columns: [
    { title: 'ID', right: true },
    { title: 'BACKEND' },
    { title: 'PROTOCOL' },
    { title: 'STATE' },
    { title: 'PLACE' },
    { title: 'GENERATION', right: true },
    { title: 'SERVICES' },
  ],
  *rows(context) {
    const usedBy = users(context);
    const nobody: ReadonlySet<number> = new Set();
    for (const [family, map] of [
      [4, context.maps.backends4],
      [6, context.maps.backends6],
    ] as const) {
      for (const [id, entry] of map.entries()) {
        if (entry.flags !== 0) yield backendRow(context, family, id, entry, usedBy.get(`${family} ${id}`) ?? nobody);
      }
    }
  },
};
