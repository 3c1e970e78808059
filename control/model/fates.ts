// Which endpoints of a Service port take new connections, and why do the others not? The choice itself is policy.ts's; here are the words
// for it, endpoint by endpoint, for whoever asks why.

import { familyOf, insideOf } from '../address.ts';
import type { Endpoint, EndpointSlice } from '../source/objects.ts';
import { type Candidate, joinEndpoints, offersOf } from './endpoints.ts';
import type { Address, NodeFacts, Prefix, ServicePort } from './model.ts';
import { chooseEndpoints } from './policy.ts';

/** One endpoint of one slice, as one Service port sees it. */
export interface Fate {
  readonly slice: string;
  readonly address: Address;
  /** null: its slice has no such port. */
  readonly port: number | null;
  /** null: it is on no node that is known. */
  readonly nodeName: string | null;
  /** Is it in C, is it in L (semantics 0)? */
  readonly cluster: boolean;
  readonly local: boolean;
  /** Why it is where it is, of C and of L. */
  readonly clusterWhy: string;
  readonly localWhy: string;
}

/** What all endpoints of a Service are judged by. */
export interface Ground {
  readonly node: NodeFacts;
  readonly serviceCIDRs: readonly Prefix[];
  readonly serviceProxyName: string | undefined;
}

function stateOf({ ready, serving, terminating }: Endpoint): string {
  if (ready) return 'ready';
  if (!terminating) return 'not ready';
  return serving ? 'terminating, still serving' : 'terminating, no longer serving';
}

function hintText({ nodeHints, zoneHints }: Endpoint): string {
  return nodeHints.length > 0 ? `nodes ${nodeHints.join(', ')}` : `zones ${zoneHints.join(', ')}`;
}

/** Words for an endpoint that the port can use, by what was chosen of all of them. */
function clusterWords({ endpoint }: Candidate, chosen: boolean, anyReady: boolean, wanted: boolean, node: NodeFacts): string {
  const state = stateOf(endpoint);
  if (!wanted) return `${state}; nothing asks for Cluster policy here (2.2)`;
  if (chosen) return anyReady ? state : `${state}: the fallback, since no endpoint is ready (2.1)`;
  if (endpoint.ready) return `ready, hinted for ${hintText(endpoint)}; this is node ${node.name} in zone ${node.zone ?? 'unknown'} (2.3)`;
  return anyReady && endpoint.serving && endpoint.terminating ? `${state}: others are ready (2.1)` : state;
}

function localWords({ endpoint, backend }: Candidate, chosen: boolean, anyReady: boolean, wanted: boolean): string {
  const state = stateOf(endpoint);
  if (!wanted) return `${state}; no policy is Local (2.2)`;
  if (!backend.local)
    return endpoint.nodeName === undefined ? 'its slice names no node: never local (1.9)' : `on ${endpoint.nodeName}, not here`;
  if (chosen) return anyReady ? state : `${state}: the fallback, since no local endpoint is ready (2.1)`;
  return anyReady && endpoint.serving && endpoint.terminating ? `${state}: others here are ready (2.1)` : state;
}

/** What becomes of every endpoint of a Service's slices for one of its ports, those of the other family left out. */
export function fatesOf(port: ServicePort, slices: readonly EndpointSlice[], ground: Ground): Fate[] {
  const { node } = ground;
  const inServiceCIDR = insideOf(ground.serviceCIDRs);
  const own = slices.filter((slice) => slice.family === port.family);
  const ours = (slice: EndpointSlice) => slice.proxyName === undefined || slice.proxyName === ground.serviceProxyName;
  const offered = own
    .filter(ours)
    .map((slice) => ({ ...slice, endpoints: slice.endpoints.filter(({ address }) => !inServiceCIDR(address)) }));
  const candidates = joinEndpoints(offersOf(offered), port.portName, port.protocol, node.name);
  const byEndpoint = new Map(candidates.map((candidate) => [`${candidate.backend.port} ${candidate.endpoint.address}`, candidate]));
  const policies = {
    internalLocal: port.internalLocal,
    externalLocal: port.externalLocal,
    external: port.frontends.some(({ kind }) => kind !== 'ClusterIP'),
  };
  const choice = chooseEndpoints(candidates, policies, node);
  const [inCluster, inLocal] = [new Set(choice.cluster), new Set(choice.local)];
  const ready = candidates.filter(({ endpoint }) => endpoint.ready);
  const wanted = {
    cluster: !policies.internalLocal || policies.external,
    local: policies.internalLocal || (policies.externalLocal && policies.external),
  };

  const fates: Fate[] = [];
  for (const slice of own) {
    const numbers = slice.ports.filter(({ name, protocol }) => name === port.portName && protocol === port.protocol).map((one) => one.port);
    for (const endpoint of slice.endpoints) {
      const common = { slice: slice.key, address: endpoint.address, nodeName: endpoint.nodeName ?? null };
      const out = (number: number | null, why: string): Fate => ({
        ...common,
        ...{ port: number, cluster: false, local: false, clusterWhy: why, localWhy: why },
      });
      if (!ours(slice)) fates.push(out(numbers[0] ?? null, `its slice is labelled for the proxy ${JSON.stringify(slice.proxyName)} (1.2)`));
      else if (inServiceCIDR(endpoint.address))
        fates.push(out(numbers[0] ?? null, 'its address is inside a ServiceCIDR: no packet could reach it'));
      else if (numbers.length === 0)
        fates.push(out(null, `its slice has no port named ${JSON.stringify(port.portName)} of ${port.protocol} (1.5)`));
      else
        for (const number of numbers) {
          const candidate = byEndpoint.get(`${number} ${endpoint.address}`);
          if (candidate === undefined || candidate.endpoint !== endpoint) {
            fates.push(out(number, `${stateOf(endpoint)}; another endpoint has this address and port, and serves (1.8)`));
            continue;
          }
          const [cluster, local] = [inCluster.has(candidate.backend), inLocal.has(candidate.backend)];
          const localReady = ready.some(({ backend }) => backend.local);
          fates.push({
            ...common,
            ...{ port: number, cluster, local },
            clusterWhy: clusterWords(candidate, cluster, ready.length > 0, wanted.cluster, node),
            localWhy: localWords(candidate, local, localReady, wanted.local),
          });
        }
    }
  }
  return fates.sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : (a.port ?? 0) - (b.port ?? 0)));
}

/** How many endpoints of the other family the slices have: they are that family's. */
export function strangersIn(port: ServicePort, slices: readonly EndpointSlice[]): number {
  return slices.filter(({ family }) => family !== port.family).reduce((sum, { endpoints }) => sum + endpoints.length, 0);
}

/** Services that have the address as an endpoint. */
export function servicesBehind(address: Address, slices: ReadonlyMap<string, readonly EndpointSlice[]>): string[] {
  const family = familyOf(address);
  const found: string[] = [];
  for (const [service, list] of slices) {
    if (list.some((slice) => slice.family === family && slice.endpoints.some((endpoint) => endpoint.address === address)))
      found.push(service);
  }
  return found;
}
