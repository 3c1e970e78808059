// Which Problems are new, and which are over? Each is told once when it appears and once when it goes, however often the loop turns.

import type { Problem } from '../model/model.ts';

/** Two Problems with one identity are the same Problem. */
export function problemKey(problem: Problem): string {
  return JSON.stringify([problem.object, problem.origin ?? '', problem.field ?? '', problem.reason, problem.message]);
}

export interface ProblemChanges {
  readonly appeared: readonly Problem[];
  readonly gone: readonly Problem[];
}

export interface ProblemSet {
  /** Replaces the current Problems and says what changed; duplicates count once. */
  replace(problems: Iterable<Problem>): ProblemChanges;
  /** The current Problems without duplicates, in the order given. */
  current(): readonly Problem[];
}

export function problemSet(): ProblemSet {
  let held = new Map<string, Problem>();
  return {
    replace(problems) {
      const next = new Map<string, Problem>();
      for (const problem of problems) next.set(problemKey(problem), problem);
      const appeared = [...next].filter(([key]) => !held.has(key)).map(([, problem]) => problem);
      const gone = [...held].filter(([key]) => !next.has(key)).map(([, problem]) => problem);
      held = next;
      return { appeared, gone };
    },
    current: () => [...held.values()],
  };
}
