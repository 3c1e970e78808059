// One turn from Model to maps: compile, difference, apply. Keeps between turns what the maps hold and what was planned; after
// a refusal by the kernel both are read anew, so that no turn builds on a guess.

import { AddressFlag } from './abi/layout.gen.ts';
import { type CompileOptions, compile, planProblems } from './compile/compile.ts';
import { FAMILIES, openPlan, type Plan, settle } from './compile/plan.ts';
import { apply } from './kernel/apply.ts';
import { difference, stopsUDP } from './kernel/diff.ts';
import { type Finding, mapFindings } from './kernel/findings.ts';
import { emptyHeld, type Held, mapsOf, readHeld } from './kernel/held.ts';
import type { Maps } from './kernel/maps.ts';
import type { Model, Problem } from './model/model.ts';

/** A monotonic clock in ms. */
export type Clock = () => number;

/** What one agent knows of the maps it writes. */
export interface SyncState {
  readonly clock: Clock;
  /** Undefined after a refusal: to be read again. */
  known: { readonly held: Held; readonly plan: Plan } | undefined;
  /** Keys of the Services that had no room at the last sync. */
  unfit: ReadonlySet<string>;
  /** Clock when retired addresses were looked after last. */
  sweptAt: number;
}

export interface Synced {
  /** Services that do not fit and frontends that another Service has. */
  readonly problems: readonly Problem[];
  /** Entries written or deleted; 0: the maps held everything already. */
  readonly written: number;
  /** Some UDP backend serves no longer: sockets may be connected to it. */
  readonly udpStopped: boolean;
  /** Sync again after this time, in ms, whatever happens: a refused Service may fit then. */
  readonly retryAfterMs: number | undefined;
}

/** Entries of retired addresses are deleted by the expiry of flows; how often that is noticed here. */
const SWEEP_MS = 10_000;

function read(maps: Maps, clock: Clock, unfit: ReadonlySet<string>, held = readHeld(maps)): { held: Held; plan: Plan } {
  // The Plan has the runs now, and their contents are big.
  return { held: { ...held, runs: [] }, plan: openPlan(held, clock(), unfit) };
}

/**
 * Reads what the maps hold: at the start of the agent, whatever is in them. Writes nothing. Throws KernelError. unfit: of
 * an agent that reads them again.
 */
export function adopt(maps: Maps, clock: Clock = () => performance.now(), unfit: ReadonlySet<string> = new Set()): SyncState {
  return { clock, known: read(maps, clock, unfit), unfit, sweptAt: clock() };
}

/** Forgets retired addresses whose entries are gone. */
function sweepRetired(maps: Maps, { held, plan }: { held: Held; plan: Plan }): void {
  for (const family of FAMILIES) {
    const { retired, addresses } = plan.families[family];
    for (const address of retired) {
      if (mapsOf(maps, family).addresses.get(address) === AddressFlag.ADDRESS_RETIRED) continue;
      held.entries[family].addresses.delete(address);
      addresses.delete(address);
      retired.delete(address);
    }
  }
}

/** The same for maps that were made just now and hold nothing. Asks the kernel nothing. */
export function adoptEmpty(maps: Maps, clock: Clock = () => performance.now()): SyncState {
  return { clock, known: read(maps, clock, new Set(), emptyHeld(maps)), unfit: new Set(), sweptAt: clock() };
}

/**
 * Makes the maps hold `model`. Throws KernelError where the kernel refuses a write; nothing is half then, and the next call starts by
 * reading the maps: call it again after a pause.
 */
export function sync(maps: Maps, state: SyncState, model: Model, options: CompileOptions): Synced {
  const { clock } = state;
  const known = state.known ?? read(maps, clock, state.unfit);
  state.known = undefined;
  const { held, plan } = known;
  if (clock() - state.sweptAt >= SWEEP_MS) {
    sweepRetired(maps, known);
    state.sweptAt = clock();
  }
  compile(model, plan, options, clock());
  const changes = difference(held, plan);
  const written = apply(maps, held, changes);
  settle(plan, clock());
  state.known = known;
  state.unfit = new Set(plan.refused.keys());
  const waits = plan.refused.size > 0 && Number.isFinite(plan.retryAt);
  const retryAfterMs = waits ? Math.max(0, plan.retryAt - clock()) : undefined;
  return { problems: planProblems(plan), written, udpStopped: stopsUDP(changes), retryAfterMs };
}

/** What the maps hold otherwise than `model` asks for, read and compiled anew. Writes nothing. Throws KernelError. unfit: as in `adopt`. */
export function compare(maps: Maps, model: Model, options: CompileOptions, unfit?: ReadonlySet<string>): Finding[] {
  const held = readHeld(maps);
  const plan = openPlan(held, 0, unfit);
  compile(model, plan, options, 0);
  return mapFindings(difference(held, plan), held);
}

/** The Service port behind each frontend id, by its key (`namespace/name:portName/protocol/family`): names for `dump`. */
export function frontendNames(state: SyncState): ReadonlyMap<number, string> {
  return state.known?.plan.ids.keys ?? new Map();
}

/** Is a version of the Service in the maps? While they are to be read again: as after the last sync, of those that had room. */
export function isServed(state: SyncState, service: string): boolean {
  return state.known?.plan.services.has(service) ?? !state.unfit.has(service);
}

/** How many entries each map holds of those that the plan decides about, by name; of `slots` those that are in use or rest. */
export function heldEntries(state: SyncState): ReadonlyMap<string, number> | undefined {
  if (state.known === undefined) return undefined;
  const { held, plan } = state.known;
  const counts = new Map<string, number>();
  for (const family of FAMILIES) {
    const { frontends, backends, addresses, source_ranges } = held.entries[family];
    const sizes = { frontends: frontends.size, backends: backends.used, addresses: addresses.size, source_ranges: source_ranges.size };
    for (const [name, size] of Object.entries(sizes)) counts.set(`${name}${family}`, size);
  }
  counts.set('slots', held.slots - plan.runs.gaps.reduce((sum, { count }) => sum + count, 0));
  return counts;
}
