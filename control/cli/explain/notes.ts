// Why is it no frontend? What the maps and the Model know about an address, a port or a name that leads to no backend.

import { FrontendFlag } from '../../abi/layout.gen.ts';
import { contains, familyOf } from '../../address.ts';
import { mapsOf } from '../../kernel/held.ts';
import type { Destination } from '../../model/account.ts';
import type { Ground } from './explanation.ts';
import { PROTOCOLS, type Stage } from './stages.ts';

/** What the maps say of an address and a port that have no frontend together. */
function* notesOfMaps(to: Destination, { maps, account }: Ground): Generator<string> {
  const protocol = PROTOCOLS[to.protocol];
  const others: string[] = [];
  let nodePort = false;
  for (const [key, frontend] of mapsOf(maps, familyOf(to.address)).frontends.entries()) {
    if (key.address === to.address) others.push(`${key.port}/${key.protocol === PROTOCOLS.TCP ? 'TCP' : 'UDP'}`);
    nodePort ||= (frontend.flags & FrontendFlag.FRONTEND_NODE_PORT) !== 0 && key.port === to.port && key.protocol === protocol;
  }
  if (others.length > 0) {
    const more = others.length > 12 ? ` and ${others.length - 12} more` : '';
    yield `${to.address} has frontends on other ports: ${others.sort().slice(0, 12).join(', ')}${more}`;
  }
  if (!nodePort) return;
  const places = account?.account.nodePortAddresses;
  const where = places === undefined ? '' : `; they are served on ${places.join(', ') || 'no address'}`;
  yield `${to.port}/${to.protocol} is a node port, and ${to.address} is none of the addresses of this node that serve node ports${where} (8.1)`;
}

/** In sentences; about a frontend that was found only those Services that do not have it. */
export function* notesOf({ walk }: Stage, to: Destination, ground: Ground): Generator<string> {
  const { account } = ground;
  for (const { service, told, serves, hasPort } of account?.account.claimants ?? [])
    if (walk.frontend === undefined || (!serves && hasPort)) yield `Service ${service} ${told}`;
  if (walk.frontend !== undefined) return;
  yield* notesOfMaps(to, ground);
  if (account === undefined) return;
  const { claimants, endpointOf, serviceCIDRs } = account.account;
  if (endpointOf.length > 0) {
    const more = endpointOf.length > 6 ? ` and ${endpointOf.length - 6} more` : '';
    yield `${to.address} is an endpoint of ${endpointOf.slice(0, 6).join(', ')}${more}: a backend's own address is nobody's frontend`;
  }
  if (claimants.length > 0) return;
  const cidr = serviceCIDRs.find((prefix) => familyOf(prefix) === familyOf(to.address) && contains(prefix, to.address));
  if (cidr !== undefined) yield `${to.address} is inside the ServiceCIDR ${cidr}, and no Service has it (4.4)`;
  else if (endpointOf.length === 0)
    yield 'no Service names this address: it is no clusterIP, no load balancer address of ipMode VIP, no external IP and no node port of this node';
}
