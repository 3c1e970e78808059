// What do clients send to? The frontends of one Service port in one family: its ClusterIP, NodePort, load-balancer VIPs and
// externalIPs (semantics 3.1 to 3.6). Which Service keeps an address that two of them claim is not decided here.

import { familyOf, UNSPECIFIED } from '../address.ts';
import type { PortSpec, Service } from '../source/objects.ts';
import { trimmed } from './lists.ts';
import type { Address, Family, Frontend, FrontendKind } from './model.ts';

/** The addresses of a Service in one family, each with what it is. */
export interface Addresses {
  readonly family: Family;
  readonly of: ReadonlyMap<Address, FrontendKind>;
}

/**
 * The addresses of a Service, family by family: only a family that has a ClusterIP is served (1.12). An address given in several
 * places counts once, as ClusterIP before LoadBalancer before ExternalIP: so the source ranges of a load-balancer VIP hold
 * although it is listed among the externalIPs too.
 */
export function addressesOf(service: Service): Addresses[] {
  return service.clusterIPs.map((clusterIP) => {
    const family = familyOf(clusterIP);
    const of = new Map<Address, FrontendKind>([[clusterIP, 'ClusterIP']]);
    const add = (addresses: readonly Address[], kind: FrontendKind): void => {
      for (const address of addresses) if (familyOf(address) === family && !of.has(address)) of.set(address, kind);
    };
    add(service.loadBalancerIPs, 'LoadBalancer');
    add(service.externalIPs, 'ExternalIP');
    return { family, of };
  });
}

/** VIPs whose family the Service has no ClusterIP of: they are not served. */
export function strayAddresses(service: Service): Address[] {
  if (service.loadBalancerIPs.length === 0 && service.externalIPs.length === 0) return [];
  const families = new Set(service.clusterIPs.map(familyOf));
  return [...service.loadBalancerIPs, ...service.externalIPs].filter((address) => !families.has(familyOf(address)));
}

/** The frontends of one port, the ClusterIP first. */
export function frontendsOf(addresses: Addresses, port: PortSpec): readonly Frontend[] {
  const frontends: Frontend[] = [];
  for (const [address, kind] of addresses.of) frontends.push({ kind, address, port: port.port });
  if (port.nodePort !== 0) frontends.push({ kind: 'NodePort', address: UNSPECIFIED[addresses.family], port: port.nodePort });
  return trimmed(frontends);
}
