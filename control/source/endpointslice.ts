// What does an EndpointSlice say? Reads one from untyped YAML or JSON. A port or an endpoint that cannot be is dropped with a
// Problem and the rest of the slice serves: the API server accepts such objects, and one of them must not stop the others.

import { familyOf } from '../address.ts';
import { type Complaints, complaintsAbout, shown } from '../model/complaints.ts';
import { present } from '../model/lists.ts';
import type { Family } from '../model/model.ts';
import {
  booleanMember,
  HEADLESS,
  isIntegerWithin,
  listMember,
  member,
  type Path,
  readUid,
  readUnicast,
  sharedTexts,
  stringMember,
} from './fields.ts';
import type { Endpoint, EndpointSlice, SlicePort } from './objects.ts';
import { SERVICE_PROXY_NAME } from './service.ts';

const SERVICE_NAME = 'kubernetes.io/service-name';
const TRIGGER_TIME = 'endpoints.kubernetes.io/last-change-trigger-time';
const NONE: readonly string[] = [];
const nodeNames = sharedTexts();
const serviceKeys = sharedTexts();

/**
 * An absent port name is the unnamed port and an absent protocol is TCP, as the API server would have filled them in; a name that is
 * null and a port that is absent, null or 0 mean "all ports", which no Service proxy implements (1.5).
 */
function readPort(value: unknown, path: string, complaints: Complaints): SlicePort | undefined {
  if (typeof value !== 'object' || value === null) {
    complaints.add(path, 'InvalidValue', `${shown(value)} is not a port and is dropped`);
    return undefined;
  }
  const port = member(value, 'port') ?? 0;
  const name = Object.hasOwn(value, 'name') ? (value as { name: unknown }).name : '';
  if (port === 0 || name === null) return undefined;
  const protocol = member(value, 'protocol') ?? 'TCP';
  if (!isIntegerWithin(port, 1, 65535)) {
    complaints.add(`${path}.port`, 'InvalidPort', `${shown(port)} is not a port number, 1 to 65535; this port is dropped`);
  } else if (typeof name !== 'string') {
    complaints.add(`${path}.name`, 'InvalidName', `${shown(name)} is not a string; this port is dropped`);
  } else if (typeof protocol !== 'string') {
    complaints.add(`${path}.protocol`, 'InvalidValue', `${shown(protocol)} is not a string; this port is dropped`);
  } else {
    return { name, protocol, port };
  }
  return undefined;
}

function readHints(hints: unknown, name: string, path: Path, complaints: Complaints): readonly string[] {
  if (hints === undefined) return NONE;
  const given = listMember(hints, name, () => `${path()}.hints.${name}`, complaints);
  if (given.length === 0) return NONE;
  return given.map((hint) => member(hint, 'name')).filter((hint) => typeof hint === 'string');
}

function readEndpoint(value: unknown, family: Family, path: Path, complaints: Complaints): Endpoint | undefined {
  // Row 1.7: only the first address counts.
  const first = listMember(value, 'addresses', () => `${path()}.addresses`, complaints)[0];
  const read = readUnicast(first);
  const wrong = 'wrong' in read ? read.wrong : familyOf(read.address) === family ? undefined : `${read.address} is not of IPv${family}`;
  if ('wrong' in read || wrong !== undefined) {
    complaints.add(`${path()}.addresses[0]`, 'InvalidAddress', `${wrong}; this endpoint is dropped`);
    return undefined;
  }
  const conditions = member(value, 'conditions');
  const hints = member(value, 'hints');
  const condition = (name: string, fallback: boolean): boolean =>
    booleanMember(conditions, name, fallback, () => `${path()}.conditions.${name}`, complaints);
  return {
    address: read.address,
    nodeName: nodeNames.shared(stringMember(value, 'nodeName', () => `${path()}.nodeName`, complaints)),
    // Row 1.6: the defaults of absent conditions.
    ready: condition('ready', true),
    serving: condition('serving', true),
    terminating: condition('terminating', false),
    nodeHints: readHints(hints, 'forNodes', path, complaints),
    zoneHints: readHints(hints, 'forZones', path, complaints),
  };
}

/** Only a measurement hangs on it: one that cannot be read is none. */
function readTriggerTime(metadata: unknown): number {
  const text = member(member(metadata, 'annotations'), TRIGGER_TIME);
  const time = typeof text === 'string' ? Date.parse(text) : 0;
  return Number.isFinite(time) && time > 0 ? time : 0;
}

/** Reads an EndpointSlice whose identity is already known to be good. Never throws. */
export function parseEndpointSlice(value: unknown, namespace: string, name: string, origin: string | undefined): EndpointSlice {
  const key = `${namespace}/${name}`;
  const complaints = complaintsAbout(`EndpointSlice ${key}`, origin);
  const metadata = member(value, 'metadata');
  const labels = member(metadata, 'labels');
  const owner = stringMember(labels, SERVICE_NAME, `metadata.labels['${SERVICE_NAME}']`, complaints);
  const proxyName = stringMember(labels, SERVICE_PROXY_NAME, `metadata.labels['${SERVICE_PROXY_NAME}']`, complaints);
  const addressType = member(value, 'addressType');
  const family: Family = addressType === 'IPv6' ? 6 : 4;
  const known = addressType === 'IPv4' || addressType === 'IPv6';
  if (!known && addressType !== 'FQDN') {
    complaints.add('addressType', 'InvalidValue', `${shown(addressType)} is none of IPv4, IPv6, FQDN; the slice is ignored`);
  }
  const ignored = !known || owner === undefined || owner === '' || member(labels, HEADLESS) !== undefined;
  const identity = { kind: 'EndpointSlice' as const, key, origin, uid: readUid(metadata), proxyName, family };
  if (ignored) return { ...identity, service: undefined, triggeredAt: 0, ports: [], endpoints: [], problems: complaints.problems() };
  const ports = present(listMember(value, 'ports', 'ports', complaints).map((port, i) => readPort(port, `ports[${i}]`, complaints)));
  const endpoints = present(
    listMember(value, 'endpoints', 'endpoints', complaints).map((one, i) => readEndpoint(one, family, () => `endpoints[${i}]`, complaints)),
  );
  const triggeredAt = readTriggerTime(metadata);
  return {
    ...identity,
    service: serviceKeys.shared(`${namespace}/${owner}`),
    triggeredAt,
    ports,
    endpoints,
    problems: complaints.problems(),
  };
}
