// What do the objects mean? The types of the Model: Service ports with their frontends and backends, one per family.
// Pure values; no bytes, no ids, no kernel.

/** IP family. */
export type Family = 4 | 6;

/** The protocols the datapath carries. SCTP ports become a Problem. */
export type Protocol = 'TCP' | 'UDP';

/** An IP address in canonical text: dotted quad without leading zeros, or RFC 5952. */
export type Address = string;

/** A network in canonical text, host bits zero: `10.0.0.0/8`, `fd00::/64`. */
export type Prefix = string;

/** Something wrong with one object that does not stop the others. Shown in status, log, metric and dump. */
export interface Problem {
  /** `Service default/web`, `EndpointSlice default/web-abc12`, or `Agent` for the node itself. */
  readonly object: string;
  /** Where it was read from (a file name), where the source knows. */
  readonly origin?: string;
  /** Path of the field: `spec.ports[2].port`. */
  readonly field?: string;
  /** A CamelCase word for programs: `InvalidPort`, `VIPConflict`, `CapacityExceeded`. */
  readonly reason: string;
  /** One sentence for people: what is wrong, what was given, what happens with it. */
  readonly message: string;
}

/** Who answers: one endpoint of one Service port. */
export interface Backend {
  readonly address: Address;
  readonly port: number;
  /** On this node: the endpoint's nodeName is ours (semantics 1.9). */
  readonly local: boolean;
  /** Condition serving (absent: true). UDP flows to a backend that does not serve pick again (9.2). */
  readonly serving: boolean;
}

export type FrontendKind = 'ClusterIP' | 'NodePort' | 'ExternalIP' | 'LoadBalancer';

/** What clients send to. */
export interface Frontend {
  readonly kind: FrontendKind;
  /** Unspecified (`0.0.0.0`, `::`) for a NodePort: any NodePort address of the node. */
  readonly address: Address;
  readonly port: number;
}

/** One port of one Service in one family: the unit of compiling. */
export interface ServicePort {
  /** `namespace/name:portName/protocol/family`, unique; the identity behind frontend ids. Port name may be empty. */
  readonly key: string;
  readonly namespace: string;
  readonly service: string;
  readonly portName: string;
  readonly protocol: Protocol;
  readonly family: Family;
  readonly frontends: readonly Frontend[];
  /** internalTrafficPolicy Local: counts for ClusterIP only. */
  readonly internalLocal: boolean;
  /** externalTrafficPolicy Local: counts for all other kinds. */
  readonly externalLocal: boolean;
  /** "any" of semantics 0: at least one usable endpoint exists anywhere. */
  readonly hasEndpoints: boolean;
  /** C: backends for Cluster policy after topology and fallback, sorted by address and port. */
  readonly cluster: readonly Backend[];
  /** L: backends for Local policy with its own fallback; computed only where a policy is Local. Sorted likewise. */
  readonly local: readonly Backend[];
  /** Endpoints that exist but take no new connection (not ready, terminating): their flows live on. */
  readonly draining: readonly Backend[];
  /** Session affinity timeout in seconds, 1..86400; 0: none. */
  readonly affinitySeconds: number;
  /** loadBalancerSourceRanges of this family, for LoadBalancer frontends; empty: unrestricted. */
  readonly sourceRanges: readonly Prefix[];
  /** They hold for its node ports and external IPs too (7.4). */
  readonly sourceRangesEverywhere: boolean;
  /** A source range holds this node's primary address (7.2). */
  readonly selfAllowed: boolean;
}

/** What a load balancer that asks this node is told of a Service (12.1). */
export interface HealthCheck {
  /** spec.healthCheckNodePort. */
  readonly port: number;
  /** Distinct addresses of ready endpoints on this node, of all ports, in each family the Service has. */
  readonly localEndpoints: ReadonlyMap<Family, number>;
}

/** One honourable Service. Refused or skipped Services are not here, their reason is in problems. */
export interface ModelService {
  /** `namespace/name`. */
  readonly key: string;
  readonly ports: readonly ServicePort[];
  /** creationTimestamp in ms since the epoch, 0 where unknown; the older Service keeps a disputed frontend. */
  readonly created: number;
  /** Undefined: no load balancer asks, since its type is another or its externalTrafficPolicy is not Local. */
  readonly healthCheck: HealthCheck | undefined;
  readonly problems: readonly Problem[];
}

/** What is known of this node: from its Node object and from its network devices. */
export interface NodeFacts {
  readonly name: string;
  /** topology.kubernetes.io/zone; undefined: zone hints cannot be used. */
  readonly zone: string | undefined;
  /** Node addresses (Node object, else those of the default-route device): `primary` NodePort addresses. First of a family is the primary IP. */
  readonly primaryAddresses: readonly Address[];
  /** Every address on a device of the node's namespace, loopback excluded. */
  readonly localAddresses: readonly Address[];
  /** Node.spec.podCIDRs, for detect-local mode NodeCIDR. */
  readonly podCIDRs: readonly Prefix[];
}

/** What everything means. Structure is shared between two Models: an untouched Service is the identical object. */
export interface Model {
  readonly services: ReadonlyMap<string, ModelService>;
  readonly node: NodeFacts;
  /** ServiceCIDRs of both families. */
  readonly serviceCIDRs: readonly Prefix[];
  /** All Problems, those of the services included. */
  readonly problems: readonly Problem[];
}
