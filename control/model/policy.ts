// Which endpoints of a Service port take new connections? C and L of semantics section 0: readiness with its fallback (2.1), which
// policy needs which of them (2.2), topology hints (2.3).

import type { Endpoint } from '../source/objects.ts';
import type { Candidate } from './endpoints.ts';
import type { Backend, NodeFacts } from './model.ts';

/** What of a Service decides. */
export interface Policies {
  readonly internalLocal: boolean;
  readonly externalLocal: boolean;
  /** The port has a NodePort, an externalIP or a load-balancer VIP. */
  readonly external: boolean;
}

export interface Choice {
  readonly hasEndpoints: boolean;
  readonly cluster: readonly Backend[];
  readonly local: readonly Backend[];
  readonly draining: readonly Backend[];
  /** Every ready endpoint has a zone hint, but the zone of this node is unknown (2.4). */
  readonly zoneMissing: boolean;
}

const NONE: readonly Candidate[] = [];

function isReady({ endpoint }: Candidate): boolean {
  return endpoint.ready;
}

function isLeaving({ endpoint }: Candidate): boolean {
  return endpoint.serving && endpoint.terminating;
}

/** Ready endpoints; where there are none at all, those that terminate and still serve. */
function usable(candidates: readonly Candidate[]): readonly Candidate[] {
  const ready = candidates.filter(isReady);
  return ready.length > 0 ? ready : candidates.filter(isLeaving);
}

/** Keeps those hinted for this place, if every one of them has a hint and at least one names it; undefined: hints do not apply. */
function hintedFor(
  ready: readonly Candidate[],
  place: string | undefined,
  hintsOf: (endpoint: Endpoint) => readonly string[],
): readonly Candidate[] | undefined {
  if (place === undefined || !ready.every(({ endpoint }) => hintsOf(endpoint).length > 0)) return undefined;
  const here = ready.filter(({ endpoint }) => hintsOf(endpoint).includes(place));
  return here.length > 0 ? here : undefined;
}

function clusterEndpoints(candidates: readonly Candidate[], node: NodeFacts): readonly Candidate[] {
  const ready = candidates.filter(isReady);
  // Row 2.1: the fallback ignores topology.
  if (ready.length === 0) return candidates.filter(isLeaving);
  return (
    hintedFor(ready, node.name, (endpoint) => endpoint.nodeHints) ?? hintedFor(ready, node.zone, (endpoint) => endpoint.zoneHints) ?? ready
  );
}

function wantsZone(candidates: readonly Candidate[], node: NodeFacts): boolean {
  const ready = node.zone === undefined ? candidates.filter(isReady) : NONE;
  return ready.length > 0 && ready.every(({ endpoint }) => endpoint.zoneHints.length > 0);
}

function backends(candidates: readonly Candidate[]): Backend[] {
  return candidates.map(({ backend }) => backend);
}

/** Chooses for one Service port of one family. The order of the candidates is kept. */
export function chooseEndpoints(candidates: readonly Candidate[], policies: Policies, node: NodeFacts): Choice {
  const { internalLocal, externalLocal, external } = policies;
  // C serves external traffic under Local policy too: the short circuit from pods and from the node itself (0.1).
  const cluster = !internalLocal || external ? clusterEndpoints(candidates, node) : NONE;
  const local = internalLocal || (externalLocal && external) ? usable(candidates.filter(({ backend }) => backend.local)) : NONE;
  const chosen = new Set([...cluster, ...local]);
  return {
    hasEndpoints: usable(candidates).length > 0,
    cluster: backends(cluster),
    local: backends(local),
    draining: backends(candidates.filter((candidate) => !chosen.has(candidate))),
    zoneMissing: wantsZone(candidates, node),
  };
}
