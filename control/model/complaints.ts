// How are the Problems of one object gathered? With the path of the field each, and never more than a person would read.

import type { Problem } from './model.ts';

/** Problems kept of one object; what exceeds them is counted in one more. */
const PROBLEMS_SHOWN = 16;

const NONE: readonly Problem[] = [];

/** The complaints about one object. */
export interface Complaints {
  /** Takes note of one; `field` is its path, `reason` a CamelCase word, `message` a sentence. */
  add(field: string, reason: string, message: string): void;
  readonly count: number;
  problems(): readonly Problem[];
}

export function complaintsAbout(object: string, origin: string | undefined): Complaints {
  const kept: Problem[] = [];
  let count = 0;
  const problem = (field: string | undefined, reason: string, message: string): Problem => ({
    object,
    ...(origin === undefined ? {} : { origin }),
    ...(field === undefined ? {} : { field }),
    reason,
    message,
  });
  return {
    add(field, reason, message) {
      count++;
      if (kept.length < PROBLEMS_SHOWN) kept.push(problem(field, reason, message));
    },
    get count() {
      return count;
    },
    problems() {
      if (count === 0) return NONE;
      if (count <= kept.length) return kept;
      return [...kept, problem(undefined, 'MoreProblems', `${count - kept.length} more problems of this object are not listed`)];
    },
  };
}

/** A value as it was given, short enough for a sentence. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  let text: string;
  try {
    text = JSON.stringify(value) ?? typeof value;
  } catch {
    text = typeof value;
  }
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}
