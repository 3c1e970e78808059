// How is something that takes its time done again and again, never twice at once? What is asked for during a round begins after it, once
// for all who asked.

export interface Rounds {
  /** Resolves when a round that began after this call is through. Rejects with what it threw. */
  run(): Promise<void>;
  /** No round begins any more. Resolves when the one under way is through; undefined: there is none. */
  end(): Promise<void> | undefined;
}

/** Nothing is done before the first `run`, which begins at once. */
export function openRounds(round: () => Promise<void>): Rounds {
  let running: Promise<void> | undefined;
  let waiting: Promise<void> | undefined;
  let ended = false;
  const begin = (): Promise<void> => {
    if (ended) return Promise.resolve();
    const mine = round().finally(() => {
      running = undefined;
    });
    running = mine;
    return mine;
  };
  const next = (): Promise<void> => {
    waiting = undefined;
    return begin();
  };
  return {
    run() {
      // Between the end of a round and the beginning of the next there is none, but one that waits.
      if (running === undefined && waiting === undefined) return begin();
      waiting ??= running!.then(next, next);
      return waiting;
    },
    end() {
      ended = true;
      return running?.catch(() => {});
    },
  };
}
