// Which endpoints has a Service port? All slices of the Service merged (semantics 1.4), joined by port name and protocol (1.5), each
// address and port once (1.8). It does not choose among them: that is policy.ts.

import type { Endpoint, EndpointSlice } from '../source/objects.ts';
import type { Backend } from './model.ts';

/** An endpoint as one Service port sees it. */
export interface Candidate {
  readonly endpoint: Endpoint;
  readonly backend: Backend;
}

interface Offer {
  readonly slice: EndpointSlice;
  readonly port: number;
}

/** What the slices of one family offer, by port name and protocol. */
export type Offers = ReadonlyMap<string, readonly Offer[]>;

function offerKey(portName: string, protocol: string): string {
  return `${protocol} ${portName}`;
}

/** Indexes the ports of a Service's slices once, so that a Service of thousands of ports is joined in one pass. */
export function offersOf(slices: readonly EndpointSlice[]): Offers {
  const offers = new Map<string, Offer[]>();
  for (const slice of slices) {
    for (const port of slice.ports) {
      const key = offerKey(port.name, port.protocol);
      const same = offers.get(key);
      if (same === undefined) offers.set(key, [{ slice, port: port.port }]);
      else same.push({ slice, port: port.port });
    }
  }
  return offers;
}

/** How many endpoints a Service port has at most, before duplicates are found. */
export function countEndpoints(offers: Offers, portName: string, protocol: string): number {
  return (offers.get(offerKey(portName, protocol)) ?? []).reduce((sum, offer) => sum + offer.slice.endpoints.length, 0);
}

/** Ready before serving and terminating, that before one that only serves, that before the rest; local before remote. */
function rank(candidate: Candidate): number {
  const { ready, serving, terminating } = candidate.endpoint;
  const usable = ready ? 6 : !serving ? 0 : terminating ? 4 : 2;
  return usable + (candidate.backend.local ? 1 : 0);
}

function byAddressAndPort(a: Candidate, b: Candidate): number {
  if (a.backend.address !== b.backend.address) return a.backend.address < b.backend.address ? -1 : 1;
  return a.backend.port - b.backend.port;
}

/**
 * The endpoints of one Service port, sorted by address (as text) and port. Of two with one address and port the usable one counts:
 * a pod on its way from one slice to another, or an address given to a new pod while its old owner lingers (1.8). Among
 * equals the local one, then the one of the slice whose key sorts first.
 */
export function joinEndpoints(offers: Offers, portName: string, protocol: string, nodeName: string): Candidate[] {
  const found: Candidate[] = [];
  for (const { slice, port } of offers.get(offerKey(portName, protocol)) ?? []) {
    for (const endpoint of slice.endpoints) {
      const { address, serving } = endpoint;
      found.push({ endpoint, backend: { address, port, local: endpoint.nodeName === nodeName, serving } });
    }
  }
  // Stable: of equals the one whose slice comes first stays first.
  found.sort(byAddressAndPort);
  let last = 0;
  for (let i = 1; i < found.length; i++) {
    const one = found[i]!;
    if (byAddressAndPort(one, found[last]!) !== 0) found[++last] = one;
    else if (rank(one) > rank(found[last]!)) found[last] = one;
  }
  found.length = Math.min(found.length, last + 1);
  return found;
}
