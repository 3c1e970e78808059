// How is a list kept for long? Without room to spare, and the empty one once: a big cluster has a million lists.

const EMPTY: readonly never[] = [];

/** A copy that is exactly as long as it has to be. */
export function trimmed<T>(list: readonly T[]): readonly T[] {
  return list.length === 0 ? EMPTY : list.slice();
}

/** Those that are there. */
export function present<T>(list: readonly (T | undefined)[]): readonly T[] {
  return list.includes(undefined) ? trimmed(list.filter((one) => one !== undefined)) : trimmed(list as readonly T[]);
}
