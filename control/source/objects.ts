// What do we keep of a Kubernetes object, and what does a source offer? The types between source/ and model/: only the fields
// that decide something (semantics 1.15), addresses in canonical text, every number in its range. Reading them is parse.ts.

import type { Address, Family, Prefix, Problem } from '../model/model.ts';

/** What every kept object has. */
export interface Identity {
  /** `namespace/name`, or the name alone for Node and ServiceCIDR. */
  readonly key: string;
  /** Where it was read from (a file name), where the source knows. */
  readonly origin: string | undefined;
  /** metadata.uid: with it an Event is shown beside the object; empty where unknown. */
  readonly uid: string;
  /** What is wrong with the object itself. */
  readonly problems: readonly Problem[];
}

export type ServiceType = 'ClusterIP' | 'NodePort' | 'LoadBalancer' | 'ExternalName';

export interface PortSpec {
  /** Empty for the unnamed port. */
  readonly name: string;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly port: number;
  /** 0: none (3.5). */
  readonly nodePort: number;
}

export interface Service extends Identity {
  readonly kind: 'Service';
  readonly namespace: string;
  readonly name: string;
  /** Invalid in itself: refused whole, its problems say why. The remaining fields then hold what could be read. */
  readonly refused: boolean;
  /** creationTimestamp in ms since the epoch, 0 where unknown. */
  readonly created: number;
  /** Value of the label service.kubernetes.io/service-proxy-name (1.2); undefined: no such label. */
  readonly proxyName: string | undefined;
  readonly type: ServiceType;
  /** clusterIP `None` (1.1), or labelled so (1.3). */
  readonly headless: boolean;
  /** At most one of a family; empty: headless or not yet allocated. */
  readonly clusterIPs: readonly Address[];
  readonly externalIPs: readonly Address[];
  /** status.loadBalancer.ingress[].ip of ipMode VIP (1.14). */
  readonly loadBalancerIPs: readonly Address[];
  readonly sourceRanges: readonly Prefix[];
  readonly ports: readonly PortSpec[];
  readonly internalLocal: boolean;
  readonly externalLocal: boolean;
  /** 1..86400; 0: no affinity. */
  readonly affinitySeconds: number;
  /** 0: none (12.1). */
  readonly healthCheckNodePort: number;
}

export interface SlicePort {
  readonly name: string;
  readonly protocol: string;
  readonly port: number;
}

export interface Endpoint {
  /** The first address only (1.7). */
  readonly address: Address;
  /** undefined: never local (1.9). */
  readonly nodeName: string | undefined;
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
  /** hints.forNodes and hints.forZones (2.3); empty: no hint. */
  readonly nodeHints: readonly string[];
  readonly zoneHints: readonly string[];
}

export interface EndpointSlice extends Identity {
  readonly kind: 'EndpointSlice';
  /** `namespace/name` of its Service; undefined: belongs to none or is of a kind that is ignored (1.3, 1.4). */
  readonly service: string | undefined;
  readonly proxyName: string | undefined;
  readonly family: Family;
  /** Annotation endpoints.kubernetes.io/last-change-trigger-time in ms since the epoch: when what changed the slice happened; 0: not said. */
  readonly triggeredAt: number;
  readonly ports: readonly SlicePort[];
  readonly endpoints: readonly Endpoint[];
}

export interface Node extends Identity {
  readonly kind: 'Node';
  /** Label topology.kubernetes.io/zone (2.4). */
  readonly zone: string | undefined;
  /** The node's primary address of each family: InternalIP before ExternalIP, in the order of the object. */
  readonly addresses: readonly Address[];
  readonly podCIDRs: readonly Prefix[];
  /** It is being deleted, or the cluster autoscaler is about to: load balancers are to look elsewhere (12.3). */
  readonly leaving: boolean;
}

export interface ServiceCIDR extends Identity {
  readonly kind: 'ServiceCIDR';
  readonly cidrs: readonly Prefix[];
}

export type KubeObject = Service | EndpointSlice | Node | ServiceCIDR;
export type Kind = KubeObject['kind'];

/**
 * What the source said, whole: an immutable snapshot. Structure is shared between two snapshots: an untouched object, an
 * untouched Service's list of slices and the map of an untouched kind are the identical value.
 */
export interface Objects {
  readonly services: ReadonlyMap<string, Service>;
  /** By key of the Service; sorted by the slice's key. */
  readonly slices: ReadonlyMap<string, readonly EndpointSlice[]>;
  readonly nodes: ReadonlyMap<string, Node>;
  readonly serviceCIDRs: ReadonlyMap<string, ServiceCIDR>;
  /** Services, and slices, that came, changed or went until now, one for each time. */
  readonly changes: { readonly services: number; readonly slices: number };
  /** What is wrong with the source itself: a file that does not parse, an object defined twice. */
  readonly problems: readonly Problem[];
}

/** Something that knows the objects and follows them. */
export interface Source {
  /** The first complete read is done (1.11): nothing may be programmed or pruned before. */
  readonly synced: boolean;
  objects(): Objects;
  /** Calls back after objects() or synced changed. The callback must only take note: it runs inside the source. */
  onChange(callback: () => void): void;
  close(): void;
}
