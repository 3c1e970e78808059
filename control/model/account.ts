// What does the Model say about one destination, and what do the objects say that it does not? Everything of the cluster that bears upon one
// connection, small enough to be sent to whoever asks why. Pure.

import { familyOf } from '../address.ts';
import type { Objects, Service } from '../source/objects.ts';
import type { ModelOptions } from './build.ts';
import { type Fate, fatesOf, servicesBehind, strangersIn } from './fates.ts';
import type { Address, FrontendKind, Model, ModelService, NodeFacts, Prefix, Problem, Protocol, ServicePort } from './model.ts';
import { type NodePortAddresses, nodePortAddresses } from './node.ts';

/** Where a connection is to go. */
export interface Destination {
  readonly address: Address;
  readonly port: number;
  readonly protocol: Protocol;
}

/** A Service port by name; an empty port name is the only port, or the unnamed one. */
export interface ServiceName {
  /** `namespace/name`. */
  readonly service: string;
  readonly portName: string;
  readonly family: 4 | 6;
}

/** A Service that names the destination, or is asked for by name. */
export interface Claimant {
  readonly service: string;
  /** As what it has the address; undefined: it is only asked for by name. */
  readonly kind: FrontendKind | undefined;
  /** One sentence: what it serves there, or why it does not. */
  readonly told: string;
  /** It names the port too, served or not. */
  readonly hasPort: boolean;
  /** It has a frontend of this address, port and protocol. */
  readonly serves: boolean;
}

/** A Service port that has the destination as a frontend, and all endpoints it could have. */
export interface ClaimedPort {
  readonly port: ServicePort;
  readonly fates: readonly Fate[];
  /** Endpoints of the other family. */
  readonly strangers: number;
}

export interface Account {
  /** What was asked for, resolved where it was a name; undefined: the name leads nowhere. */
  readonly destination: Destination | undefined;
  readonly node: NodeFacts;
  readonly nodePortAddresses: readonly Address[];
  readonly serviceCIDRs: readonly Prefix[];
  readonly claimants: readonly Claimant[];
  readonly ports: readonly ClaimedPort[];
  /** Services whose endpoint the destination's address is. */
  readonly endpointOf: readonly string[];
  /** All that has to be compiled for the entries that the destination meets, these Services alone. */
  readonly services: readonly ModelService[];
  /** Of the Services named here. */
  readonly problems: readonly Problem[];
}

export interface AccountOptions extends Pick<ModelOptions, 'serviceProxyName'> {
  readonly nodePortAddresses: NodePortAddresses;
}

/** Why a Service has no frontend at all; undefined: it has some. */
function whyUnserved(service: Service, model: Model, options: AccountOptions): string | undefined {
  if (service.proxyName !== undefined && service.proxyName !== options.serviceProxyName)
    return `it is labelled service.kubernetes.io/service-proxy-name=${JSON.stringify(service.proxyName)}: another proxy's (1.2)`;
  if (service.type === 'ExternalName') return 'its type is ExternalName: a name of the DNS, no address of ours (1.1)';
  if (service.headless) return 'it is headless (clusterIP None): the DNS gives the addresses of its pods (1.1)';
  if (service.refused) return 'it is refused: see its Problems';
  if (service.clusterIPs.length === 0) return 'it has no clusterIP yet';
  return model.services.has(service.key) ? undefined : 'it is refused: see its Problems';
}

function portsText(service: Service, nodePorts: boolean): string {
  const texts = service.ports
    .filter((port) => !nodePorts || port.nodePort !== 0)
    .map(({ name, port, nodePort, protocol }) => `${nodePorts ? nodePort : port}/${protocol}${name === '' ? '' : ` (${name})`}`);
  return texts.length > 8 ? `${texts.slice(0, 8).join(', ')} and ${texts.length - 8} more` : texts.join(', ') || 'none';
}

/** As what a Service has an address. A node's address is a NodePort's where the port is one of its node ports. */
function kindOf(service: Service, { address, port, protocol }: Destination, ofNode: boolean): FrontendKind | undefined {
  if (service.clusterIPs.includes(address)) return 'ClusterIP';
  if (service.loadBalancerIPs.includes(address)) return 'LoadBalancer';
  if (service.externalIPs.includes(address)) return 'ExternalIP';
  return ofNode && service.ports.some((one) => one.nodePort === port && one.protocol === protocol) ? 'NodePort' : undefined;
}

function hasFrontend(one: ServicePort, { address, port, protocol }: Destination): boolean {
  if (one.protocol !== protocol || one.family !== familyOf(address)) return false;
  return one.frontends.some((frontend) => frontend.port === port && (frontend.kind === 'NodePort' || frontend.address === address));
}

function claimantOf(service: Service, kind: FrontendKind, to: Destination, model: Model, options: AccountOptions): Claimant {
  const has = service.ports.some((one) => one.protocol === to.protocol && (kind === 'NodePort' ? one.nodePort : one.port) === to.port);
  const common = { service: service.key, kind, hasPort: has };
  const not = (told: string): Claimant => ({ ...common, serves: false, told });
  const unserved = whyUnserved(service, model, options);
  if (unserved !== undefined) return not(`not served: ${unserved}`);
  const port = model.services.get(service.key)!.ports.find((one) => hasFrontend(one, to));
  if (port !== undefined) return { ...common, serves: true, told: `serves it as its ${kind}, port ${JSON.stringify(port.portName)}` };
  const sctp = service.ports.some((one) => one.protocol === 'SCTP' && one.port === to.port);
  if (sctp) return not(`has ${to.port} for SCTP, which is not served`);
  if (has) return not('names this address and port and is not served there: see its Problems');
  return not(`has no port ${to.port}/${to.protocol}; its ports are ${portsText(service, kind === 'NodePort')}`);
}

/** The first frontend of the Service port of that name, or number where one port has it, and family. */
function resolve({ service, portName, family }: ServiceName, model: Model): Destination | undefined {
  const ports = model.services.get(service)?.ports.filter((port) => port.family === family) ?? [];
  const alike = portName === '' ? ports : ports.filter((one) => String(one.frontends[0]?.port) === portName);
  const port = ports.find((one) => one.portName === portName) ?? (alike.length === 1 ? alike[0] : undefined);
  const frontend = port?.frontends[0];
  return port === undefined || frontend === undefined
    ? undefined
    : { address: frontend.address, port: frontend.port, protocol: port.protocol };
}

function namedClaimant(to: ServiceName, service: Service | undefined, model: Model, options: AccountOptions): Claimant {
  const common = { service: to.service, kind: undefined, hasPort: false, serves: false };
  if (service === undefined)
    return { ...common, told: 'there is no such Service here; a headless one may be left out where objects are read' };
  const unserved = whyUnserved(service, model, options);
  if (unserved !== undefined) return { ...common, told: `not served: ${unserved}` };
  if (!service.clusterIPs.some((address) => familyOf(address) === to.family))
    return { ...common, told: `has no clusterIP of IPv${to.family}` };
  return { ...common, told: `has no port ${JSON.stringify(to.portName)} that is served; its ports are ${portsText(service, false)}` };
}

/** Services that list one of the backends too: what they say of it is in its entry. */
function* sharing(model: Model, ports: readonly ServicePort[]): Generator<ModelService> {
  const lists = (port: ServicePort) => [port.cluster, port.local, port.draining];
  const wanted = new Set(ports.flatMap((port) => lists(port).flatMap((list) => list.map((one) => `${one.address} ${one.port}`))));
  if (wanted.size === 0) return;
  for (const service of model.services.values()) {
    if (service.ports.some((port) => lists(port).some((list) => list.some((one) => wanted.has(`${one.address} ${one.port}`)))))
      yield service;
  }
}

/** Everything that bears upon a connection to `to`. problems: all that are known. */
export function accountOf(
  objects: Objects,
  model: Model,
  options: AccountOptions,
  to: Destination | ServiceName,
  problems: readonly Problem[],
): Account {
  const destination = 'service' in to ? resolve(to, model) : to;
  const nodePorts = nodePortAddresses(options.nodePortAddresses, model.node);
  const claimants: Claimant[] = [];
  const ports: ServicePort[] = [];
  const named = new Set<string>();
  if ('service' in to && destination === undefined) {
    claimants.push(namedClaimant(to, objects.services.get(to.service), model, options));
    named.add(to.service);
  }
  if (destination !== undefined) {
    const loopback = destination.address.startsWith('127.') || destination.address === '::1';
    const ofNode = loopback || [...model.node.localAddresses, ...model.node.primaryAddresses].includes(destination.address);
    for (const service of objects.services.values()) {
      const kind = kindOf(service, destination, ofNode);
      if (kind === undefined) continue;
      named.add(service.key);
      claimants.push(claimantOf(service, kind, destination, model, options));
      ports.push(...(model.services.get(service.key)?.ports.filter((port) => hasFrontend(port, destination)) ?? []));
    }
  }
  const endpointOf = destination === undefined ? [] : servicesBehind(destination.address, objects.slices);
  const services = new Map<string, ModelService>();
  for (const key of named) {
    const service = model.services.get(key);
    if (service !== undefined) services.set(key, service);
  }
  for (const service of sharing(model, ports)) services.set(service.key, service);
  const slicesOf = (port: ServicePort) => objects.slices.get(`${port.namespace}/${port.service}`) ?? [];
  const ground = { node: model.node, serviceCIDRs: model.serviceCIDRs, serviceProxyName: options.serviceProxyName };
  const about = new Set(
    [...named].flatMap((key) => [`Service ${key}`, ...(objects.slices.get(key) ?? []).map((slice) => `EndpointSlice ${slice.key}`)]),
  );
  return {
    destination,
    node: model.node,
    nodePortAddresses: nodePorts,
    serviceCIDRs: model.serviceCIDRs,
    claimants,
    ports: ports.map((port) => ({ port, fates: fatesOf(port, slicesOf(port), ground), strangers: strangersIn(port, slicesOf(port)) })),
    endpointOf,
    services: [...services.values()],
    problems: problems.filter(({ object }) => about.has(object)),
  };
}
