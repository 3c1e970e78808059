// When does the agent turn? After a change, never inside the callback that told of it, once for all changes that came
// meanwhile; again after a pause where the kernel refused. What a turn does is the caller's business.

import { KernelError } from './kernel/maps.ts';

const FIRST_PAUSE_MS = 100;

/** How often it turns. */
export interface Pace {
  /** The longest pause after a refusal. */
  readonly syncPeriodMs: number;
  /** From the end of a turn to the next at least; undefined: changes wait only while a turn runs (14.3). */
  readonly minSyncPeriodMs: number | undefined;
}

/** One turn: brings everything up to date. Throws KernelError where the kernel refuses; other errors are bugs and end the process. */
export type Turn = () => {
  /** Turn again after this time even if nothing changes. */
  readonly againAfterMs: number | undefined;
};

export interface LoopState {
  /** Age of the oldest change that is not in the maps yet; undefined: there is none. */
  readonly oldestChangeMs: number | undefined;
  /** Refusals since the last turn that succeeded. */
  readonly refusals: number;
  /** The last of them. */
  readonly refusal: KernelError | undefined;
  /** Turns that succeeded. */
  readonly turns: number;
  /** Changes noted, and how many of them are in the maps. */
  readonly wanted: number;
  readonly applied: number;
  /** When the last of them was noted, in ms since the epoch; undefined: there was none. */
  readonly notedAt: number | undefined;
}

export interface Loop {
  /** Takes note of a change; cheap, and allowed anywhere. */
  dirty(): void;
  /** Resolves when every change noted before is in the maps. */
  settled(): Promise<void>;
  state(): LoopState;
  /** No turn begins after this. */
  close(): void;
}

/** Pause after the n-th refusal in a row, in ms: doubling from 100 to `mostMs`. */
export function pauseMs(refusals: number, mostMs: number): number {
  return Math.min(mostMs, FIRST_PAUSE_MS * 2 ** (refusals - 1));
}

/** Opens a loop that has not turned yet. `onRefusal` is told of every refusal with the pause that follows. */
export function openLoop(turn: Turn, onRefusal: (error: KernelError, pause: number) => void, pace: Pace): Loop {
  let changedAt: number | undefined;
  let immediate: NodeJS.Immediate | undefined;
  let pause: NodeJS.Timeout | undefined;
  let again: NodeJS.Timeout | undefined;
  let refusals = 0;
  let refusal: KernelError | undefined;
  let turns = 0;
  let wanted = 0;
  let applied = 0;
  let notedAt: number | undefined;
  let closed = false;
  let waiting: (() => void)[] = [];

  const run = () => {
    immediate = undefined;
    pause = undefined;
    clearTimeout(again);
    const since = changedAt;
    changedAt = undefined;
    const generation = wanted;
    try {
      const { againAfterMs } = turn();
      turns++;
      applied = generation;
      refusals = 0;
      refusal = undefined;
      if (againAfterMs !== undefined && !closed) again = setTimeout(dirty, againAfterMs);
      if (pace.minSyncPeriodMs !== undefined && !closed) {
        // A change that came during the turn waits too.
        clearImmediate(immediate);
        immediate = undefined;
        pause = setTimeout(endRest, pace.minSyncPeriodMs);
      }
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      refusals++;
      refusal = error;
      changedAt = since;
      // Likewise.
      clearImmediate(immediate);
      immediate = undefined;
      const wait = pauseMs(refusals, pace.syncPeriodMs);
      if (!closed) pause = setTimeout(run, wait);
      onRefusal(error, wait);
      return;
    }
    if (changedAt !== undefined) return;
    const done = waiting;
    waiting = [];
    for (const resolve of done) resolve();
  };

  const endRest = () => {
    pause = undefined;
    if (changedAt !== undefined) run();
  };

  /** During a pause the change waits with the rest: a kernel that refuses is not asked more often because more happens. */
  const dirty = () => {
    if (closed) return;
    wanted++;
    notedAt = Date.now();
    changedAt ??= performance.now();
    if (immediate === undefined && pause === undefined) immediate = setImmediate(run);
  };

  return {
    dirty,
    settled: () =>
      new Promise((resolve) => {
        if (changedAt === undefined) resolve();
        else waiting.push(resolve);
      }),
    state: () => ({
      oldestChangeMs: changedAt === undefined ? undefined : performance.now() - changedAt,
      refusals,
      refusal,
      turns,
      wanted,
      applied,
      notedAt,
    }),
    close() {
      closed = true;
      clearImmediate(immediate);
      clearTimeout(pause);
      clearTimeout(again);
    },
  };
}
