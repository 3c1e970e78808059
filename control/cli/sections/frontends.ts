// What can clients send to, and what happens there?

import type { Frontend } from '../../abi/layout.gen.ts';
import { FrontendFlag } from '../../abi/layout.gen.ts';
import { addressOrder } from '../../address.ts';
import type { Address, Family } from '../../model/model.ts';
import { durationText, endpointText } from '../text.ts';
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
  type Value,
} from './section.ts';

export interface FrontendEntry {
  readonly family: Family;
  readonly address: Address;
  readonly port: number;
  readonly protocol: number;
  readonly frontend: Frontend;
}

/** Every frontend of both families, by address, port and protocol. */
export function readFrontends(context: Context): FrontendEntry[] {
  const entries: FrontendEntry[] = [];
  for (const [key, frontend] of context.maps.frontends4.entries())
    entries.push({ family: 4, address: key.address, port: key.port, protocol: key.protocol, frontend });
  for (const [key, frontend] of context.maps.frontends6.entries())
    entries.push({ family: 6, address: key.address, port: key.port, protocol: key.protocol, frontend });
  const orders = new Map(entries.map((entry) => [entry, addressOrder(entry.address)]));
  return entries.sort((a, b) => {
    const [first, second] = [orders.get(a) ?? '', orders.get(b) ?? ''];
    return first < second ? -1 : first > second ? 1 : a.port - b.port || a.protocol - b.protocol;
  });
}

function kindOf(flags: number): 'ClusterIP' | 'NodePort' | 'External' {
  if (flags & FrontendFlag.FRONTEND_CLUSTER_IP) return 'ClusterIP';
  return flags & FrontendFlag.FRONTEND_NODE_PORT ? 'NodePort' : 'External';
}

function row(context: Context, entry: FrontendEntry, find: (family: Family, id: number) => BackendEntry | undefined): Row {
  const { frontend, family } = entry;
  const flags = frontend.flags;
  const has = (flag: number) => (flags & flag) !== 0;
  const members = (slice: { first: number; count: number }) => {
    const texts: string[] = [];
    for (let i = 0; i < slice.count; i++) {
      const id = context.maps.slots.get(slice.first + i);
      texts.push(backendText(find(family, id), id));
    }
    return texts;
  };
  const backends = members(frontend.cluster);
  const localBackends = members(frontend.local);
  const policy = has(FrontendFlag.FRONTEND_LOCAL) ? 'Local' : 'Cluster';
  const dash = (text: string | number, when: boolean) => (when ? String(text) : '-');
  const value: Record<string, Value> = {
    ...servicePortValue(context, frontend.id),
    address: entry.address,
    port: entry.port,
    protocol: protocolText(entry.protocol),
    family,
    kind: kindOf(flags),
    policy,
    hasEndpoints: has(FrontendFlag.FRONTEND_HAS_ENDPOINTS),
    backends,
    localBackends,
    maglevSize: frontend.cluster_table.count,
    localMaglevSize: frontend.local_table.count,
    affinitySeconds: has(FrontendFlag.FRONTEND_AFFINITY) ? frontend.affinity_seconds : 0,
    sourceRanges: has(FrontendFlag.FRONTEND_SOURCE_RANGES),
    selfAllowed: has(FrontendFlag.FRONTEND_SELF_ALLOWED),
  };
  return {
    cells: [
      endpointText(entry.address, entry.port),
      protocolText(entry.protocol),
      servicePortText(context, frontend.id),
      kindOf(flags),
      policy,
      has(FrontendFlag.FRONTEND_HAS_ENDPOINTS) ? String(backends.length) : 'none',
      dash(localBackends.length, has(FrontendFlag.FRONTEND_LOCAL)),
      dash(frontend.cluster_table.count, frontend.cluster_table.count > 0),
      dash(durationText(frontend.affinity_seconds), has(FrontendFlag.FRONTEND_AFFINITY)),
      has(FrontendFlag.FRONTEND_SOURCE_RANGES) ? 'ranges' : 'any',
      String(frontend.id),
    ],
    value,
    services: servicesOf(context, frontend.id),
    addresses: [entry.address],
    backends: [...new Set([...backends, ...localBackends])],
  };
}

export const frontends: Section = {
  name: 'frontends',
  columns: [
    { title: 'FRONTEND' },
    { title: 'PROTOCOL' },
    { title: 'SERVICE' },
    { title: 'KIND' },
    { title: 'POLICY' },
    { title: 'BACKENDS', right: true },
    { title: 'LOCAL', right: true },
    { title: 'MAGLEV', right: true },
    { title: 'AFFINITY', right: true },
    { title: 'SOURCES' },
    { title: 'ID', right: true },
  ],
  *rows(context) {
    const find = backendLookup(context.maps);
    for (const entry of readFrontends(context)) yield row(context, entry, find);
  },
};
