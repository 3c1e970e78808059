// How can a map be a value that changes often? Keys in ascending order, in short chunks that two versions share wherever nothing changed:
// a new version costs its changes, and what differs between two is found without a look at the rest.

/** Neighbouring keys with their values; never empty, never changed. */
interface Chunk<V> {
  readonly keys: readonly string[];
  readonly values: readonly V[];
}

/** An immutable map in ascending order of its keys. */
export interface SortedMap<V> extends ReadonlyMap<string, V> {
  readonly chunks: readonly Chunk<V>[];
  /** Another version: keys with their new values, undefined where the key goes. Itself where `changes` is empty. */
  withAll(changes: ReadonlyMap<string, V | undefined>): SortedMap<V>;
}

const CHUNK = 64;

/** Index of the last chunk that begins at or before `key`, 0 where none does. */
function chunkOf(chunks: readonly Chunk<unknown>[], key: string): number {
  let low = 0;
  let high = chunks.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >>> 1;
    if (chunks[middle]!.keys[0]! <= key) low = middle;
    else high = middle - 1;
  }
  return low;
}

/** Index of the first key at or after `key`. */
function placeIn(keys: readonly string[], key: string): number {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (keys[middle]! < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** The entries of a chunk and the changes that fall into it as one run, both ascending. */
function merge<V>(chunk: Chunk<V> | undefined, keys: readonly string[], changes: ReadonlyMap<string, V | undefined>): Chunk<V> {
  const merged = { keys: [] as string[], values: [] as V[] };
  const add = (key: string, value: V) => {
    merged.keys.push(key);
    merged.values.push(value);
  };
  let at = 0;
  for (const key of keys) {
    while (chunk !== undefined && at < chunk.keys.length && chunk.keys[at]! < key) add(chunk.keys[at]!, chunk.values[at++]!);
    if (chunk?.keys[at] === key) at++;
    const value = changes.get(key);
    if (value !== undefined) add(key, value);
  }
  while (chunk !== undefined && at < chunk.keys.length) add(chunk.keys[at]!, chunk.values[at++]!);
  return merged;
}

/** Chunks of a run; none is longer than CHUNK. */
function* cut<V>({ keys, values }: Chunk<V>): Generator<Chunk<V>> {
  const pieces = Math.ceil(keys.length / CHUNK);
  for (let piece = 0, from = 0; piece < pieces; piece++) {
    const to = Math.round((keys.length * (piece + 1)) / pieces);
    yield pieces === 1 ? { keys, values } : { keys: keys.slice(from, to), values: values.slice(from, to) };
    from = to;
  }
}

function apply<V>(chunks: readonly Chunk<V>[], changes: ReadonlyMap<string, V | undefined>): Chunk<V>[] {
  const keys = [...changes.keys()].sort();
  const next: Chunk<V>[] = [];
  let copied = 0;
  for (let at = 0; at < keys.length; ) {
    const index = chunkOf(chunks, keys[at]!);
    while (copied < index) next.push(chunks[copied++]!);
    const end = chunks[index + 1]?.keys[0];
    const first = at;
    while (at < keys.length && (end === undefined || keys[at]! < end)) at++;
    next.push(...cut(merge(chunks[index], keys.slice(first, at), changes)));
    copied = index + 1;
  }
  while (copied < chunks.length) next.push(chunks[copied++]!);
  return next;
}

function open<V>(chunks: readonly Chunk<V>[]): SortedMap<V> {
  const size = chunks.reduce((sum, { keys }) => sum + keys.length, 0);
  const get = (key: string): V | undefined => {
    const chunk = chunks[chunkOf(chunks, key)];
    if (chunk === undefined) return undefined;
    const place = placeIn(chunk.keys, key);
    return chunk.keys[place] === key ? chunk.values[place] : undefined;
  };
  function* entries(): Generator<[string, V], undefined> {
    for (const { keys, values } of chunks) for (let i = 0; i < keys.length; i++) yield [keys[i]!, values[i]!];
  }
  function* keys(): Generator<string, undefined> {
    for (const chunk of chunks) yield* chunk.keys;
  }
  function* values(): Generator<V, undefined> {
    for (const chunk of chunks) yield* chunk.values;
  }
  const map: SortedMap<V> = {
    chunks,
    size,
    get,
    has: (key) => get(key) !== undefined,
    keys,
    values,
    entries,
    [Symbol.iterator]: entries,
    forEach(callback) {
      for (const [key, value] of entries()) callback(value, key, map);
    },
    withAll: (changes) => (changes.size === 0 ? map : open(apply(chunks, changes))),
  };
  return map;
}

/** A map with these entries. A value is never undefined. */
export function sortedMap<V>(entries: Iterable<readonly [string, V]> = []): SortedMap<V> {
  return open<V>([]).withAll(new Map(entries));
}

function isSorted<V>(map: ReadonlyMap<string, V>): map is SortedMap<V> {
  return 'chunks' in map;
}

/** Where a walk over chunks is. */
interface Place {
  chunk: number;
  key: number;
}

/** Keys that are in one of two maps only, or with another value; each once. Between two versions of one map: as many steps as there are differences. */
export function* differences<V>(now: ReadonlyMap<string, V>, before: ReadonlyMap<string, V>): Generator<string> {
  if (now === before) return;
  if (!isSorted(now) || !isSorted(before)) {
    for (const [key, value] of now) if (before.get(key) !== value) yield key;
    for (const key of before.keys()) if (!now.has(key)) yield key;
    return;
  }
  const a: Place = { chunk: 0, key: 0 };
  const b: Place = { chunk: 0, key: 0 };
  for (;;) {
    const [mine, theirs] = [now.chunks[a.chunk], before.chunks[b.chunk]];
    if (mine === undefined && theirs === undefined) return;
    if (mine === theirs && a.key === 0 && b.key === 0) {
      a.chunk++;
      b.chunk++;
      continue;
    }
    const [x, y] = [mine?.keys[a.key], theirs?.keys[b.key]];
    if (x === y) {
      if (mine!.values[a.key] !== theirs!.values[b.key]) yield x!;
      step(a, mine!);
      step(b, theirs!);
    } else if (y === undefined || (x !== undefined && x < y)) {
      yield x!;
      step(a, mine!);
    } else {
      yield y;
      step(b, theirs!);
    }
  }
}

function step(place: Place, chunk: Chunk<unknown>): void {
  if (++place.key < chunk.keys.length) return;
  place.chunk++;
  place.key = 0;
}
