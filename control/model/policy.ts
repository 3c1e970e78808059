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
const NO_BACKENDS: readonly Backend[] = [];

function isReady({ endpoint }: Candidate): boolean {
  return endpoint.ready;
}

function isLeaving({ endpoint }: Candidate): boolean {
  return endpoint.serving && endpoint.terminating;
}

/** The list itself where all of it is kept. */
function filtered(candidates: readonly Candidate[], keeps: (candidate: Candidate) => boolean): readonly Candidate[] {
  return candidates.every(keeps) ? candidates : candidates.filter(keeps);
}

/** Ready endpoints; where there are none at all, those that terminate and still serve. */
function usable(candidates: readonly Candidate[]): readonly Candidate[] {
  const ready = filtered(candidates, isReady);
  return ready.length > 0 ? ready : filtered(candidates, isLeaving);
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

/** Of the usable endpoints: topology counts among ready ones only (2.1: the fallback ignores it). */
function clusterEndpoints(anywhere: readonly Candidate[], node: NodeFacts): readonly Candidate[] {
  if (anywhere.length === 0 || !isReady(anywhere[0]!)) return anywhere;
  return (
    hintedFor(anywhere, node.name, (endpoint) => endpoint.nodeHints) ??
    hintedFor(anywhere, node.zone, (endpoint) => endpoint.zoneHints) ??
    anywhere
  );
}

function wantsZone(anywhere: readonly Candidate[], node: NodeFacts): boolean {
  if (node.zone !== undefined || anywhere.length === 0) return false;
  return anywhere.every((candidate) => isReady(candidate) && candidate.endpoint.zoneHints.length > 0);
}

function backends(candidates: readonly Candidate[]): readonly Backend[] {
  return candidates.length === 0 ? NO_BACKENDS : candidates.map(({ backend }) => backend);
}

/** Chooses for one Service port of one family. The order of the candidates is kept. */
export function chooseEndpoints(candidates: readonly Candidate[], policies: Policies, node: NodeFacts): Choice {
  const { internalLocal, externalLocal, external } = policies;
  const anywhere = usable(candidates);
  // C serves external traffic under Local policy too: the short circuit from pods and from the node itself (0.1).
  const cluster = !internalLocal || external ? clusterEndpoints(anywhere, node) : NONE;
  const local = internalLocal || (externalLocal && external) ? usable(candidates.filter(({ backend }) => backend.local)) : NONE;
  const all = cluster.length === candidates.length;
  const chosen = all ? undefined : new Set([...cluster, ...local]);
  return {
    hasEndpoints: anywhere.length > 0,
    cluster: backends(cluster),
    local: backends(local),
    draining: chosen === undefined ? NO_BACKENDS : backends(candidates.filter((candidate) => !chosen.has(candidate))),
    zoneMissing: wantsZone(anywhere, node),
  };
}
