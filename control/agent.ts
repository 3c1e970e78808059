// What does the agent do in a turn? Snapshot, Model, maps; then it tells which Problems are new and remembers what it did.
// Pure of the kernel but for the maps it is given: it runs the same over maps in memory.

import type { Config } from './config.ts';
import type { KernelError, Maps } from './kernel/maps.ts';
import { openLook } from './look.ts';
import { type Loop, openLoop, type Pace } from './loop.ts';
import { buildModel, changedIn } from './model/build.ts';
import type { Model, NodeFacts, Problem } from './model/model.ts';
import { type DeviceAddresses, nodeFacts } from './model/node.ts';
import type { Log } from './observe/log.ts';
import { problemSet } from './observe/problems.ts';
import type { PortName } from './observe/snapshot.ts';
import type { Objects, Source } from './source/objects.ts';
import { adopt, adoptEmpty, type Clock, frontendNames, heldEntries, isServed, sync } from './sync.ts';

/** How often the maps are looked at although nothing changed: others can write to pinned maps too. */
const VERIFY_MS = 300_000;

export interface AgentParts {
  readonly config: Pick<Config, 'nodeName' | 'serviceCIDRs' | 'serviceProxyName' | 'detectLocal' | 'nodePortAddresses'> &
    Partial<Pick<Config, 'bindAddress' | 'externalIPs' | 'sourceRangesEverywhere'>> &
    Pace;
  readonly source: Source;
  /** What the devices say now. */
  readonly addresses: () => DeviceAddresses;
  readonly maps: Maps;
  /** The maps were made just now and hold nothing: they are not read. */
  readonly empty?: boolean;
  readonly log: Log;
  /** Problems of the datapath: a device that cannot be served, a sysctl in the way. */
  readonly datapathProblems?: () => readonly Problem[];
  /** Called with each Problem that was not there before. */
  readonly onProblem?: (problem: Problem) => void;
  /** Called after every turn that succeeded. */
  readonly onApplied?: (applied: Applied) => void;
  /** Monotonic, in ms. */
  readonly clock?: Clock;
}

/** What a turn put into the maps. */
export interface Applied {
  /** What the maps hold now, and the objects behind it. */
  readonly model: Model;
  readonly objects: Objects;
  /** Keys of the Services that may differ from the call before; undefined: any may. */
  readonly changed: ReadonlySet<string> | undefined;
  /** Entries and slots. */
  readonly written: number;
  /** Some UDP backend serves no longer. */
  readonly udpStopped: boolean;
  readonly tookMs: number;
  /** The maps were read and compared whole, not only where something changed. */
  readonly full: boolean;
}

/** What the last turns did. */
export interface AgentReport {
  readonly node: NodeFacts | undefined;
  readonly hasNodeObject: boolean;
  readonly services: number;
  readonly turns: number;
  /** Entries and slots written by the last turn that wrote any. */
  readonly written: number;
  readonly oldestChangeMs: number | undefined;
  /** The kernel's last refusal, while it lasts. */
  readonly refusal: string | undefined;
  readonly refusals: number;
  /** Changes noted, and how many of them are in the maps. */
  readonly generationWanted: number;
  readonly generationApplied: number;
  /** When a change was noted last, in ms since the epoch; undefined: never. */
  readonly notedAt: number | undefined;
  /** Refusals since the start. */
  readonly refusalsEver: number;
  /** Times the periodic look found maps that somebody else had changed. */
  readonly drifts: number;
  readonly problems: readonly Problem[];
}

export interface Agent {
  /** Something changed that the source does not tell of: node addresses, devices. */
  dirty(): void;
  /** The datapath's Problems may have changed: tells those that are new. */
  problemsChanged(): void;
  /** Resolves when the maps hold everything noted before. */
  settled(): Promise<void>;
  model(): Model | undefined;
  /** The Service port behind each frontend id. */
  names(): ReadonlyMap<number, PortName>;
  /** The Service, `namespace/name`, behind a frontend id; undefined: there is none, or no turn has succeeded yet. */
  serviceOf(frontend: number): string | undefined;
  /** Entries by map, of those that the plan decides about; undefined: they are to be read again. */
  entries(): ReadonlyMap<string, number> | undefined;
  /** Keys of the Services that have no room in the maps. */
  unfit(): ReadonlySet<string>;
  /** Is a version of that Service in force: this one, or where it has no room the last that had? */
  serves(service: string): boolean;
  report(): AgentReport;
  close(): void;
}

/** Undefined is all there are. */
function union(one: Set<string> | undefined, other: ReadonlySet<string> | undefined): Set<string> | undefined {
  if (one === undefined || other === undefined) return undefined;
  for (const key of other) one.add(key);
  return one;
}

function logProblem(log: Log, problem: Problem): void {
  const { message, ...fields } = problem;
  log.warn({ ...fields }, message);
}

/** Opens the agent over maps whose contents it takes as they are. It turns first when it is dirty. Throws KernelError when the maps cannot be read. */
export function openAgent(parts: AgentParts): Agent {
  const { config, source, maps, log } = parts;
  const clock = parts.clock ?? (() => performance.now());
  const state = parts.empty ? adoptEmpty(maps, clock) : adopt(maps, clock);
  /** Of the last turn that succeeded: a kernel that refuses takes nobody's name away. */
  let names: ReadonlyMap<number, string> = frontendNames(state);
  let lookedAt = clock();
  /** What the last look found, until it is repaired. */
  let suspect: 'drift' | KernelError | undefined;
  let model: Model | undefined;
  let written = 0;
  let drifts = 0;
  let refusalsEver = 0;
  let changed: Set<string> | undefined;
  let whole = true;
  let syncProblems: readonly Problem[] = [];
  const problems = problemSet();

  /** Reads the maps anew and makes them hold what they must hold already. */
  const repair = (last: Model, why: 'drift' | KernelError) => {
    whole = true;
    state.known = undefined;
    suspect = 'drift';
    if (why !== 'drift') throw why;
    const { written: repaired } = sync(maps, state, last, config);
    suspect = undefined;
    if (repaired === 0) return;
    drifts++;
    log.warn({ written: repaired }, 'somebody else had changed the maps; they are repaired');
  };

  const turn = () => {
    // Row 1.11: half a list must never shrink what is there.
    if (!source.synced) {
      tellProblems();
      return { againAfterMs: undefined };
    }
    const began = clock();
    const objects = source.objects();
    if (model !== undefined && suspect !== undefined) repair(model, suspect);
    model = buildModel(objects, nodeFacts(objects, config.nodeName, parts.addresses(), config.bindAddress), config, model);
    changed = union(changed, changedIn(model));
    const synced = sync(maps, state, model, config);
    names = frontendNames(state);
    if (synced.written > 0) written = synced.written;
    syncProblems = synced.problems;
    tellProblems();
    if (synced.written > 0) log.info({ written: synced.written, services: model.services.size }, 'applied');
    parts.onApplied?.({
      model,
      objects,
      changed,
      written: synced.written,
      udpStopped: synced.udpStopped,
      tookMs: clock() - began,
      full: whole,
    });
    changed = new Set();
    whole = false;
    if (clock() - lookedAt >= VERIFY_MS) {
      lookedAt = clock();
      look.begin();
    }
    return { againAfterMs: Math.min(synced.retryAfterMs ?? VERIFY_MS, Math.max(0, lookedAt + VERIFY_MS - clock())) };
  };

  const tellProblems = () => {
    const { appeared, gone } = problems.replace(
      model?.problems ?? source.objects().problems,
      syncProblems,
      parts.datapathProblems?.() ?? [],
    );
    for (const problem of appeared) {
      logProblem(log, problem);
      parts.onProblem?.(problem);
    }
    for (const { object, field, reason } of gone) log.info({ object, field, reason }, 'no longer a problem');
  };

  const tellRefusal = (error: KernelError, pause: number) => {
    refusalsEver++;
    // The maps are read again.
    whole = true;
    log.error(
      { operation: error.operation, map: error.map, code: error.code, done: error.done, pauseMs: pause },
      'the kernel refused; trying again',
    );
  };
  const loop: Loop = openLoop(turn, tellRefusal, config);
  const look = openLook(maps, state, (found) => {
    if (found === undefined) return;
    suspect = found;
    loop.dirty();
  });
  source.onChange(() => loop.dirty());

  return {
    dirty: loop.dirty,
    problemsChanged: tellProblems,
    settled: loop.settled,
    model: () => model,
    names() {
      const ports = new Map<number, PortName>();
      // A key is `namespace/name:portName/protocol/family`.
      for (const [id, key] of names) {
        const colon = key.indexOf(':');
        ports.set(id, { service: key.slice(0, colon), port: key.slice(colon + 1).split('/')[0]! });
      }
      return ports;
    },
    serviceOf: (frontend) => names.get(frontend)?.split(':', 1)[0],
    entries: () => heldEntries(state),
    unfit: () => state.unfit,
    serves: (service) => isServed(state, service),
    report() {
      const { oldestChangeMs, refusals, refusal, turns, wanted, applied, notedAt } = loop.state();
      return {
        node: model?.node,
        hasNodeObject: source.objects().nodes.has(config.nodeName),
        services: model?.services.size ?? 0,
        turns,
        written,
        oldestChangeMs,
        refusal: refusal?.message,
        refusals,
        generationWanted: wanted,
        generationApplied: applied,
        notedAt,
        refusalsEver,
        drifts,
        problems: problems.current(),
      };
    },
    close() {
      look.close();
      loop.close();
    },
  };
}
