// Is this node well? The answers of /healthz and /livez, which are kube-proxy's to the letter, and of /readyz, which is ours: the
// first two say that changes get through, the last that the kernel holds what it should.

import { type Answer, json, NOT_FOUND, type Respond } from './listener.ts';

/** kube-proxy: one answer for each of its two proxies; ours does both families in one turn. */
const FAMILIES = ['IPv4', 'IPv6'] as const;
/** What Go prints for a time that never was. */
const NEVER = '0001-01-01T00:00:00Z';
/** A change that waits longer, without being told to, is not getting through. Below the 10 s in which /readyz must tell. */
const READY_PATIENCE_MS = 5_000;

/** What decides, at the moment of the question. Times in ms since the epoch. */
export interface Health {
  readonly now: number;
  /** End of the last turn that succeeded; undefined: none has. */
  readonly updatedAt: number | undefined;
  /** Age of the oldest change that is not in the maps; undefined: there is none. */
  readonly oldestChangeMs: number | undefined;
  /** kube-proxy: a change older than this is late: twice syncPeriod. */
  readonly lateAfterMs: number;
  /** The Node is neither being deleted nor about to be. */
  readonly nodeEligible: boolean;
}

/** What more decides whether the kernel holds what it should. */
export interface Readiness {
  /** Programs are attached over full maps. */
  readonly serving: boolean;
  /** The source has said everything once. */
  readonly synced: boolean;
  readonly generationWanted: number;
  readonly generationApplied: number;
  /** What the kernel refused and still does. */
  readonly refusal: string | undefined;
  /** How long changes may be left to gather: minSyncPeriod. */
  readonly gatherMs: number;
}

/** kube-proxy: before the first sync nothing is late: healthy while starting. An API server that is away makes no change (12.5). */
export function isHealthy({ updatedAt, oldestChangeMs, lateAfterMs }: Health): boolean {
  return updatedAt === undefined || oldestChangeMs === undefined || oldestChangeMs < lateAfterMs;
}

function time(ms: number | undefined): string {
  return ms === undefined ? NEVER : new Date(ms).toISOString();
}

/** kube-proxy's fields in kube-proxy's order. Of a healthy proxy lastUpdated is the time of the question: old clients read it so. */
function healthAnswer(health: Health, eligible: boolean, withEligible: boolean): Answer {
  const { now, updatedAt } = health;
  const healthy = isHealthy(health);
  const ok = healthy && eligible;
  const status = updatedAt === undefined ? [] : FAMILIES.map((family) => [family, { lastUpdated: time(updatedAt), healthy }] as const);
  return json(ok ? 200 : 503, {
    lastUpdated: time(ok ? now : updatedAt),
    currentTime: time(now),
    ...(withEligible ? { nodeEligible: eligible } : {}),
    healthy,
    ...(status.length === 0 ? {} : { status: Object.fromEntries(status) }),
  });
}

/** For load balancers and whoever decides where traffic goes (12.3). */
export function healthz(health: Health): Answer {
  return healthAnswer(health, health.nodeEligible, true);
}

/** For whoever restarts us: a node that leaves is no reason (12.4). */
export function livez(health: Health): Answer {
  return healthAnswer(health, true, false);
}

/** Why the kernel does not hold every honourable Service of the synced state; undefined: it does. */
function unreadiness(health: Health, readiness: Readiness): string | undefined {
  if (!readiness.synced) return 'the source has not said everything yet';
  if (readiness.refusal !== undefined) return `the kernel refused: ${readiness.refusal}`;
  if (!readiness.serving) return 'starting';
  const waiting = health.oldestChangeMs ?? 0;
  if (waiting > readiness.gatherMs + READY_PATIENCE_MS) return 'changes are not getting into the kernel';
  return undefined;
}

/** What /readyz says, without the words. */
export function isReady(health: Health, readiness: Readiness): boolean {
  return unreadiness(health, readiness) === undefined;
}

/** Is every Service that can be honoured in the kernel? One that cannot be is its own Problem and turns nothing red. */
export function readyz(health: Health, readiness: Readiness): Answer {
  const reason = unreadiness(health, readiness);
  return json(reason === undefined ? 200 : 503, {
    ready: reason === undefined,
    ...(reason === undefined ? {} : { reason }),
    currentTime: time(health.now),
    lastUpdated: time(health.updatedAt),
    generationWanted: readiness.generationWanted,
    generationApplied: readiness.generationApplied,
    oldestChangeSeconds: (health.oldestChangeMs ?? 0) / 1000,
  });
}

export interface HealthPages {
  readonly health: () => Health;
  readonly readiness: () => Readiness;
  /** Told of each answer of /healthz and /livez. */
  readonly onAnswer: (page: 'healthz' | 'livez', code: number) => void;
}

/** The pages of healthzBindAddress. */
export function healthPages({ health, readiness, onAnswer }: HealthPages): Respond {
  return ({ path }) => {
    if (path === '/readyz') return readyz(health(), readiness());
    if (path !== '/healthz' && path !== '/livez') return NOT_FOUND;
    const answer = (path === '/healthz' ? healthz : livez)(health());
    onAnswer(path === '/healthz' ? 'healthz' : 'livez', answer.code);
    return answer;
  };
}
