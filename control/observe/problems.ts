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
  /** Replaces the current Problems, given in parts, and says what changed; duplicates count once. The parts given before cost nothing. */
  replace(...parts: readonly (readonly Problem[])[]): ProblemChanges;
  /** The current Problems without duplicates, in the order given. */
  current(): readonly Problem[];
}

const NONE: ProblemChanges = { appeared: [], gone: [] };

function sameList(some: readonly Problem[], others: readonly Problem[] | undefined): boolean {
  return some === others || (some.length === others?.length && some.every((one, i) => one === others[i]));
}

export function problemSet(): ProblemSet {
  let held = new Map<string, Problem>();
  let given: readonly (readonly Problem[])[] = [];
  const keys = new WeakMap<Problem, string>();
  const keyOf = (problem: Problem): string => {
    const key = keys.get(problem) ?? problemKey(problem);
    keys.set(problem, key);
    return key;
  };
  return {
    replace(...parts) {
      if (parts.length === given.length && parts.every((part, i) => sameList(part, given[i]))) return NONE;
      given = parts;
      const next = new Map<string, Problem>();
      for (const part of parts) for (const problem of part) next.set(keyOf(problem), problem);
      const appeared = [...next].filter(([key]) => !held.has(key)).map(([, problem]) => problem);
      const gone = [...held].filter(([key]) => !next.has(key)).map(([, problem]) => problem);
      held = next;
      return { appeared, gone };
    },
    current: () => [...held.values()],
  };
}
