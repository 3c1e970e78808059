// Why does a connection go where it goes? One value with everything that decides about it: what the kernel's maps say, walked as the
// datapath walks them, beside what the Model says, compiled and walked the same way. Pure of the kernel but for the maps it is given.

import { BackendFlag, SettingFlag, type Settings } from '../../abi/layout.gen.ts';
import { familyOf } from '../../address.ts';
import type { AgentAccount } from '../../agent/account.ts';
import type { Entrance } from '../../kernel/entrance.ts';
import { mapsOf } from '../../kernel/held.ts';
import type { Maps } from '../../kernel/maps.ts';
import type { VerdictName, WalkCandidate, WalkHook } from '../../kernel/walk.ts';
import type { Destination } from '../../model/account.ts';
import type { Fate } from '../../model/fates.ts';
import type { Address, FrontendKind, Problem } from '../../model/model.ts';
import type { PortName } from '../../observe/snapshot.ts';
import { actingOf } from './acting.ts';
import { differencesOf, modelledWalk } from './differences.ts';
import { type Affine, affinityOf, type Flow, flowsOf } from './memory.ts';
import { notesOf } from './notes.ts';
import type { Client } from './question.ts';
import { type Stage, stagesOf } from './stages.ts';
import { branchOf, choiceOf, kindOf, masqueradeWords, type Outcome, outcomeOf, sourcesOf } from './words.ts';

/** What is known besides the question. */
export interface Ground {
  readonly maps: Maps;
  readonly entrance: Entrance;
  /** By frontend id. */
  readonly names: ReadonlyMap<number, PortName>;
  /** What the running agent says; undefined: none answers. */
  readonly account: AgentAccount | undefined;
  /** Monotonic clock in ns. */
  readonly monotonicNs: () => bigint;
}

export interface ExplainedBackend {
  readonly address: Address;
  readonly port: number;
  readonly place: 'host' | 'local' | 'remote';
  readonly masquerade: boolean;
  readonly masqueradeWhy: string;
  readonly verdict: VerdictName;
}

export interface ExplainedEndpoint extends Pick<Fate, 'slice' | 'address' | 'port' | 'nodeName'> {
  readonly in: boolean;
  readonly why: string;
}

export interface ExplainedFrontend {
  readonly service: string | null;
  readonly portName: string | null;
  readonly frontendId: number;
  /** `External` where the maps alone are known: an external IP or a load balancer's address. */
  readonly kind: FrontendKind | 'External';
  /** Unspecified for a NodePort. */
  readonly address: Address;
  readonly port: number;
}

export interface Explanation {
  readonly from: { readonly address: Address; readonly port: number | null; readonly who: Entrance['who']; readonly why: string };
  readonly to: Destination;
  readonly outcome: Outcome;
  /** Of the hook that decides; several where the chosen backend decides. */
  readonly verdicts: readonly VerdictName[];
  /** Every hook that meets it, in order; `left`: why it leaves it to the next. */
  readonly hooks: readonly { readonly hook: WalkHook; readonly verdict: VerdictName | null; readonly left: string | null }[];
  /** Which hook acts, and which could not, in sentences. */
  readonly acting: readonly string[];
  readonly frontend: ExplainedFrontend | null;
  readonly sources: string | null;
  readonly branch: string | null;
  readonly choice: string | null;
  readonly backends: readonly ExplainedBackend[];
  /** What the Model knows of every endpoint; empty without an agent. */
  readonly endpoints: readonly ExplainedEndpoint[];
  readonly affinity: Affine | null;
  readonly flows: readonly Flow[];
  /** Why it is no frontend, or what else has to do with the address. */
  readonly notes: readonly string[];
  readonly problems: readonly Problem[];
  /** Model and kernel differ: in which words. */
  readonly differences: readonly string[];
  /** What cannot be known from here. */
  readonly unknown: readonly string[];
}

function placeOf(flags: number): ExplainedBackend['place'] {
  if (flags & BackendFlag.BACKEND_HOST) return 'host';
  return flags & BackendFlag.BACKEND_LOCAL ? 'local' : 'remote';
}

/** One candidate a backend: a slice lists each once. */
function backendOf({ walk, hook }: Stage, candidate: WalkCandidate, source: Address, settings: Settings): ExplainedBackend {
  return {
    address: candidate.address,
    port: candidate.port,
    place: placeOf(candidate.flags),
    masquerade: candidate.masquerade,
    masqueradeWhy: masqueradeWords(walk, candidate, hook, source, settings),
    verdict: candidate.verdict,
  };
}

function rangesOf(maps: Maps, id: number, family: 4 | 6): string[] {
  const ranges: string[] = [];
  for (const [key] of mapsOf(maps, family).source_ranges.entries())
    if (key.frontend === id) ranges.push(`${key.address}/${key.prefix_length - 32}`);
  return ranges.sort();
}

function frontendOf({ walk }: Stage, { names, account }: Ground): ExplainedFrontend | null {
  const { frontend, key } = walk;
  if (frontend === undefined || key === undefined) return null;
  const name = names.get(frontend.id);
  const kind = kindOf(frontend);
  const told = account?.account.claimants.find(({ service, serves }) => serves && service === name?.service)?.kind;
  return {
    service: name?.service ?? null,
    portName: name?.port ?? null,
    frontendId: frontend.id,
    kind: kind === 'External' ? (told ?? kind) : kind,
    address: key.address,
    port: key.port,
  };
}

function endpointsOf(stage: Stage, ground: Ground): ExplainedEndpoint[] {
  const claimed = ground.account?.account.ports ?? [];
  const owner = stage.walk.frontend === undefined ? undefined : ground.names.get(stage.walk.frontend.id);
  const mine =
    claimed.find(({ port }) => `${port.namespace}/${port.service}` === owner?.service && port.portName === owner.port) ?? claimed[0];
  if (mine === undefined) return [];
  const local = stage.walk.policy === 'Local';
  return mine.fates.map(({ slice, address, port, nodeName, cluster, local: inLocal, clusterWhy, localWhy }) => ({
    ...{ slice, address, port, nodeName },
    in: local ? inLocal : cluster,
    why: local ? localWhy : clusterWhy,
  }));
}

/** What nobody can tell from outside a process or before a packet. */
function* unknownOf(stages: readonly Stage[], settings: Settings, { account, entrance }: Ground): Generator<string> {
  if (account === undefined)
    yield 'no agent answers: endpoints that take no connection, Problems, and whether the maps hold what they should are not known';
  const [first] = stages;
  if (first?.hook === 'socket' && first.left === undefined) {
    yield 'a socket that is bound to an address of its own is left to the packets';
    if (settings.flags & SettingFlag.SETTING_EXEMPT_CGROUPS) yield 'so is a process in one of sluice.socketExceptions';
    if (entrance.who === 'pod' && first.walk.frontend !== undefined && first.walk.frontend.affinity_seconds > 0)
      yield 'the affinity of a pod at the socket hook is that of its network namespace, which is not known here';
  }
}

/** Explains one connection. Throws where the maps hold no settings. */
export function explain(client: Client, to: Destination, ground: Ground): Explanation {
  const { maps, entrance, account } = ground;
  const settings = maps.settings.get(0);
  if (settings === undefined) throw new Error('the map settings is empty: no agent has finished its start with these maps');
  const names = new Map([...ground.names, ...(account?.names ?? [])]);
  const known: Ground = { ...ground, names };
  const stages = stagesOf(maps, client.address, to, entrance);
  const stage = stages.at(-1)!;
  const { walk, hook } = stage;
  const backends = walk.candidates
    .map((candidate) => backendOf(stage, candidate, client.address, settings))
    .sort((a, b) => (a.address < b.address ? -1 : a.address > b.address ? 1 : a.port - b.port));
  const verdicts = walk.verdict === undefined ? [...new Set(backends.map(({ verdict }) => verdict))] : [walk.verdict];
  const outcomes = new Set(verdicts.map(outcomeOf));
  const name = walk.frontend === undefined ? undefined : names.get(walk.frontend.id);
  return {
    from: { address: client.address, port: client.port ?? null, who: entrance.who, why: entrance.why },
    to,
    // A slot that names no backend is told before anything that is well.
    outcome: outcomes.has('denied') ? 'denied' : outcomes.has('passed') ? 'passed' : 'served',
    verdicts,
    hooks: stages.map((one) => ({ hook: one.hook, verdict: one.walk.verdict ?? null, left: one.left ?? null })),
    acting: actingOf(stage, known),
    frontend: frontendOf(stage, known),
    sources: walk.frontend === undefined ? null : sourcesOf(walk, rangesOf(maps, walk.frontend.id, familyOf(to.address))),
    branch: branchOf(walk) ?? null,
    choice: backends.length > 0 ? choiceOf(walk, hook) : null,
    backends,
    endpoints: endpointsOf(stage, known),
    affinity: affinityOf(maps, stage, client.address, ground.monotonicNs),
    flows: flowsOf(maps, client, to, ground.monotonicNs),
    notes: [...notesOf(stage, to, known)],
    problems: account?.account.problems ?? [],
    differences: account === undefined ? [] : differencesOf(stages, name, modelledWalk(maps, account, client.address, to, entrance)),
    unknown: [...unknownOf(stages, settings, known)],
  };
}
