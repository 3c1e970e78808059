// Which of our objects is in an untyped value? Tells the kinds we serve from those that are none of our business, takes Lists
// apart, and checks identities. It never throws, whatever the value.

import { addressKind, familyOf, parseAddress, parsePrefix } from '../address.ts';
import { type Complaints, complaintsAbout, shown } from '../model/complaints.ts';
import type { Address, Family, Prefix, Problem } from '../model/model.ts';
import { parseEndpointSlice } from './endpointslice.ts';
import { listMember, member, memberAt, readUid, stringMember } from './fields.ts';
import type { Kind, KubeObject, Node, ServiceCIDR } from './objects.ts';
import { parseService } from './service.ts';

/** Taint of a node that the cluster autoscaler is about to delete. */
const TO_BE_DELETED = 'ToBeDeletedByClusterAutoscaler';
const ZONE = 'topology.kubernetes.io/zone';

/** Lists inside Lists are taken apart so deep. */
const LIST_DEPTH = 4;

/** API groups and versions whose objects have the fields we read. */
const VERSIONS: Readonly<Record<Kind, { readonly group: string; readonly versions: readonly string[]; readonly namespaced: boolean }>> = {
  Service: { group: '', versions: ['v1'], namespaced: true },
  EndpointSlice: { group: 'discovery.k8s.io', versions: ['v1'], namespaced: true },
  Node: { group: '', versions: ['v1'], namespaced: false },
  ServiceCIDR: { group: 'networking.k8s.io', versions: ['v1', 'v1beta1'], namespaced: false },
};

/** What a value holds. */
export interface Parsed {
  readonly objects: KubeObject[];
  /** Of values that have one of our kinds but no identity. */
  readonly problems: Problem[];
  /** Kinds that are none of ours, once for each object: `apps/v1 Deployment`. */
  readonly ignored: string[];
  /** Sentences about values that are no Kubernetes object at all: the text around them is suspect as a whole. */
  readonly foreign: string[];
}

function isLabel(name: string): boolean {
  return name.length <= 63 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/.test(name);
}

function isSubdomain(name: string): boolean {
  return name.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name);
}

/** The first address of each family, InternalIPs before ExternalIPs: kube-proxy's idea of a node's own addresses. */
function readNodeAddresses(value: unknown, complaints: Complaints): Address[] {
  const given = listMember(member(value, 'status'), 'addresses', 'status.addresses', complaints);
  const first = new Map<Family, Address>();
  for (const type of ['InternalIP', 'ExternalIP']) {
    for (const [index, entry] of given.entries()) {
      if (member(entry, 'type') !== type) continue;
      const text = member(entry, 'address');
      const address = typeof text === 'string' ? parseAddress(text) : undefined;
      if (address === undefined || addressKind(address) !== 'unicast') {
        complaints.add(`status.addresses[${index}].address`, 'InvalidAddress', `${shown(text)} cannot be a node's address and is ignored`);
      } else if (!first.has(familyOf(address))) first.set(familyOf(address), address);
    }
  }
  return [...first.values()];
}

function readPrefixes(owner: unknown, name: string, path: string, complaints: Complaints): Prefix[] {
  const prefixes = new Set<Prefix>();
  for (const [index, value] of listMember(owner, name, path, complaints).entries()) {
    const prefix = typeof value === 'string' ? parsePrefix(value) : undefined;
    if (prefix !== undefined) prefixes.add(prefix);
    else complaints.add(`${path}[${index}]`, 'InvalidPrefix', `${shown(value)} is not a network such as 10.96.0.0/16 and is ignored`);
  }
  return [...prefixes];
}

/** kube-proxy: the node is no longer eligible for a load balancer's connections (12.3). */
function isLeaving(value: unknown): boolean {
  if (member(member(value, 'metadata'), 'deletionTimestamp') !== undefined) return true;
  const taints = member(member(value, 'spec'), 'taints');
  return Array.isArray(taints) && taints.some((taint) => member(taint, 'key') === TO_BE_DELETED);
}

function parseNode(value: unknown, key: string, origin: string | undefined): Node {
  const complaints = complaintsAbout(`Node ${key}`, origin);
  const zone = stringMember(memberAt(value, 'metadata', 'labels'), ZONE, `metadata.labels['${ZONE}']`, complaints);
  const spec = member(value, 'spec');
  const plural = readPrefixes(spec, 'podCIDRs', 'spec.podCIDRs', complaints);
  const single = member(spec, 'podCIDR');
  const podCIDRs =
    plural.length > 0 || single === undefined ? plural : readPrefixes({ podCIDR: [single] }, 'podCIDR', 'spec.podCIDR', complaints);
  const addresses = readNodeAddresses(value, complaints);
  return {
    kind: 'Node',
    key,
    origin,
    uid: readUid(member(value, 'metadata')),
    zone: zone === '' ? undefined : zone,
    addresses,
    podCIDRs,
    leaving: isLeaving(value),
    problems: complaints.problems(),
  };
}

function parseServiceCIDR(value: unknown, key: string, origin: string | undefined): ServiceCIDR {
  const complaints = complaintsAbout(`ServiceCIDR ${key}`, origin);
  const cidrs = readPrefixes(member(value, 'spec'), 'cidrs', 'spec.cidrs', complaints);
  return { kind: 'ServiceCIDR', key, origin, uid: readUid(member(value, 'metadata')), cidrs, problems: complaints.problems() };
}

/** The object, or the Problem that it has no identity. */
function parseKind(kind: Kind, value: unknown, origin: string | undefined): KubeObject | Problem {
  const metadata = member(value, 'metadata');
  const name = member(metadata, 'name');
  const namespace = member(metadata, 'namespace') ?? 'default';
  const { namespaced } = VERSIONS[kind];
  const named = typeof name === 'string' && (kind === 'Service' ? isLabel(name) : isSubdomain(name));
  const placed = !namespaced || (typeof namespace === 'string' && isLabel(namespace));
  if (!named || !placed) {
    const [field, given] = named ? ['metadata.namespace', namespace] : ['metadata.name', name];
    const complaints = complaintsAbout(`${kind} ${namespaced ? `${shown(namespace)}/` : ''}${shown(name)}`, origin);
    complaints.add(field, 'InvalidName', `${shown(given)} is not a Kubernetes name; the object is ignored`);
    return complaints.problems()[0]!;
  }
  if (kind === 'Service') return parseService(value, String(namespace), name, origin);
  if (kind === 'EndpointSlice') return parseEndpointSlice(value, String(namespace), name, origin);
  return kind === 'Node' ? parseNode(value, name, origin) : parseServiceCIDR(value, name, origin);
}

function isKind(kind: string): kind is Kind {
  return Object.hasOwn(VERSIONS, kind);
}

function collect(
  value: unknown,
  origin: string | undefined,
  parsed: Parsed,
  depth: number,
  fallback: { kind?: string; apiVersion?: string },
): void {
  const kind = member(value, 'kind') ?? fallback.kind;
  const apiVersion = member(value, 'apiVersion') ?? fallback.apiVersion;
  if (typeof kind !== 'string' || typeof apiVersion !== 'string' || kind === '' || apiVersion === '') {
    parsed.foreign.push(`${shown(value)} is not a Kubernetes object: it has no kind or no apiVersion`);
    return;
  }
  const items = member(value, 'items');
  if (kind.endsWith('List') && Array.isArray(items)) {
    if (depth >= LIST_DEPTH) {
      parsed.foreign.push(`Lists are nested more than ${LIST_DEPTH} deep`);
      return;
    }
    // A ServiceList as the API server sends it leaves the kind of its items out.
    const inner = kind === 'List' ? {} : { kind: kind.slice(0, -'List'.length), apiVersion };
    for (const item of items) collect(item, origin, parsed, depth + 1, inner);
    return;
  }
  const slash = apiVersion.indexOf('/');
  const group = slash < 0 ? '' : apiVersion.slice(0, slash);
  if (!isKind(kind) || VERSIONS[kind].group !== group) {
    parsed.ignored.push(`${apiVersion} ${kind}`);
    return;
  }
  if (!VERSIONS[kind].versions.includes(apiVersion.slice(slash + 1))) {
    const complaints = complaintsAbout(`${kind} ${shown(memberAt(value, 'metadata', 'name'))}`, origin);
    complaints.add(
      'apiVersion',
      'UnsupportedVersion',
      `${shown(apiVersion)} is none of ${VERSIONS[kind].versions.join(', ')}; the object is ignored`,
    );
    parsed.problems.push(...complaints.problems());
    return;
  }
  const read = parseKind(kind, value, origin);
  if ('kind' in read) parsed.objects.push(read);
  else parsed.problems.push(read);
}

/** Reads an object or a List of objects. Never throws. */
export function parseObjects(value: unknown, origin?: string): Parsed {
  const parsed: Parsed = { objects: [], problems: [], ignored: [], foreign: [] };
  collect(value, origin, parsed, 0, {});
  return parsed;
}
