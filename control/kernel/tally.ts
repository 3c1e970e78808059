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

function nothing() {
  return {
    entries: { 4: 0, 6: 0 },
    byFrontend: new Map<number, number>(),
    byBackend: { 4: new Map<number, number>(), 6: new Map<number, number>() },
  };
}

function increment(counts: Map<number, number>, of: number): void {
  counts.set(of, (counts.get(of) ?? 0) + 1);
}

export function openFlowTally(): FlowTally {
  let current = nothing();
  let counts: FlowCounts | undefined;
  return {
    see: (family) => (_, flow) => {
      current.entries[family]++;
      const isReply = (flow.flags & FlowFlag.FLOW_REPLY) !== 0;
      if (!isReply) increment(current.byFrontend, flow.frontend);
      // The reply's key is where the port is claimed: with the backend's address it is what may run out.
      else if (flow.flags & FlowFlag.FLOW_SEND) increment(current.byBackend[family], flow.backend);
    },
    finish() {
      const { entries, byFrontend, byBackend } = current;
      const claimed = [...byBackend[4].values(), ...byBackend[6].values()];
      const masquerades = claimed.reduce((sum, count) => sum + count, 0);
      const masqueradesOfOne = claimed.reduce((most, count) => Math.max(most, count), 0);
      counts = { entries, byFrontend, masquerades, masqueradesOfOne };
      current = nothing();
    },
    counts: () => counts,
  };
}
