// What does the datapath remember of this client? The backend its affinity holds, and the flows it has to the destination.

import { ClientKind, FlowFlag, FrontendFlag } from '../../abi/layout.gen.ts';
import { addressText, familyOf } from '../../address.ts';
import { mapsOf } from '../../kernel/held.ts';
import type { Maps } from '../../kernel/maps.ts';
import type { Destination } from '../../model/account.ts';
import type { Address } from '../../model/model.ts';
import { ages } from '../sections/flows.ts';
import { endpointText } from '../text.ts';
import type { Client } from './question.ts';
import { PROTOCOLS, type Stage } from './stages.ts';

export interface Affine {
  readonly backend: string;
  readonly ageSeconds: number | null;
  readonly endsInSeconds: number | null;
  /** It will be followed: it is young, and its backend is one of those that the policy allows. */
  readonly counts: boolean;
}

export interface Flow {
  readonly clientPort: number;
  /** Where its packets go. */
  readonly backend: string;
  /** The source that the backend sees. */
  readonly seenAs: string;
  readonly confirmed: boolean;
  readonly ageSeconds: number | null;
}

/** Flows that are shown where the client's port is not given. */
const FLOWS_SHOWN = 8;

/** A network namespace's cookie as an affinity key has it: two words in host order, low first. */
function cookieClient(cookie: bigint): Address {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setBigUint64(0, cookie, true);
  return addressText(bytes);
}

/** The affinity of this client; null: there is none, or it cannot be known. The namespace of a pod's process is not known here. */
export function affinityOf(maps: Maps, { hook, walk }: Stage, source: Address, monotonicNs: () => bigint): Affine | null {
  const { frontend } = walk;
  if (frontend === undefined || !(frontend.flags & FrontendFlag.FRONTEND_AFFINITY)) return null;
  if (hook === 'socket' && walk.client === 'pod') return null;
  const cookie = maps.settings.get(0)?.host_netns_cookie ?? 0n;
  const client =
    hook === 'socket'
      ? { kind: ClientKind.CLIENT_NETNS, client: cookieClient(cookie) }
      : { kind: ClientKind.CLIENT_ADDRESS, client: source };
  const entry = maps.affinities.get({ frontend: frontend.id, ...client });
  if (entry === undefined) return null;
  const backend = mapsOf(maps, familyOf(source)).backends.get(entry.backend);
  const current = backend?.generation === entry.generation ? backend : undefined;
  const age = ages({ maps, monotonicNs })(entry.seen);
  const left = age === undefined ? undefined : frontend.affinity_seconds - age;
  return {
    backend: current === undefined ? `backend ${entry.backend}, which is gone` : endpointText(current.address, current.port),
    ageSeconds: age ?? null,
    endsInSeconds: left === undefined ? null : Math.max(0, left),
    counts: (left === undefined || left > 0) && walk.candidates.some(({ id }) => current !== undefined && id === entry.backend),
  };
}

/** Requests of this client to the destination that are remembered: the one of its port, or the first few. */
export function flowsOf(maps: Maps, { address, port }: Client, to: Destination, monotonicNs: () => bigint): Flow[] {
  const age = ages({ maps, monotonicNs });
  const family = familyOf(to.address);
  const tables = family === 4 ? ([maps.flows4, maps.new_flows4] as const) : ([maps.flows6, maps.new_flows6] as const);
  const found: Flow[] = [];
  for (const table of tables) {
    for (const [key, flow] of entriesOf(table, address, port, to)) {
      if (key.source !== address || (port !== undefined && key.source_port !== port)) continue;
      if (key.destination !== to.address || key.destination_port !== to.port || key.protocol !== PROTOCOLS[to.protocol]) continue;
      if (flow.flags & FlowFlag.FLOW_REPLY) continue;
      found.push({
        clientPort: key.source_port,
        backend: endpointText(flow.destination, flow.destination_port),
        seenAs: endpointText(flow.source, flow.source_port),
        confirmed: (flow.flags & FlowFlag.FLOW_CONFIRMED) !== 0,
        ageSeconds: age(flow.seen) ?? null,
      });
      if (found.length === FLOWS_SHOWN) return found;
    }
  }
  return found;
}

type FlowTable = Maps['flows4'] | Maps['flows6'];
type FlowEntry = readonly [
  { source: string; source_port: number; destination: string; destination_port: number; protocol: number },
  { flags: number; destination: string; destination_port: number; source: string; source_port: number; seen: number },
];

/** One look-up where the port is known; else the whole table is gone through. */
function* entriesOf(table: FlowTable, source: Address, port: number | undefined, to: Destination): Iterable<FlowEntry> {
  if (port === undefined) {
    yield* table.entries();
    return;
  }
  const key = { source, source_port: port, destination: to.address, destination_port: to.port, protocol: PROTOCOLS[to.protocol] };
  const flow = table.get(key);
  if (flow !== undefined) yield [key, flow];
}
