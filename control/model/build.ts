// Objects and the facts of this node become the Model. Pure, and incremental: a Service whose inputs are the identical
// values gives the identical ModelService, so that what follows sees at a glance what changed.

import { contains, familyOf, insideOf } from '../address.ts';
import type { EndpointSlice, Objects, Service } from '../source/objects.ts';
import { type Complaints, complaintsAbout } from './complaints.ts';
import { type Candidate, countEndpoints, joinEndpoints, type Offers, offersOf } from './endpoints.ts';
import { type Addresses, addressesOf, frontendsOf, strayAddresses } from './frontends.ts';
import { SERVICE_LIMITS } from './limits.ts';
import type { Address, Family, HealthCheck, Model, ModelService, NodeFacts, Prefix, Problem, ServicePort } from './model.ts';
import { type DetectLocal, nodeProblems } from './node.ts';
import { chooseEndpoints } from './policy.ts';

export interface ModelOptions {
  /** Of the configuration; those of ServiceCIDR objects are added. */
  readonly serviceCIDRs: readonly Prefix[];
  /** Services and slices labelled service.kubernetes.io/service-proxy-name are ours only with this value (1.2). */
  readonly serviceProxyName: string | undefined;
  readonly detectLocal: DetectLocal;
}

/** What a Service became: a ModelService, or only Problems where it is refused or skipped. */
interface Built {
  readonly result: ModelService | undefined;
  readonly problems: readonly Problem[];
  readonly zoneMissing: boolean;
}

/** Inputs of a Model, kept beside it: what the next one compares with. */
interface Memory {
  readonly context: string;
  readonly objects: Objects;
  readonly built: ReadonlyMap<string, Built>;
  readonly changed: ReadonlySet<string> | undefined;
}

const memories = new WeakMap<Model, Memory>();
const NO_SLICES: readonly EndpointSlice[] = [];

/** All that is the same for every Service. */
interface Context {
  readonly node: NodeFacts;
  readonly serviceProxyName: string | undefined;
  readonly inServiceCIDR: (address: Address) => boolean;
}

/** Drops endpoints that no packet can reach: an address inside a ServiceCIDR is a Service's, never a pod's. */
function reachable(slice: EndpointSlice, context: Context, problems: Problem[]): EndpointSlice {
  const unreachable = new Set(slice.endpoints.filter((endpoint) => context.inServiceCIDR(endpoint.address)));
  if (unreachable.size === 0) return slice;
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
function noteUnserved(service: Service, slices: readonly EndpointSlice[], complaints: Complaints): void {
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
  for (const family of service.sourceRanges.length > 0 ? new Set(service.loadBalancerIPs.map(familyOf)) : []) {
    if (service.sourceRanges.some((range) => familyOf(range) === family)) continue;
    const message = `no range is of IPv${family}: its load-balancer addresses of that family are open to everybody`;
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
    const sourceRanges = service.sourceRanges.filter((range) => familyOf(range) === family);
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
        selfAllowed,
      });
    }
  }
  return { ports, zoneMissing };
}

function buildService(service: Service, slices: readonly EndpointSlice[], context: Context): Built {
  const skip = (problems: readonly Problem[]): Built => ({ result: undefined, problems, zoneMissing: false });
  // Rows 1.1 and 1.2: another proxy's, or none of a proxy's business.
  if (service.proxyName !== undefined && service.proxyName !== context.serviceProxyName) return skip([]);
  if (service.refused) return skip(service.problems);
  if (service.type === 'ExternalName' || service.headless) return skip([]);
  const complaints = complaintsAbout(`Service ${service.key}`, service.origin);
  if (service.clusterIPs.length === 0) {
    complaints.add('spec.clusterIP', 'NoClusterIP', 'the Service has no clusterIP and is not served before it gets one');
    return skip([...service.problems, ...complaints.problems()]);
  }
  const own = slices.filter((slice) => slice.proxyName === undefined || slice.proxyName === context.serviceProxyName);
  const problems: Problem[] = [...service.problems, ...own.flatMap((slice) => slice.problems)];
  noteUnserved(service, own, complaints);
  const families = addressesOf(service);
  const offers = new Map<Family, Offers>();
  for (const { family } of families) {
    offers.set(family, offersOf(own.filter((slice) => slice.family === family).map((slice) => reachable(slice, context, problems))));
  }
  const over = isOverLimits(service, families, offers, complaints);
  problems.push(...complaints.problems());
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

/** Problems that belong to no honoured Service. */
function* otherProblems(objects: Objects, node: NodeFacts, options: ModelOptions, built: ReadonlyMap<string, Built>): Iterable<Problem> {
  yield* objects.problems;
  const families = new Set<Family>();
  let zoneMissing = false;
  for (const { result, zoneMissing: missing } of built.values()) {
    // Ports of one family stand together: the first and the last name them all.
    if (result !== undefined) for (const port of [result.ports[0], result.ports.at(-1)]) if (port !== undefined) families.add(port.family);
    zoneMissing ||= missing;
  }
  yield* nodeProblems(objects, node, options.detectLocal, families);
  if (zoneMissing && objects.nodes.has(node.name)) {
    const message = `Node ${JSON.stringify(node.name)} has no zone: zone hints of EndpointSlices are not followed`;
    yield { object: 'Agent', field: "metadata.labels['topology.kubernetes.io/zone']", reason: 'NoZone', message };
  }
  yield* objects.nodes.get(node.name)?.problems ?? [];
  for (const object of objects.serviceCIDRs.values()) yield* object.problems;
  for (const [key, slices] of objects.slices) {
    if (!objects.services.has(key)) for (const slice of slices) yield* slice.problems;
  }
}

/** Keys that are in one of two maps only, or with another value. */
function* differences<V>(now: ReadonlyMap<string, V>, before: ReadonlyMap<string, V>): Iterable<string> {
  if (now === before) return;
  for (const [key, value] of now) if (before.get(key) !== value) yield key;
  for (const key of before.keys()) if (!now.has(key)) yield key;
}

interface Services {
  readonly built: ReadonlyMap<string, Built>;
  readonly changed: ReadonlySet<string> | undefined;
}

/** What every Service became, in the order of the objects: taken over where nothing it is made of changed. */
function buildServices(objects: Objects, context: Context, known: Memory | undefined): Services {
  const buildOne = (service: Service): Built => buildService(service, objects.slices.get(service.key) ?? NO_SLICES, context);
  if (known === undefined)
    return { built: new Map([...objects.services].map(([key, service]) => [key, buildOne(service)])), changed: undefined };
  const changed = new Set([...differences(objects.services, known.objects.services), ...differences(objects.slices, known.objects.slices)]);
  if (changed.size === 0) return { built: known.built, changed };
  const built = new Map(known.built);
  let grown = false;
  for (const key of changed) {
    const service = objects.services.get(key);
    grown ||= service !== undefined && !built.has(key);
    if (service === undefined) built.delete(key);
    else built.set(key, buildOne(service));
  }
  const ordered = grown ? new Map([...objects.services.keys()].map((key) => [key, built.get(key)!])) : built;
  return { built: ordered, changed };
}

/** The honoured ones. */
function servicesOf(built: ReadonlyMap<string, Built>): ReadonlyMap<string, ModelService> {
  const services = new Map<string, ModelService>();
  for (const [key, { result }] of built) if (result !== undefined) services.set(key, result);
  return services;
}

/**
 * Builds the Model. `previous` is the Model built before from the same kind of options: its ModelServices are used again where a
 * Service, its slices and what is known of the node are the same.
 */
export function buildModel(objects: Objects, node: NodeFacts, options: ModelOptions, previous?: Model): Model {
  const serviceCIDRs = serviceCIDRsOf(objects, options);
  const common = JSON.stringify([node.name, node.zone, node.primaryAddresses, serviceCIDRs, options.serviceProxyName]);
  const memory = previous === undefined ? undefined : memories.get(previous);
  const context: Context = { node, serviceProxyName: options.serviceProxyName, inServiceCIDR: insideOf(serviceCIDRs) };
  const { built, changed } = buildServices(objects, context, memory?.context === common ? memory : undefined);
  const services = previous !== undefined && built === memory?.built ? previous.services : servicesOf(built);
  const problems = [...otherProblems(objects, node, options, built)];
  for (const one of built.values()) for (const problem of one.problems) problems.push(problem);
  const model: Model = { services, node, serviceCIDRs, problems };
  memories.set(model, { context: common, objects, built, changed });
  return model;
}

/** Keys of the Services, there or gone, that may differ from the Model that this one was built after. Undefined: any may. */
export function changedIn(model: Model): ReadonlySet<string> | undefined {
  return memories.get(model)?.changed;
}
