// What does a Service object say? Reads one from untyped YAML or JSON. What would make it half a Service refuses it whole;
// an address that cannot be a VIP is dropped with a Problem, since the API server accepts such and the rest must serve.

import { familyOf, parsePrefix } from '../address.ts';
import { type Complaints, complaintsAbout, shown } from '../model/complaints.ts';
import { SERVICE_LIMITS } from '../model/limits.ts';
import { present, trimmed } from '../model/lists.ts';
import type { Address, Prefix } from '../model/model.ts';
import { HEADLESS, isIntegerWithin, listMember, member, memberAt, readUid, readUnicast, stringMember } from './fields.ts';
import type { PortSpec, Service, ServiceType } from './objects.ts';

const TYPES: readonly ServiceType[] = ['ClusterIP', 'NodePort', 'LoadBalancer', 'ExternalName'];
const PROTOCOLS: readonly PortSpec['protocol'][] = ['TCP', 'UDP', 'SCTP'];
const POLICIES = ['Cluster', 'Local'] as const;
const AFFINITIES = ['None', 'ClientIP'] as const;

/** API default of sessionAffinityConfig.clientIP.timeoutSeconds, and its greatest value (5.1). */
const AFFINITY_SECONDS = 10_800;
const AFFINITY_SECONDS_MOST = 86_400;

export const SERVICE_PROXY_NAME = 'service.kubernetes.io/service-proxy-name';

interface Reading {
  readonly complaints: Complaints;
  /** A complaint that refuses the Service. */
  refuse(field: string, reason: string, message: string): void;
}

/** One of the allowed words, the first where it is absent. */
function readChoice<T extends string>(spec: unknown, name: string, allowed: readonly [T, ...T[]] | readonly T[], reading: Reading): T {
  const value = member(spec, name);
  const found = allowed.find((word) => word === value);
  if (found === undefined && value !== undefined && value !== '') {
    reading.refuse(`spec.${name}`, 'InvalidValue', `${shown(value)} is none of ${allowed.join(', ')}`);
  }
  return found ?? allowed[0]!;
}

function readPort(value: unknown, path: string, reading: Reading): PortSpec | undefined {
  const before = reading.complaints.count;
  const name = member(value, 'name') ?? '';
  if (typeof name !== 'string' || name.length > 63 || !/^[a-z0-9-]*$/.test(name)) {
    reading.refuse(`${path}.name`, 'InvalidName', `${shown(name)} is not a DNS label`);
  }
  const protocol = PROTOCOLS.find((word) => word === (member(value, 'protocol') ?? 'TCP'));
  if (protocol === undefined) {
    reading.refuse(`${path}.protocol`, 'InvalidValue', `${shown(member(value, 'protocol'))} is none of ${PROTOCOLS.join(', ')}`);
  }
  const port = member(value, 'port');
  if (!isIntegerWithin(port, 1, 65535)) reading.refuse(`${path}.port`, 'InvalidPort', `${shown(port)} is not a port number, 1 to 65535`);
  const nodePort = member(value, 'nodePort') ?? 0;
  if (!isIntegerWithin(nodePort, 0, 65535)) {
    reading.refuse(`${path}.nodePort`, 'InvalidPort', `${shown(nodePort)} is not a port number, 1 to 65535, or 0 for none`);
  }
  if (reading.complaints.count > before) return undefined;
  return { name: name as string, protocol: protocol!, port: port as number, nodePort: nodePort as number };
}

/** Refuses ports that cannot be told apart, as the API server does; one name may serve several protocols. */
function refuseDuplicatePorts(ports: readonly (PortSpec | undefined)[], reading: Reading): void {
  const owners = new Map<string, number>();
  const claim = (word: string, what: string | number, protocol: string, index: number): void => {
    const identity = `${word} ${what} ${protocol}`;
    const owner = owners.get(identity);
    if (owner === undefined) owners.set(identity, index);
    else
      reading.refuse(
        `spec.ports[${index}]`,
        'DuplicatePort',
        `${word} ${shown(what)} of ${protocol} is already that of spec.ports[${owner}]`,
      );
  };
  for (const [index, port] of ports.entries()) {
    if (port === undefined) continue;
    claim('name', port.name, port.protocol, index);
    claim('port', port.port, port.protocol, index);
    if (port.nodePort !== 0) claim('nodePort', port.nodePort, port.protocol, index);
  }
}

function readPorts(spec: unknown, reading: Reading): readonly PortSpec[] {
  const given = listMember(spec, 'ports', 'spec.ports', reading.complaints);
  if (given.length > SERVICE_LIMITS.ports) {
    reading.refuse(
      'spec.ports',
      'LimitExceeded',
      `${given.length} ports are more than the ${SERVICE_LIMITS.ports} a Service may have here`,
    );
    return [];
  }
  const ports = given.map((value, index) => readPort(value, `spec.ports[${index}]`, reading));
  refuseDuplicatePorts(ports, reading);
  return present(ports);
}

function readClusterIPs(spec: unknown, reading: Reading): { headless: boolean; clusterIPs: readonly Address[] } {
  const single = member(spec, 'clusterIP') ?? '';
  const plural = listMember(spec, 'clusterIPs', 'spec.clusterIPs', reading.complaints);
  const given = plural.length > 0 ? plural : single === '' ? [] : [single];
  const path = plural.length > 0 ? 'spec.clusterIPs' : 'spec.clusterIP';
  if (given[0] === 'None' || single === 'None') return { headless: true, clusterIPs: [] };
  const clusterIPs: Address[] = [];
  for (const [index, value] of given.entries()) {
    if (value === '') continue;
    const field = plural.length > 0 ? `${path}[${index}]` : path;
    const read = readUnicast(value);
    if ('wrong' in read) reading.refuse(field, 'InvalidClusterIP', read.wrong);
    else if (clusterIPs.some((other) => familyOf(other) === familyOf(read.address))) {
      reading.refuse(field, 'InvalidClusterIP', `${read.address} is a second address of IPv${familyOf(read.address)}`);
    } else clusterIPs.push(read.address);
  }
  if (plural.length > 0 && single !== '' && single !== plural[0]) {
    reading.refuse('spec.clusterIPs[0]', 'InvalidClusterIP', `${shown(plural[0])} is not spec.clusterIP, ${shown(single)}`);
  }
  return { headless: false, clusterIPs: trimmed(clusterIPs) };
}

function overLimit(count: number, limit: 'addresses' | 'sourceRanges', field: string, reading: Reading): boolean {
  if (count <= SERVICE_LIMITS[limit]) return false;
  reading.refuse(field, 'LimitExceeded', `${count} entries are more than the ${SERVICE_LIMITS[limit]} a Service may have here`);
  return true;
}

function readExternalIPs(spec: unknown, reading: Reading): readonly Address[] {
  const given = listMember(spec, 'externalIPs', 'spec.externalIPs', reading.complaints);
  if (overLimit(given.length, 'addresses', 'spec.externalIPs', reading)) return [];
  const addresses = new Set<Address>();
  for (const [index, value] of given.entries()) {
    const read = readUnicast(value);
    if ('address' in read) addresses.add(read.address);
    else reading.complaints.add(`spec.externalIPs[${index}]`, 'InvalidAddress', `${read.wrong}; this address is not served`);
  }
  return trimmed([...addresses]);
}

/** Row 1.14: an ip counts where ipMode is absent or VIP; ipMode Proxy and entries that have a hostname only are left alone. */
function readLoadBalancerIPs(value: unknown, reading: Reading): readonly Address[] {
  const path = 'status.loadBalancer.ingress';
  const given = listMember(memberAt(value, 'status', 'loadBalancer'), 'ingress', path, reading.complaints);
  if (overLimit(given.length, 'addresses', path, reading)) return [];
  const addresses = new Set<Address>();
  for (const [index, ingress] of given.entries()) {
    const ip = member(ingress, 'ip') ?? '';
    const mode = member(ingress, 'ipMode') ?? 'VIP';
    if (ip === '' || mode === 'Proxy') continue;
    const read = readUnicast(ip);
    if (mode !== 'VIP') {
      reading.complaints.add(
        `${path}[${index}].ipMode`,
        'InvalidValue',
        `${shown(mode)} is none of VIP, Proxy; this address is not served`,
      );
    } else if ('address' in read) addresses.add(read.address);
    else reading.complaints.add(`${path}[${index}].ip`, 'InvalidAddress', `${read.wrong}; this address is not served`);
  }
  return trimmed([...addresses]);
}

/** A range that cannot be read refuses the Service: left out it might leave none, and none means everybody. */
function readSourceRanges(spec: unknown, reading: Reading): readonly Prefix[] {
  const path = 'spec.loadBalancerSourceRanges';
  const given = member(spec, 'loadBalancerSourceRanges') ?? [];
  if (!Array.isArray(given)) {
    reading.refuse(path, 'InvalidSourceRange', `${shown(given)} is not a list`);
    return [];
  }
  if (overLimit(given.length, 'sourceRanges', path, reading)) return [];
  const ranges = new Set<Prefix>();
  for (const [index, value] of given.entries()) {
    const range = typeof value === 'string' ? parsePrefix(value) : undefined;
    if (range !== undefined) ranges.add(range);
    else reading.refuse(`${path}[${index}]`, 'InvalidSourceRange', `${shown(value)} is not a network such as 10.0.0.0/8`);
  }
  return trimmed([...ranges]);
}

function readAffinity(spec: unknown, reading: Reading): number {
  if (readChoice(spec, 'sessionAffinity', AFFINITIES, reading) === 'None') return 0;
  const seconds = memberAt(spec, 'sessionAffinityConfig', 'clientIP', 'timeoutSeconds') ?? AFFINITY_SECONDS;
  if (isIntegerWithin(seconds, 1, AFFINITY_SECONDS_MOST)) return seconds;
  const field = 'spec.sessionAffinityConfig.clientIP.timeoutSeconds';
  reading.refuse(field, 'InvalidValue', `${shown(seconds)} is not a number of seconds from 1 to ${AFFINITY_SECONDS_MOST}`);
  return 0;
}

/** ms since the epoch; 0 where the object does not say. */
function readCreated(metadata: unknown): number {
  const text = member(metadata, 'creationTimestamp');
  const time = typeof text === 'string' ? Date.parse(text) : 0;
  return Number.isFinite(time) && time > 0 ? time : 0;
}

/** kube-proxy: it counts only where a load balancer asks nodes for local endpoints (12.1); the API server gives it to no other. */
function readHealthCheckNodePort(spec: unknown, reading: Reading): number {
  const port = member(spec, 'healthCheckNodePort') ?? 0;
  if (isIntegerWithin(port, 0, 65535)) return port;
  const message = `${shown(port)} is not a port number, 1 to 65535; no health check of this Service is served`;
  reading.complaints.add('spec.healthCheckNodePort', 'InvalidPort', message);
  return 0;
}

/** Reads a Service whose identity is already known to be good. Never throws. */
export function parseService(value: unknown, namespace: string, name: string, origin: string | undefined): Service {
  const key = `${namespace}/${name}`;
  const complaints = complaintsAbout(`Service ${key}`, origin);
  let refused = false;
  const reading: Reading = {
    complaints,
    refuse(field, reason, message) {
      refused = true;
      complaints.add(field, reason, `${message}; the Service is refused`);
    },
  };
  const spec = member(value, 'spec');
  const metadata = member(value, 'metadata');
  const type = readChoice(spec, 'type', TYPES, reading);
  // An ExternalName has no ports or addresses of ours, whatever lingers in it (1.1); a Service with the label is as one without a VIP (1.3).
  const labelled = member(member(metadata, 'labels'), HEADLESS) !== undefined;
  const unread = { headless: labelled, clusterIPs: [] };
  const { headless, clusterIPs } = type === 'ExternalName' || labelled ? unread : readClusterIPs(spec, reading);
  const skipped = headless || type === 'ExternalName';
  const ports = skipped ? [] : readPorts(spec, reading);
  if (!skipped && ports.length === 0 && !refused) reading.refuse('spec.ports', 'NoPorts', 'a Service needs at least one port');
  const service = {
    kind: 'Service' as const,
    key,
    namespace,
    name,
    origin,
    uid: readUid(metadata),
    created: readCreated(metadata),
    proxyName: stringMember(member(metadata, 'labels'), SERVICE_PROXY_NAME, `metadata.labels['${SERVICE_PROXY_NAME}']`, complaints),
    type,
    headless,
    clusterIPs,
    ports,
    externalIPs: skipped ? [] : readExternalIPs(spec, reading),
    loadBalancerIPs: skipped ? [] : readLoadBalancerIPs(value, reading),
    sourceRanges: skipped ? [] : readSourceRanges(spec, reading),
    internalLocal: readPolicy(spec, 'internalTrafficPolicy', reading),
    externalLocal: readPolicy(spec, 'externalTrafficPolicy', reading),
    affinitySeconds: skipped ? 0 : readAffinity(spec, reading),
    healthCheckNodePort: type === 'LoadBalancer' ? readHealthCheckNodePort(spec, reading) : 0,
  };
  return { ...service, refused, problems: complaints.problems() };
}

function readPolicy(spec: unknown, name: 'internalTrafficPolicy' | 'externalTrafficPolicy', reading: Reading): boolean {
  return readChoice(spec, name, POLICIES, reading) === 'Local';
}
