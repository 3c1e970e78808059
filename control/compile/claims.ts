// What does one Service port take from the maps? Claiming it turns backends, slices, tables, frontends and source ranges
// into shared holds; releasing gives all of them back. Neither writes anything: compile.ts decides who may claim.

import type { FrontendKey4, Slice } from '../abi/layout.gen.ts';
import { FrontendFlag } from '../abi/layout.gen.ts';
import { prefixParts } from '../address.ts';
import type { Address, Backend, Frontend, FrontendKind, ModelService, ServicePort } from '../model/model.ts';
import { claimAddress, releaseAddress } from './addresses.ts';
import { type BackendIds, claimBackend, claimFrontendId, releaseBackend } from './ids.ts';
import { MAX_BACKENDS_PER_PORT, populate, tableSize } from './maglev.ts';
import type { CompiledPort, FamilyPlan, FrontendClaim, Plan } from './plan.ts';
import { claimRun, EMPTY, releaseRun, sliceKey, tableKey } from './runs.ts';

/** Protocol numbers of IP (IANA). */
export const PROTOCOL_NUMBER = { TCP: 6, UDP: 17 } as const;

/** Why a Service port cannot be claimed. */
export interface Refusal {
  /** For programs: `CapacityExceeded`, `TooManyBackends`. */
  readonly reason: string;
  /** What there is too little of: `map frontends4 (131072 entries)`. */
  readonly what: string;
  /** The map that is full, where one is. */
  readonly map?: string;
}

/** How a frontend is named here: `10.0.0.1:80/6`, `[::]:80/17`. */
export function frontendText({ address, port, protocol }: FrontendKey4): string {
  return `${endpointName(address, port)}/${protocol}`;
}

/** How a backend is named on every node: `10.0.0.1:80`, `[fd00::1]:80`. Maglev tables are seeded by it. */
export function endpointName(address: Address, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** kube-proxy: source ranges guard the load balancer's addresses, not node ports and external IPs, unless the operator says so (7.4). */
function isGuarded(port: ServicePort, kind: FrontendKind): boolean {
  return kind === 'LoadBalancer' || (port.sourceRangesEverywhere && kind !== 'ClusterIP');
}

function frontendFlags(port: ServicePort, kind: FrontendKind): number {
  const local = kind === 'ClusterIP' ? port.internalLocal : port.externalLocal;
  let flags = 0;
  if (kind === 'ClusterIP') flags |= FrontendFlag.FRONTEND_CLUSTER_IP;
  if (kind === 'NodePort') flags |= FrontendFlag.FRONTEND_NODE_PORT;
  if (local) flags |= FrontendFlag.FRONTEND_LOCAL;
  if (port.hasEndpoints) flags |= FrontendFlag.FRONTEND_HAS_ENDPOINTS;
  if (port.affinitySeconds > 0) flags |= FrontendFlag.FRONTEND_AFFINITY;
  if (isGuarded(port, kind) && port.sourceRanges.length > 0) {
    flags |= FrontendFlag.FRONTEND_SOURCE_RANGES;
    if (port.selfAllowed) flags |= FrontendFlag.FRONTEND_SELF_ALLOWED;
  }
  return flags;
}

/**
 * Who of two gets a frontend: a ClusterIP before anything else, for the API server gives it to one Service alone and nobody
 * may take it by naming it as an external address (CVE-2020-8554); then the older Service, then the first by name; of two
 * ports of one Service the first by name.
 */
function compareClaims(a: FrontendClaim, b: FrontendClaim): number {
  const [x, y] = [a.port, b.port];
  if ((a.kind === 'ClusterIP') !== (b.kind === 'ClusterIP')) return a.kind === 'ClusterIP' ? -1 : 1;
  if (x.created !== y.created) return x.created - y.created;
  if (x.service !== y.service) return x.service < y.service ? -1 : 1;
  return x.source.key < y.source.key ? -1 : x.source.key > y.source.key ? 1 : 0;
}

/** Adds a claim on every backend of a list. Their ids, or undefined when ids run out. */
function claimBackends(part: FamilyPlan, port: CompiledPort, list: readonly Backend[], now: number): number[] | undefined {
  const protocol = PROTOCOL_NUMBER[port.source.protocol];
  const ids = part.backends;
  const claimed: number[] = [];
  for (const { address, port: number, serving, local } of list) {
    const id = claimBackend(ids, address, number, protocol, now);
    if (id === undefined) return undefined;
    if (serving) ids.serving[id]!++;
    if (local) ids.local[id]!++;
    port.backends.push(id);
    part.touched.backends.add(id);
    claimed.push(id);
  }
  return claimed;
}

function releaseBackends(part: FamilyPlan, { source, backends }: CompiledPort): void {
  const ids = part.backends;
  let at = 0;
  for (const list of [source.cluster, source.local, source.draining]) {
    for (const { serving, local } of list) {
      // A claim that ran out of ids ends in the middle of a list.
      const id = backends[at++];
      if (id === undefined) return;
      if (serving) ids.serving[id]!--;
      if (local) ids.local[id]!--;
      releaseBackend(ids, id);
      part.touched.backends.add(id);
    }
  }
}

function claimSlots(plan: Plan, port: CompiledPort, key: string, contents: () => ArrayLike<number>): Slice | undefined {
  const run = claimRun(plan.runs, key, contents);
  if (run === undefined) return undefined;
  port.runs.push(run);
  return { first: run.first, count: run.count };
}

/** Ascending, each once: the datapath looks an affinity up by bisection. */
function ascending(ids: readonly number[]): readonly number[] {
  if (ids.every((id, i) => i === 0 || id > ids[i - 1]!)) return ids;
  return [...new Set(ids)].sort((a, b) => a - b);
}

/** The slice of a list of backends and, where wanted, its Maglev table. Undefined when slots run out. */
function claimSlices(plan: Plan, port: CompiledPort, claimed: readonly number[], withTable: boolean): [Slice, Slice] | undefined {
  if (claimed.length === 0) return [EMPTY, EMPTY];
  const { family } = port.source;
  const ids = ascending(claimed);
  const slice = claimSlots(plan, port, sliceKey(family, ids), () => ids);
  if (slice === undefined) return undefined;
  if (!withTable) return [slice, EMPTY];
  const size = tableSize(ids.length);
  const { backends } = plan.families[family];
  const key = tableKey(family, size, ids, (id) => backends.generation[id]!);
  const table = claimSlots(plan, port, key, () => tableOf(backends, ids, size));
  return table && [slice, table];
}

/** A Maglev table with backend ids in its slots. */
export function tableOf(backends: BackendIds, ids: readonly number[], size: number): Uint32Array {
  const named = ids.map((id) => ({ id, name: endpointName(backends.address[id]!, backends.port[id]!) }));
  named.sort((a, b) => (a.name < b.name ? -1 : 1));
  const names = named.map(({ name }) => name);
  return populate(names, size).map((index) => named[index]!.id);
}

function claimFrontend(plan: Plan, part: FamilyPlan, port: CompiledPort, frontend: Frontend): Refusal | undefined {
  const { family, limits } = part;
  const key = { address: frontend.address, port: frontend.port, protocol: PROTOCOL_NUMBER[port.source.protocol] };
  const text = frontendText(key);
  const claims = part.frontends.get(text);
  if (claims === undefined && part.frontends.size >= limits.frontends) return full('frontends', family, limits.frontends);
  if (frontend.kind !== 'NodePort' && !claimAddress(part, frontend)) return full('addresses', family, limits.addresses);
  const claim = { text, key, flags: frontendFlags(port.source, frontend.kind), kind: frontend.kind, port };
  if (claims === undefined) part.frontends.set(text, [claim]);
  else {
    claims.push(claim);
    claims.sort(compareClaims);
    plan.disputed.set(`${family} ${text}`, { family, text });
  }
  port.frontends.push(claim);
  part.touched.frontends.add(text);
  return undefined;
}

function claimRanges(part: FamilyPlan, port: CompiledPort): Refusal | undefined {
  const limit = part.limits.source_ranges;
  for (const prefix of new Set(port.source.sourceRanges)) {
    const { address, length } = prefixParts(prefix);
    const text = `${port.id} ${prefix}`;
    const published = part.leavingRanges.delete(text);
    // Ranges that leave are deleted after the new ones are written: both need room at once.
    if (!published && part.ranges.size + part.leavingRanges.size >= limit) return full('source_ranges', part.family, limit);
    part.ranges.set(text, { key: { prefix_length: 32 + length, frontend: port.id, address }, published });
    port.ranges.push(text);
    part.touched.source_ranges.add(text);
  }
  return undefined;
}

function full(map: string, family: number | '', entries: number): Refusal {
  return { reason: 'CapacityExceeded', what: `map ${map}${family} (${entries} entries)`, map: `${map}${family}` };
}

function fill(plan: Plan, part: FamilyPlan, port: CompiledPort, now: number): Refusal | undefined {
  const { source } = port;
  for (const list of [source.cluster, source.local, source.draining]) {
    if (list.length > MAX_BACKENDS_PER_PORT)
      return { reason: 'TooManyBackends', what: `the ${MAX_BACKENDS_PER_PORT} backends that one port can have` };
  }
  const cluster = claimBackends(part, port, source.cluster, now);
  const local = cluster && claimBackends(part, port, source.local, now);
  const draining = local && claimBackends(part, port, source.draining, now);
  if (cluster === undefined || local === undefined || draining === undefined) return full('backends', part.family, part.limits.backends);

  // Only clients from outside are spread by Maglev, and they come by external frontends (6.3).
  const external = source.frontends.some((frontend) => frontend.kind !== 'ClusterIP');
  const clusterSlices = claimSlices(plan, port, cluster, external);
  const localSlices = clusterSlices && claimSlices(plan, port, local, external && source.externalLocal);
  if (clusterSlices === undefined || localSlices === undefined) return full('slots', '', plan.slots);
  [port.cluster, port.clusterTable] = clusterSlices;
  [port.local, port.localTable] = localSlices;

  for (const frontend of source.frontends) {
    const refusal = claimFrontend(plan, part, port, frontend);
    if (refusal !== undefined) return refusal;
  }
  const guarded = source.frontends.some((frontend) => isGuarded(source, frontend.kind));
  return guarded ? claimRanges(part, port) : undefined;
}

const NO_IDS: readonly number[] = [];

/** Ids that the maps show behind the port's frontends. */
function heldIds(plan: Plan, source: ServicePort): readonly number[] {
  const held = plan.heldIds[source.family];
  if (held.size === 0) return NO_IDS;
  const found = source.frontends.map(({ address, port }) => {
    return held.get(frontendText({ address, port, protocol: PROTOCOL_NUMBER[source.protocol] }));
  });
  return found.filter((id) => id !== undefined);
}

/** Claims all that a Service port needs, or nothing: then the answer says what there is too little of. `now` in ms. */
export function claimPort(plan: Plan, service: ModelService, source: ServicePort, now: number): CompiledPort | Refusal {
  const port: CompiledPort = {
    service: service.key,
    created: service.created,
    source,
    id: claimFrontendId(plan.ids, source.key, heldIds(plan, source)),
    backends: [],
    runs: [],
    cluster: EMPTY,
    local: EMPTY,
    clusterTable: EMPTY,
    localTable: EMPTY,
    frontends: [],
    ranges: [],
  };
  const refusal = fill(plan, plan.families[source.family], port, now);
  if (refusal !== undefined) {
    releasePort(plan, port);
    return refusal;
  }
  // They stay for long: without the room to spare that they grew with.
  port.backends = port.backends.slice();
  port.runs = port.runs.slice();
  port.frontends = port.frontends.slice();
  port.ranges = port.ranges.slice();
  return port;
}

/** Gives everything back that the port claimed, its id excepted: an update of the Service keeps it. */
export function releasePort(plan: Plan, port: CompiledPort): void {
  const part = plan.families[port.source.family];
  for (const text of port.ranges) {
    if (part.ranges.get(text)?.published) part.leavingRanges.add(text);
    part.ranges.delete(text);
    part.touched.source_ranges.add(text);
  }
  for (const claim of port.frontends) {
    const claims = part.frontends.get(claim.text)!;
    claims.splice(claims.indexOf(claim), 1);
    if (claims.length === 0) part.frontends.delete(claim.text);
    if (claims.length < 2) plan.disputed.delete(`${part.family} ${claim.text}`);
    part.touched.frontends.add(claim.text);
    if (claim.kind !== 'NodePort') releaseAddress(part, claim.key.address, claim.kind);
  }
  for (const run of port.runs) releaseRun(plan.runs, run);
  releaseBackends(part, port);
}
