// Objects and the facts of this node become the Model. Pure, and incremental: a Service whose inputs are the identical
// values gives the identical ModelService, so that what follows sees at a glance what changed.

import { contains, familyOf, insideOf } from '../address.ts';
import { differences, type SortedMap, sortedMap } from '../sorted.ts';
import type { EndpointSlice, Objects, Service } from '../source/objects.ts';
import { type Complaints, complaintsAbout } from './complaints.ts';
import { type Candidate, countEndpoints, joinEndpoints, type Offers, offersOf } from './endpoints.ts';
import { type Addresses, addressesOf, frontendsOf, strayAddresses } from './frontends.ts';
import { SERVICE_LIMITS } from './limits.ts';
import { trimmed } from './lists.ts';
import type { Address, Family, HealthCheck, Model, ModelService, NodeFacts, Prefix, Problem, ServicePort } from './model.ts';
import { type DetectLocal, nodeProblems } from './node.ts';
import { chooseEndpoints } from './policy.ts';

export interface ModelOptions {
  /** Of the configuration; those of ServiceCIDR objects are added. */
  readonly serviceCIDRs: readonly Prefix[];
  /** Services and slices labelled service.kubernetes.io/service-proxy-name are ours only with this value (1.2). */
  readonly serviceProxyName: string | undefined;
  readonly detectLocal: DetectLocal;
  /** Are external IPs served, and in which networks (3.7)? Undefined: all of them. */
  readonly externalIPs?: { readonly served: boolean; readonly allowed: readonly Prefix[] | undefined };
  /** Source ranges count for node ports and external IPs too (7.4). */
  readonly sourceRangesEverywhere?: boolean;
}

/** What a Service became: a ModelService, or only Problems where it is refused or skipped. */
interface Built {
  readonly result: ModelService | undefined;
  readonly problems: readonly Problem[];
  readonly zoneMissing: boolean;
}

/** How many Services are honoured in each family, and how many have zone hints that cannot be used. */
interface Tally {
  readonly families: Readonly<Record<Family, number>>;
  readonly zoneMissing: number;
}

/** Every Service, and every name that only slices have. */
interface Services {
  readonly built: SortedMap<Built>;
  readonly honoured: SortedMap<ModelService>;
  /** Problems of those that have some. */
  readonly troubled: SortedMap<readonly Problem[]>;
  readonly tally: Tally;
  readonly changed: ReadonlySet<string> | undefined;
}

/** Inputs of a Model, kept beside it: what the next one compares with. */
interface Memory extends Services {
  readonly context: string;
  readonly objects: Objects;
  /** Problems of no Service. */
  readonly others: readonly Problem[];
}

const memories = new WeakMap<Model, Memory>();
const NO_SLICES: readonly EndpointSlice[] = [];
const NO_PROBLEMS: readonly Problem[] = [];
const SKIPPED: Built = { result: undefined, problems: NO_PROBLEMS, zoneMissing: false };
const NOTHING: Services = {
  built: sortedMap(),
  honoured: sortedMap(),
  troubled: sortedMap(),
  tally: { families: { 4: 0, 6: 0 }, zoneMissing: 0 },
  changed: undefined,
};

/** All that is the same for every Service. */
interface Context {
  readonly node: NodeFacts;
  readonly serviceProxyName: string | undefined;
  readonly inServiceCIDR: (address: Address) => boolean;
  /** Why an external IP is not served; undefined: it is. */
  readonly objectionTo: (externalIP: Address) => { readonly reason: string; readonly message: string } | undefined;
  readonly sourceRangesEverywhere: boolean;
}

/** The operator's word on external IPs: whoever may write a Service could otherwise take any address to himself (CVE-2020-8554). */
function objectionsOf({ externalIPs }: ModelOptions): Context['objectionTo'] {
  if (externalIPs === undefined) return () => undefined;
  const { served, allowed } = externalIPs;
  if (!served) return () => ({ reason: 'ExternalIPsOff', message: 'external IPs are switched off by sluice.externalIPs' });
  if (allowed === undefined) return () => undefined;
  const isAllowed = insideOf(allowed);
  const message = `it is in none of the networks of sluice.externalIPCIDRs, ${allowed.join(', ') || 'which are none'}`;
  return (address) => (isAllowed(address) ? undefined : { reason: 'ExternalIPNotAllowed', message });
}

/** The Service without the external IPs that may not be served; what it has as another kind of address too stays. */
function withoutRefused(service: Service, { objectionTo }: Context, complaints: Complaints): Service {
  if (service.externalIPs.length === 0) return service;
  const others = new Set([...service.clusterIPs, ...service.loadBalancerIPs]);
  const kept = service.externalIPs.filter((address) => {
    const objection = objectionTo(address);
    if (objection === undefined) return true;
    if (!others.has(address)) complaints.add('spec.externalIPs', objection.reason, `${address} is not served: ${objection.message}`);
    return false;
  });
  return kept.length === service.externalIPs.length ? service : { ...service, externalIPs: kept };
}

/** Drops endpoints that no packet can reach: an address inside a ServiceCIDR is a Service's, never a pod's. */
function reachable(slice: EndpointSlice, context: Context, problems: Problem[]): EndpointSlice {
  if (!slice.endpoints.some((endpoint) => context.inServiceCIDR(endpoint.address))) return slice;
  const unreachable = new Set(slice.endpoints.filter((endpoint) => context.inServiceCIDR(endpoint.address)));
  const complaints = complaintsAbout(`EndpointSlice ${slice.key}`, slice.origin);
  for (const { address } of unreachable) {
    complaints.add(
      'endpoints',
      'EndpointInServiceCIDR',
      `${address} is inside a ServiceCIDR and cannot be an endpoint; this endpoint is dropped`,
    );
  }
  problems.push(...complaints.problems());
  return { ...slice, endpoints: slice.endpoints.filter((endpoint) => !unreachable.has(endpoint)) };
}

/** Offers of the endpoints, family by family. */
type OffersByFamily = ReadonlyMap<Family, Offers>;

/** Is the Service bigger than a stated limit? Counted before anything of that size is made. */
function isOverLimits(service: Service, families: readonly Addresses[], offers: OffersByFamily, complaints: Complaints): boolean {
  const counts = { frontends: 0, backends: 0 };
  for (const { family, of } of families) {
    for (const port of service.ports) {
      counts.frontends += of.size + (port.nodePort === 0 ? 0 : 1);
      counts.backends += countEndpoints(offers.get(family)!, port.name, port.protocol);
    }
  }
  const over = (['frontends', 'backends'] as const).find((what) => counts[what] > SERVICE_LIMITS[what]);
  if (over === undefined) return false;
  const message = `${counts[over]} ${over} are more than the ${SERVICE_LIMITS[over]} a Service may have here; the Service is refused`;
  complaints.add('spec.ports', 'LimitExceeded', message);
  return true;
}

/** What of the Service is not served, although the rest of it is. */
function noteUnserved(service: Service, slices: readonly EndpointSlice[], everywhere: boolean, complaints: Complaints): void {
  for (const [index, port] of service.ports.entries()) {
    if (port.protocol !== 'SCTP') continue;
    complaints.add(`spec.ports[${index}].protocol`, 'UnsupportedProtocol', `SCTP port ${port.port} is not served; the other ports are`);
  }
  for (const address of strayAddresses(service)) {
    complaints.add(
      'spec.clusterIPs',
      'NoClusterIPOfFamily',
      `${address} is not served: the Service has no clusterIP of IPv${familyOf(address)}`,
    );
  }
  const guarded = everywhere ? [...service.clusterIPs, ...service.loadBalancerIPs] : service.loadBalancerIPs;
  for (const family of service.sourceRanges.length > 0 ? new Set(guarded.map(familyOf)) : []) {
    if (service.sourceRanges.some((range) => familyOf(range) === family)) continue;
    const what = everywhere ? 'external addresses and node ports' : 'load-balancer addresses';
    const message = `no range is of IPv${family}: its ${what} of that family are open to everybody`;
    complaints.add('spec.loadBalancerSourceRanges', 'NoSourceRangeOfFamily', message);
  }
  if (slices.length === 0) {
    complaints.add('metadata.name', 'NoEndpointSlices', 'no EndpointSlice belongs to this Service: its connections are refused');
  }
}

/** kube-proxy: externalTrafficPolicy counts only for types that can have external traffic. */
function isExternalLocal(service: Service): boolean {
  return service.externalLocal && (service.type === 'NodePort' || service.type === 'LoadBalancer' || service.externalIPs.length > 0);
}

/** kube-proxy: ready endpoints only, so that the load balancer looks elsewhere while the last ones that terminate still serve (12.1). */
function healthCheckOf(service: Service, offers: OffersByFamily, node: NodeFacts): HealthCheck | undefined {
  if (service.healthCheckNodePort === 0 || !service.externalLocal) return undefined;
  const localEndpoints = new Map<Family, number>();
  for (const [family, offered] of offers) {
    const addresses = new Set<Address>();
    for (const port of service.ports) {
      for (const { endpoint, backend } of joinEndpoints(offered, port.name, port.protocol, node.name)) {
        if (backend.local && endpoint.ready) addresses.add(endpoint.address);
      }
    }
    localEndpoints.set(family, addresses.size);
  }
  return { port: service.healthCheckNodePort, localEndpoints };
}

/** The ports of a Service in every family it has. */
function buildPorts(service: Service, families: readonly Addresses[], offers: OffersByFamily, context: Context) {
  const { node } = context;
  const ports: ServicePort[] = [];
  let zoneMissing = false;
  for (const addresses of families) {
    const { family } = addresses;
    const primary = node.primaryAddresses.find((address) => familyOf(address) === family);
    const sourceRanges = trimmed(service.sourceRanges.filter((range) => familyOf(range) === family));
    const selfAllowed = primary !== undefined && sourceRanges.some((range) => contains(range, primary));
    for (const port of service.ports) {
      if (port.protocol === 'SCTP') continue;
      const frontends = frontendsOf(addresses, port);
      const policies = {
        internalLocal: service.internalLocal,
        externalLocal: isExternalLocal(service),
        external: frontends.some((frontend) => frontend.kind !== 'ClusterIP'),
      };
      const candidates: Candidate[] = joinEndpoints(offers.get(family)!, port.name, port.protocol, node.name);
      const choice = chooseEndpoints(candidates, policies, node);
      zoneMissing ||= choice.zoneMissing;
      ports.push({
        key: `${service.key}:${port.name}/${port.protocol}/${family}`,
        namespace: service.namespace,
        service: service.name,
        portName: port.name,
        protocol: port.protocol,
        family,
        frontends,
        internalLocal: policies.internalLocal,
        externalLocal: policies.externalLocal,
        hasEndpoints: choice.hasEndpoints,
        cluster: choice.cluster,
        local: choice.local,
        draining: choice.draining,
        affinitySeconds: service.affinitySeconds,
        sourceRanges,
        sourceRangesEverywhere: context.sourceRangesEverywhere,
        selfAllowed,
      });
    }
  }
  return { ports: trimmed(ports), zoneMissing };
}

function skip(problems: readonly Problem[]): Built {
  return problems.length === 0 ? SKIPPED : { result: undefined, problems, zoneMissing: false };
}

function buildService(given: Service, slices: readonly EndpointSlice[], context: Context): Built {
  // Rows 1.1 and 1.2: another proxy's, or none of a proxy's business.
  if (given.proxyName !== undefined && given.proxyName !== context.serviceProxyName) return skip([]);
  if (given.refused) return skip(given.problems);
  if (given.type === 'ExternalName' || given.headless) return skip([]);
  const complaints = complaintsAbout(`Service ${given.key}`, given.origin);
  const service = withoutRefused(given, context, complaints);
  if (service.clusterIPs.length === 0) {
    complaints.add('spec.clusterIP', 'NoClusterIP', 'the Service has no clusterIP and is not served before it gets one');
    return skip([...service.problems, ...complaints.problems()]);
  }
  const own = slices.filter((slice) => slice.proxyName === undefined || slice.proxyName === context.serviceProxyName);
  const found: Problem[] = [...service.problems, ...own.flatMap((slice) => slice.problems)];
  noteUnserved(service, own, context.sourceRangesEverywhere, complaints);
  const families = addressesOf(service);
  const offers = new Map<Family, Offers>();
  for (const { family } of families) {
    offers.set(family, offersOf(own.filter((slice) => slice.family === family).map((slice) => reachable(slice, context, found))));
  }
  const over = isOverLimits(service, families, offers, complaints);
  const problems = trimmed([...found, ...complaints.problems()]);
  if (over) return skip(problems);
  const { ports, zoneMissing } = buildPorts(service, families, offers, context);
  const healthCheck = healthCheckOf(service, offers, context.node);
  return { result: { key: service.key, ports, created: service.created, healthCheck, problems }, problems, zoneMissing };
}

function serviceCIDRsOf(objects: Objects, options: ModelOptions): Prefix[] {
  const all = new Set(options.serviceCIDRs);
  for (const object of objects.serviceCIDRs.values()) for (const cidr of object.cidrs) all.add(cidr);
  return [...all].sort();
}

/** Problems that belong to no Service. */
function otherProblems(objects: Objects, node: NodeFacts, options: ModelOptions, { families, zoneMissing }: Tally): Problem[] {
  const served = new Set(([4, 6] as const).filter((family) => families[family] > 0));
  const problems = [...objects.problems, ...nodeProblems(objects, node, options.detectLocal, served)];
  if (zoneMissing > 0 && objects.nodes.has(node.name)) {
    const message = `Node ${JSON.stringify(node.name)} has no zone: zone hints of EndpointSlices are not followed`;
    problems.push({ object: 'Agent', field: "metadata.labels['topology.kubernetes.io/zone']", reason: 'NoZone', message });
  }
  problems.push(...(objects.nodes.get(node.name)?.problems ?? NO_PROBLEMS));
  for (const object of objects.serviceCIDRs.values()) problems.push(...object.problems);
  return problems;
}

function buildOne(key: string, objects: Objects, context: Context): Built | undefined {
  const service = objects.services.get(key);
  const slices = objects.slices.get(key);
  if (service !== undefined) return buildService(service, slices ?? NO_SLICES, context);
  return slices && skip(slices.flatMap((slice) => slice.problems));
}

/** Counts a Service in (1) or out (-1). */
function count(tally: { families: Record<Family, number>; zoneMissing: number }, built: Built | undefined, by: 1 | -1): void {
  // Ports of one family stand together: the first and the last name them all.
  const ports = built?.result?.ports ?? [];
  const [first, last] = [ports[0]?.family, ports.at(-1)?.family];
  if (first !== undefined) tally.families[first] += by;
  if (last !== undefined && last !== first) tally.families[last] += by;
  if (built?.zoneMissing) tally.zoneMissing += by;
}

/** What every Service became: taken over where nothing it is made of changed. */
function buildServices(objects: Objects, context: Context, known: Memory | undefined): Services {
  const before = known ?? NOTHING;
  const changed = new Set([
    ...(known === undefined ? objects.services.keys() : differences(objects.services, known.objects.services)),
    ...(known === undefined ? objects.slices.keys() : differences(objects.slices, known.objects.slices)),
  ]);
  const built = new Map<string, Built | undefined>();
  const honoured = new Map<string, ModelService | undefined>();
  const troubled = new Map<string, readonly Problem[] | undefined>();
  const tally = { families: { ...before.tally.families }, zoneMissing: before.tally.zoneMissing };
  for (const key of changed) {
    const now = buildOne(key, objects, context);
    const old = before.built.get(key);
    built.set(key, now);
    honoured.set(key, now?.result);
    const problems = now?.problems ?? NO_PROBLEMS;
    if (problems.length > 0 || before.troubled.has(key)) troubled.set(key, problems.length > 0 ? problems : undefined);
    count(tally, old, -1);
    count(tally, now, 1);
  }
  return {
    built: before.built.withAll(built),
    honoured: before.honoured.withAll(honoured),
    troubled: before.troubled.withAll(troubled),
    tally,
    changed: known === undefined ? undefined : changed,
  };
}

function sameProblems(some: readonly Problem[], others: readonly Problem[]): boolean {
  return some.length === others.length && some.every((one, i) => one === others[i] || JSON.stringify(one) === JSON.stringify(others[i]));
}

/** The old value where the new one says the same: what compares by identity then has nothing to do. */
function kept<T extends object>(old: T | undefined, now: T): T {
  return old !== undefined && JSON.stringify(old) === JSON.stringify(now) ? old : now;
}

/**
 * Builds the Model. `previous` is the Model built before from the same kind of options: its ModelServices are used again where a
 * Service, its slices and what is known of the node are the same. The cost grows with what changed.
 */
export function buildModel(objects: Objects, facts: NodeFacts, options: ModelOptions, previous?: Model): Model {
  const node = kept(previous?.node, facts);
  const serviceCIDRs = kept(previous?.serviceCIDRs, serviceCIDRsOf(objects, options));
  const sourceRangesEverywhere = options.sourceRangesEverywhere ?? false;
  const fixed = [options.serviceProxyName, options.externalIPs ?? null, sourceRangesEverywhere];
  const common = JSON.stringify([node.name, node.zone, node.primaryAddresses, serviceCIDRs, ...fixed]);
  const memory = previous && memories.get(previous);
  const context: Context = {
    ...{ node, serviceProxyName: options.serviceProxyName, sourceRangesEverywhere },
    inServiceCIDR: insideOf(serviceCIDRs),
    objectionTo: objectionsOf(options),
  };
  const services = buildServices(objects, context, memory?.context === common ? memory : undefined);
  const others = otherProblems(objects, node, options, services.tally);
  const told = memory?.troubled === services.troubled && sameProblems(others, memory.others);
  const model: Model = {
    services: services.honoured,
    node,
    serviceCIDRs,
    problems: told ? previous!.problems : [...others, ...[...services.troubled.values()].flat()],
  };
  memories.set(model, { ...services, context: common, objects, others });
  return model;
}

/** Keys of the Services, there or gone, that may differ from the Model that this one was built after. Undefined: any may. */
export function changedIn(model: Model): ReadonlySet<string> | undefined {
  return memories.get(model)?.changed;
}
