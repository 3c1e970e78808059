// How big may one Service be? The stated limits; a Service over one of them is refused whole and no other notices. What the maps
// can hold of all Services together is compile/'s question.

export const SERVICE_LIMITS = {
  /** spec.ports. 5,000 must work; etcd refuses 60,000 for size. */
  ports: 10_000,
  /** spec.externalIPs, and separately status.loadBalancer.ingress. */
  addresses: 1_024,
  /** spec.loadBalancerSourceRanges. */
  sourceRanges: 4_096,
  /** Address, port and protocol together, of both families: half of the default frontend maps. */
  frontends: 65_536,
  /** Endpoints of all its ports together, of both families: half of the default backend maps. */
  backends: 131_072,
} as const;
