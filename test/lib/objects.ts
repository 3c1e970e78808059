// Kubernetes objects for tests, as a manifest would have them, and the Objects they become. Defaults make the smallest
// object that works; a test spells out only what it is about.

import type { Objects } from '../../control/source/objects.ts';
import { parseObjects } from '../../control/source/parse.ts';
import { objectStore } from '../../control/source/store.ts';

/** An untyped object. */
export type Raw = { readonly [field: string]: unknown };

function named(name: string): { namespace: string; name: string } {
  const [namespace, own] = name.includes('/') ? name.split('/') : ['default', name];
  return { namespace: namespace!, name: own! };
}

/** A Service `name` or `namespace/name` with one TCP port 80 at 10.96.0.10. */
export function service(name: string, spec: Raw = {}, more: { metadata?: Raw; status?: Raw } = {}): Raw {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { ...named(name), ...more.metadata },
    spec: { clusterIP: '10.96.0.10', ports: [{ port: 80 }], ...spec },
    ...(more.status === undefined ? {} : { status: more.status }),
  };
}

/** An endpoint with one address; `more` adds conditions, nodeName, hints. */
export function endpoint(address: string, more: Raw = {}): Raw {
  return { addresses: [address], ...more };
}

/** An EndpointSlice `name` of a Service, by default with the unnamed TCP port 8080; plain strings are endpoints of that address. */
export function slice(of: string, name: string, endpoints: readonly (Raw | string)[], more: Raw = {}): Raw {
  const owner = named(of);
  const { metadata, ...rest } = more;
  const list = endpoints.map((one) => (typeof one === 'string' ? endpoint(one) : one));
  const first = (list[0]?.addresses as string[] | undefined)?.[0] ?? '';
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace: owner.namespace, name, labels: { 'kubernetes.io/service-name': owner.name }, ...(metadata as Raw | undefined) },
    addressType: first.includes(':') && !first.includes('.') ? 'IPv6' : 'IPv4',
    ports: [{ name: '', protocol: 'TCP', port: 8080 }],
    endpoints: list,
    ...rest,
  };
}

/** A Node with its InternalIPs and, where given, its zone. */
export function node(name: string, addresses: readonly string[], zone?: string, spec: Raw = {}): Raw {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name, labels: zone === undefined ? {} : { 'topology.kubernetes.io/zone': zone } },
    spec,
    status: { addresses: addresses.map((address) => ({ type: 'InternalIP', address })) },
  };
}

export function serviceCIDR(name: string, cidrs: readonly string[]): Raw {
  return { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR', metadata: { name }, spec: { cidrs } };
}

/** The Objects of manifests, read as a source reads them. Throws where one of them is no object of ours. */
export function objectsOf(...manifests: readonly Raw[]): Objects {
  const store = objectStore();
  const problems = [];
  for (const manifest of manifests) {
    const parsed = parseObjects(manifest);
    if (parsed.foreign[0] !== undefined || parsed.ignored[0] !== undefined) throw new Error(parsed.foreign[0] ?? parsed.ignored[0]);
    problems.push(...parsed.problems);
    for (const object of parsed.objects) store.put(object);
  }
  return store.snapshot(problems);
}
