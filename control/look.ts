// When are the maps looked at although nothing changed? In slices of a few milliseconds with the event loop turning in between: a change
// does not wait for the look, however much the maps hold. What is done about drift is the caller's business.

import { type DriftSteps, driftSteps } from './kernel/drift.ts';
import { KernelError, type Maps } from './kernel/maps.ts';
import type { SyncState } from './sync.ts';

/** A change waits for two of them at most. */
const SLICE_MS = 2;

/** What a look found: the first difference, or the kernel's refusal to read; undefined: nothing. */
export type Found = 'drift' | KernelError | undefined;

/** A look at all maps. */
export interface Look {
  /** Begins one, unless one is on its way. */
  begin(): void;
  /** Ends it where it is; none begins after this. */
  close(): void;
}

/** Opens a look over what `state` knows. `onEnd` is told what each look found. */
export function openLook(maps: Maps, state: SyncState, onEnd: (found: Found) => void): Look {
  let immediate: NodeJS.Immediate | undefined;
  let closed = false;

  /** Steps until the slice is over. Undefined: there are more. */
  const proceed = (steps: DriftSteps): { readonly found: Found } | undefined => {
    const until = state.clock() + SLICE_MS;
    try {
      do {
        const { done, value } = steps.next();
        if (done) return { found: value ? 'drift' : undefined };
      } while (state.clock() < until);
      return undefined;
    } catch (error) {
      if (error instanceof KernelError) return { found: error };
      throw error;
    }
  };

  const slice = (steps: DriftSteps, known: SyncState['known']) => {
    immediate = undefined;
    // After a refusal the next turn reads and compares everything: nothing is left to look for.
    const end = state.known === known ? proceed(steps) : { found: undefined };
    if (end === undefined) immediate = setImmediate(slice, steps, known);
    else onEnd(end.found);
  };

  return {
    begin() {
      if (closed || immediate !== undefined || state.known === undefined) return;
      immediate = setImmediate(slice, driftSteps(maps, state.known.held, state.known.plan), state.known);
    },
    close() {
      closed = true;
      clearImmediate(immediate);
    },
  };
}
