// How many flows are remembered, and whose? Counted by the sweep that looks at every flow anyway, so that nobody walks the tables for it.

import { type Flow4, type Flow6, FlowFlag } from '../abi/layout.gen.ts';
import type { Family } from '../model/model.ts';

/** What the last whole sweep found. */
export interface FlowCounts {
  /** Entries of flows4 and flows6: a flow has two. */
  readonly entries: Readonly<Record<Family, number>>;
  /** Requests by frontend id. */
  readonly byFrontend: ReadonlyMap<number, number>;
  /** Flows that hold a port of the masquerade pool, and the most of them to one backend. */
  readonly masquerades: number;
  readonly masqueradesOfOne: number;
}

export interface FlowTally {
  /** A sweep begins: called with every flow that lives on. */
  see(family: Family): (key: unknown, flow: Flow4 | Flow6) => void;
  /** It is over, of both families: its counts count from now on. */
  finish(): void;
  /** Undefined before the first sweep. */
  counts(): FlowCounts | undefined;
}

interface Seen {
  entries: number;
  readonly byFrontend: Map<number, number>;
  readonly byBackend: Map<number, number>;
}

function nothing(): Seen {
  return { entries: 0, byFrontend: new Map(), byBackend: new Map() };
}

function increment(counts: Map<number, number>, of: number): void {
  counts.set(of, (counts.get(of) ?? 0) + 1);
}

export function openFlowTally(): FlowTally {
  const current: Record<Family, Seen> = { 4: nothing(), 6: nothing() };
  let counts: FlowCounts | undefined;
  return {
    see(family) {
      // Anew: the sweep before may have ended in its middle.
      const seen = nothing();
      current[family] = seen;
      return (_, flow) => {
        seen.entries++;
        const isReply = (flow.flags & FlowFlag.FLOW_REPLY) !== 0;
        if (!isReply) increment(seen.byFrontend, flow.frontend);
        // The reply's key is where the port is claimed: with the backend's address it is what may run out.
        else if (flow.flags & FlowFlag.FLOW_SEND) increment(seen.byBackend, flow.backend);
      };
    },
    finish() {
      const claimed = [...current[4].byBackend.values(), ...current[6].byBackend.values()];
      counts = {
        entries: { 4: current[4].entries, 6: current[6].entries },
        // An id is of one family.
        byFrontend: new Map([...current[4].byFrontend, ...current[6].byFrontend]),
        masquerades: claimed.reduce((sum, count) => sum + count, 0),
        masqueradesOfOne: claimed.reduce((most, count) => Math.max(most, count), 0),
      };
      current[4] = nothing();
      current[6] = nothing();
    },
    counts: () => counts,
  };
}
