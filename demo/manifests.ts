// What do the manifests say, and what must the maps therefore hold? Read as the YAML stands, without the product's own reader; the
// demo edits the slices as Kubernetes' controller does when pods come and go.

import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';

type Protocol = 'TCP' | 'UDP';

interface Named {
  readonly name: string;
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

interface Service {
  readonly kind: 'Service';
  readonly metadata: Named;
  readonly spec: {
    readonly clusterIPs: readonly string[];
    readonly externalIPs?: readonly string[];
    readonly sessionAffinityConfig?: { readonly clientIP: { readonly timeoutSeconds: number } };
    readonly ports: readonly { readonly name: string; readonly protocol: Protocol; readonly port: number; readonly nodePort?: number }[];
  };
}

/** What the slice's controller says of a pod. */
export interface Conditions {
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
}

interface Endpoint {
  readonly addresses: readonly string[];
  readonly conditions: Conditions;
  readonly nodeName: string;
  readonly targetRef: { readonly name: string };
}

interface EndpointSlice {
  readonly kind: 'EndpointSlice';
  readonly metadata: Named;
  readonly addressType: 'IPv4' | 'IPv6';
  readonly ports: readonly { readonly name: string; readonly protocol: Protocol; readonly port: number }[] | null;
  readonly endpoints: readonly Endpoint[] | null;
}

type KubeObject = Service | EndpointSlice | { readonly kind: 'Node' | 'ServiceCIDR'; readonly metadata: Named };

/** Objects by the file that holds them. */
export type Manifests = ReadonlyMap<string, readonly KubeObject[]>;

/** A pod as slices name it. */
export interface Pod {
  readonly name: string;
  readonly node: string;
  readonly 4: string;
  readonly 6: string;
}

/** Every object of a directory of YAML files; a List is its items. */
export function readManifests(directory: string): Manifests {
  const files = readdirSync(directory)
    .filter((file) => file.endsWith('.yaml'))
    .sort();
  return new Map(
    files.map((file) => {
      const documents = parseAllDocuments(readFileSync(join(directory, file), 'utf8'));
      if (!Array.isArray(documents)) throw new Error(`${file}: empty`);
      const objects = documents.map((document) => document.toJS() as KubeObject | { kind: 'List'; items: KubeObject[] });
      return [file, objects.flatMap((object) => (object.kind === 'List' ? object.items : [object]))] as const;
    }),
  );
}

/** Writes each file whole or not at all. Files whose objects are the same as in `before` are left alone. */
export function applyManifests(directory: string, manifests: Manifests, before?: Manifests): void {
  mkdirSync(directory, { recursive: true });
  for (const [file, objects] of manifests) {
    if (before?.get(file) === objects) continue;
    writeFileSync(join(directory, `.${file}.new`), objects.map((object) => stringify(object)).join('---\n'));
    renameSync(join(directory, `.${file}.new`), join(directory, file));
  }
}

function mapSlices(manifests: Manifests, change: (endpoints: readonly Endpoint[], slice: EndpointSlice) => readonly Endpoint[]): Manifests {
  const changed = (object: KubeObject): KubeObject => {
    if (object.kind !== 'EndpointSlice' || !object.endpoints) return object;
    return { ...object, endpoints: change(object.endpoints, object) };
  };
  return new Map(
    [...manifests].map(([file, objects]) => [file, objects.some(({ kind }) => kind === 'EndpointSlice') ? objects.map(changed) : objects]),
  );
}

/** The slices with a pod more. */
export function withPod(manifests: Manifests, pod: Pod): Manifests {
  const conditions: Conditions = { ready: true, serving: true, terminating: false };
  return mapSlices(manifests, (endpoints, slice) => [
    ...endpoints,
    { addresses: [pod[slice.addressType === 'IPv6' ? 6 : 4]], conditions, nodeName: pod.node, targetRef: { name: pod.name } },
  ]);
}

/** The slices with other conditions of a pod. */
export function withConditions(manifests: Manifests, pod: string, conditions: Conditions): Manifests {
  return mapSlices(manifests, (endpoints) =>
    endpoints.map((endpoint) => (endpoint.targetRef.name === pod ? { ...endpoint, conditions } : endpoint)),
  );
}

/** The slices without a pod. */
export function withoutPod(manifests: Manifests, pod: string): Manifests {
  return mapSlices(manifests, (endpoints) => endpoints.filter(({ targetRef }) => targetRef.name !== pod));
}

/** What `sluice dump frontends -o json` says of one, in the members the manifests settle. */
export interface Frontend {
  readonly service: string;
  readonly portName: string;
  readonly address: string;
  readonly port: number;
  readonly protocol: Protocol;
  readonly kind: 'ClusterIP' | 'NodePort' | 'External';
  readonly backends: readonly string[];
  readonly affinitySeconds: number;
}

/** `10.0.0.1:80`, `[fd00::1]:80`. */
export function endpointText(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

/** One text per frontend; two lists of frontends are equal when these are, sorted. */
export function frontendText(frontend: Frontend): string {
  const { service, portName, address, port, protocol, kind, backends, affinitySeconds } = frontend;
  const sticky = affinitySeconds > 0 ? ` for ${affinitySeconds} s` : '';
  return `${endpointText(address, port)}/${protocol} ${kind} of ${service}:${portName} -> ${[...backends].sort().join(' ') || 'nobody'}${sticky}`;
}

/** `10.1.1.11:8080/TCP` and where it is, of every endpoint in a slice of a Service. */
export interface Backend {
  readonly text: string;
  readonly nodeName: string;
}

function slicesOf(manifests: Manifests, service: Service): EndpointSlice[] {
  return [...manifests.values()]
    .flat()
    .filter((object) => object.kind === 'EndpointSlice')
    .filter(({ metadata }) => metadata.namespace === service.metadata.namespace)
    .filter(({ metadata }) => metadata.labels?.['kubernetes.io/service-name'] === service.metadata.name);
}

function servicesIn(manifests: Manifests): Service[] {
  return [...manifests.values()].flat().filter((object) => object.kind === 'Service');
}

/** Every frontend that the manifests ask for, each with its ready backends. All policies of the demo are Cluster. */
export function expectedFrontends(manifests: Manifests): Frontend[] {
  return servicesIn(manifests).flatMap((service) => {
    const { clusterIPs, externalIPs = [], ports, sessionAffinityConfig } = service.spec;
    const backendsOf = (portName: string, protocol: Protocol, six: boolean) =>
      slicesOf(manifests, service)
        .filter(({ addressType }) => (addressType === 'IPv6') === six)
        .flatMap(({ ports: slicePorts, endpoints }) => {
          const number = slicePorts?.find((port) => port.name === portName && port.protocol === protocol)?.port ?? 0;
          const ready = (endpoints ?? []).filter(({ conditions }) => conditions.ready);
          return ready.map(({ addresses }) => endpointText(addresses[0]!, number));
        });
    return ports.flatMap(({ name, protocol, port, nodePort }) => {
      const frontend = (kind: Frontend['kind'], address: string, number: number): Frontend => ({
        service: `${service.metadata.namespace}/${service.metadata.name}`,
        portName: name,
        backends: backendsOf(name, protocol, address.includes(':')),
        affinitySeconds: sessionAffinityConfig?.clientIP.timeoutSeconds ?? 0,
        ...{ address, protocol, kind, port: number },
      });
      const unspecified = clusterIPs.map((address) => (address.includes(':') ? '::' : '0.0.0.0'));
      return [
        ...clusterIPs.map((address) => frontend('ClusterIP', address, port)),
        ...externalIPs.map((address) => frontend('External', address, port)),
        ...(nodePort ? unspecified.map((address) => frontend('NodePort', address, nodePort)) : []),
      ];
    });
  });
}

/** Every endpoint behind some Service, once. */
export function expectedBackends(manifests: Manifests): Backend[] {
  const found = new Map<string, Backend>();
  for (const slice of servicesIn(manifests).flatMap((service) => slicesOf(manifests, service)))
    for (const { name: _, protocol, port } of slice.ports ?? [])
      for (const { addresses, nodeName } of slice.endpoints ?? []) {
        const text = `${endpointText(addresses[0]!, port)}/${protocol}`;
        found.set(text, { text, nodeName });
      }
  return [...found.values()];
}
