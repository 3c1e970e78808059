// What must every map hold? The Plan: who claims which frontend, backend, run, address and source range, and from that the
// entry under any key. compile.ts moves it from Model to Model; the keys it touched on the way are what has to be written.

import type { Backend4, Frontend, FrontendKey4, Slice, SourceRangeKey4 } from '../abi/layout.gen.ts';
import { AddressFlag, BackendFlag } from '../abi/layout.gen.ts';
import type { Address, Family, FrontendKind, Model, ModelService, NodeFacts, Problem, ServicePort } from '../model/model.ts';
import { sortedMap } from '../sorted.ts';
import type { BackendEntries } from './backends.ts';
import { type BackendIds, type FrontendIds, isUsed, openBackendIds, openFrontendIds, REST_MS, settleBackends } from './ids.ts';
import { type HeldRun, openRuns, type Run, type Runs, settleRuns } from './runs.ts';

export const FAMILIES: readonly Family[] = [4, 6];

/** How many entries the maps have room for. */
export interface FamilyLimits {
  readonly frontends: number;
  readonly backends: number;
  readonly addresses: number;
  readonly source_ranges: number;
}

/** What the maps of one family hold, by the texts that name keys here. IPv4 and IPv6 entries look the same in TypeScript. */
export interface FamilyEntries {
  readonly frontends: Map<string, { readonly key: FrontendKey4; readonly value: Frontend }>;
  readonly backends: BackendEntries;
  /** Flags (enum address_flag). */
  readonly addresses: Map<Address, number>;
  readonly source_ranges: Map<string, SourceRangeKey4>;
}

/** One Service port as it was compiled: everything it claims. */
export interface CompiledPort {
  readonly service: string;
  readonly created: number;
  readonly source: ServicePort;
  id: number;
  /** Ids of its backends, those of `source.cluster`, `local` and `draining` in turn. */
  backends: number[];
  runs: Run[];
  cluster: Slice;
  local: Slice;
  clusterTable: Slice;
  localTable: Slice;
  frontends: FrontendClaim[];
  ranges: string[];
}

/** A Service port wants a frontend. The first by rank gets it. */
export interface FrontendClaim {
  readonly text: string;
  readonly key: FrontendKey4;
  readonly flags: number;
  readonly kind: FrontendKind;
  readonly port: CompiledPort;
}

/** What an address is to us, and why. */
export interface AddressHold {
  frontends: number;
  clusterIPs: number;
  /** ADDRESS_NODE, ADDRESS_NODE_PORT. */
  node: number;
  /** Had frontends that clients may still have flows to: stays as ADDRESS_RETIRED when nothing else keeps it. */
  retired: boolean;
  published: boolean;
}

export interface FamilyPlan {
  readonly family: Family;
  readonly limits: FamilyLimits;
  readonly frontends: Map<string, FrontendClaim[]>;
  readonly backends: BackendIds;
  readonly addresses: Map<Address, AddressHold>;
  /** Addresses that only flows may still know: nothing here keeps them. */
  readonly retired: Set<Address>;
  readonly ranges: Map<string, { readonly key: SourceRangeKey4; published: boolean }>;
  /** Source ranges that the map still holds and nobody wants. */
  readonly leavingRanges: Set<string>;
  /** Keys whose entry may differ from what the maps hold. */
  readonly touched: {
    readonly frontends: Set<string>;
    readonly backends: Set<number>;
    readonly addresses: Set<Address>;
    readonly source_ranges: Set<string>;
  };
}

export interface CompiledService {
  readonly source: ModelService;
  readonly ports: readonly CompiledPort[];
}

/**
 * The whole of what must be in the maps. It is moved in place: a copy of a hundred thousand entries for one endpoint would cost
 * more than the change. Nobody but compile.ts and `settle` writes to it.
 */
export interface Plan {
  readonly families: Readonly<Record<Family, FamilyPlan>>;
  readonly runs: Runs;
  /** How many slots there are. */
  readonly slots: number;
  readonly ids: FrontendIds;
  readonly services: Map<string, CompiledService>;
  /** The Services of the Model that it was moved to last. */
  wanted: Model['services'];
  /** Services that do not fit, with the version that was tried. */
  readonly refused: Map<string, { readonly source: ModelService; readonly problem: Problem }>;
  /** Services that had no room before the maps were read: those that are served come first, however young. */
  readonly unfit: ReadonlySet<string>;
  /** Frontend keys that more than one Service port claims. */
  readonly disputed: Map<string, { readonly family: Family; readonly text: string }>;
  /** Until the first settle: ids that the maps showed at the start, by frontend. A Service port that had one keeps it. */
  readonly heldIds: Readonly<Record<Family, Map<string, number>>>;
  /** The node as it was placed last, and its addresses. */
  node: NodeFacts | undefined;
  hosts: ReadonlySet<Address>;
  /** Something that the maps hold was freed since the last settle. */
  released: boolean;
  /** Clock until which something freed rests, in ms. */
  restUntil: number;
  /** Clock when refused Services are worth another try, in ms; infinite: not before something is freed. */
  retryAt: number;
}

/** What a Plan starts from: the limits of the maps and what was found in them. */
export interface Ground {
  readonly limits: Readonly<Record<Family, FamilyLimits>>;
  readonly slots: number;
  readonly entries: Readonly<Record<Family, FamilyEntries>>;
  readonly runs: readonly HeldRun[];
}

function openFamily(family: Family, limits: FamilyLimits, entries: FamilyEntries, now: number): FamilyPlan {
  const addresses = new Map<Address, AddressHold>();
  const served = AddressFlag.ADDRESS_FRONTEND | AddressFlag.ADDRESS_CLUSTER_IP | AddressFlag.ADDRESS_RETIRED;
  for (const [address, flags] of entries.addresses) {
    if (flags & served) addresses.set(address, { frontends: 0, clusterIPs: 0, node: 0, retired: true, published: true });
  }
  const living = new Set<number>();
  for (const [id, entry] of entries.backends) if (entry.flags !== 0) living.add(id);
  return {
    family,
    limits,
    frontends: new Map(),
    backends: openBackendIds(limits.backends, entries.backends, now),
    addresses,
    retired: new Set(addresses.keys()),
    ranges: new Map(),
    leavingRanges: new Set(entries.source_ranges.keys()),
    touched: {
      frontends: new Set(entries.frontends.keys()),
      backends: living,
      addresses: new Set(entries.addresses.keys()),
      source_ranges: new Set(entries.source_ranges.keys()),
    },
  };
}

/** A Plan without Services over maps that hold `ground`: all of it is to go, unless a Service claims it first. `now` in ms. unfit: keys of the Services that had no room before. */
export function openPlan(ground: Ground, now: number, unfit: ReadonlySet<string> = new Set()): Plan {
  const { limits, entries } = ground;
  const heldIds = (family: Family) => new Map([...entries[family].frontends].map(([text, { value }]) => [text, value.id]));
  return {
    families: { 4: openFamily(4, limits[4], entries[4], now), 6: openFamily(6, limits[6], entries[6], now) },
    runs: openRuns(ground.slots, ground.runs),
    slots: ground.slots,
    ids: openFrontendIds(),
    services: new Map(),
    wanted: sortedMap(),
    refused: new Map(),
    unfit,
    disputed: new Map(),
    heldIds: { 4: heldIds(4), 6: heldIds(6) },
    node: undefined,
    hosts: new Set(),
    released: FAMILIES.some((family) => entries[family].frontends.size > 0),
    restUntil: 0,
    retryAt: Number.POSITIVE_INFINITY,
  };
}

/** The frontend entry under a key; undefined: none. */
export function plannedFrontend(
  { frontends }: FamilyPlan,
  text: string,
): { readonly key: FrontendKey4; readonly value: Frontend } | undefined {
  const owner = frontends.get(text)?.[0];
  if (owner === undefined) return undefined;
  const { id, cluster, local, clusterTable, localTable, source } = owner.port;
  let check = id ^ owner.flags ^ source.affinitySeconds;
  for (const { first, count } of [cluster, local, clusterTable, localTable]) check ^= first ^ count;
  return {
    key: owner.key,
    value: {
      id,
      flags: owner.flags,
      cluster,
      local,
      cluster_table: clusterTable,
      local_table: localTable,
      affinity_seconds: source.affinitySeconds,
      check: check >>> 0,
    },
  };
}

/** The backend entry under an id; flags 0 where nobody lists it any more, undefined where the id was never used. */
export function plannedBackend({ backends }: FamilyPlan, id: number, hosts: ReadonlySet<Address>): Backend4 | undefined {
  if (!isUsed(backends, id)) return undefined;
  const address = backends.address[id]!;
  let flags = 0;
  if (backends.claims[id]! > 0) {
    flags = BackendFlag.BACKEND_LIVE;
    if (backends.serving[id]! > 0) flags |= BackendFlag.BACKEND_SERVING;
    if (backends.local[id]! > 0) flags |= BackendFlag.BACKEND_LOCAL;
    // Our own address is on this node, whatever nodeName the slice gives: masquerading towards ourselves would lose the reply.
    if (hosts.has(address)) flags |= BackendFlag.BACKEND_HOST | BackendFlag.BACKEND_LOCAL;
  }
  return { address, port: backends.port[id]!, protocol: backends.protocol[id]!, flags, generation: backends.generation[id]! };
}

/** The flags under an address; undefined: no entry. */
export function plannedAddress({ addresses }: FamilyPlan, address: Address): number | undefined {
  const hold = addresses.get(address);
  if (hold === undefined) return undefined;
  let flags = hold.node;
  if (hold.frontends > 0) flags |= AddressFlag.ADDRESS_FRONTEND;
  if (hold.clusterIPs > 0) flags |= AddressFlag.ADDRESS_CLUSTER_IP;
  return flags || AddressFlag.ADDRESS_RETIRED;
}

/** The maps now hold the Plan: nothing is touched, and what was freed on the way begins to rest. `now` in ms. */
export function settle(plan: Plan, now: number): void {
  for (const family of FAMILIES) {
    const { backends, addresses, ranges, leavingRanges, touched } = plan.families[family];
    settleBackends(backends, touched.backends, now);
    for (const address of touched.addresses) {
      const hold = addresses.get(address);
      if (hold !== undefined) hold.published = true;
    }
    for (const text of touched.source_ranges) {
      const range = ranges.get(text);
      if (range !== undefined) range.published = true;
    }
    leavingRanges.clear();
    for (const keys of Object.values(touched)) keys.clear();
    plan.heldIds[family].clear();
  }
  settleRuns(plan.runs, now);
  if (!plan.released) return;
  plan.restUntil = now + REST_MS;
  plan.retryAt = plan.restUntil;
  plan.released = false;
}
