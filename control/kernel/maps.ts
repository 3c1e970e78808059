// How does control speak to the maps? As typed keys and values, over the kernel's maps or over a stand-in in memory;
// the bytes are the layout's business. Nothing here knows what an entry means.

import type { Codec } from '../abi/codec.ts';
import { MAPS, type MapName } from '../abi/layout.gen.ts';
import { memoryCalls } from './memory.ts';
import type { Native } from './native.ts';

/** A map of the page. Every refusal of the kernel is a KernelError; a value that does not fit its field is a RangeError. */
export interface TypedMap<K, V> {
  readonly name: string;
  readonly maxEntries: number;
  /** undefined where there is no entry. An array has one at every index; a per-CPU value is the sum over the CPUs; a trie answers with the longest prefix. */
  get(key: K): V | undefined;
  /** 'noexist' throws EEXIST where there is an entry, 'exist' throws ENOENT where there is none. */
  set(key: K, value: V, mode?: 'any' | 'noexist' | 'exist'): void;
  /** false where there was no entry. Arrays refuse with EINVAL. */
  delete(key: K): boolean;
  /** In the given order; a refusal's `done` counts the entries that were written before it. */
  setMany(entries: readonly (readonly [K, V])[]): void;
  /** Absent keys are passed over; a refusal's `done` counts the keys dealt with before it. */
  deleteMany(keys: readonly K[]): void;
  /** All entries in no order; of an array those that are not zero, ascending. What changes meanwhile may be seen or not. */
  entries(): IterableIterator<[K, V]>;
  /** The same in pages of about `limit` entries, to pause in between. A page may be empty. */
  pages(limit: number): IterableIterator<[K, V][]>;
}

/** The slots: plain memory that the programs see at once. */
export interface Slots {
  readonly length: number;
  get(index: number): number;
  /** Writes ids from index `first` on. Throws RangeError where they do not fit. */
  fill(first: number, ids: ArrayLike<number>): void;
}

type KeyOf<N extends MapName> = (typeof MAPS)[N]['key'] extends Codec<infer K> ? K : never;
type ValueOf<N extends MapName> = (typeof MAPS)[N]['value'] extends Codec<infer V> ? V : never;

/** Every map of the page by its name. */
export type Maps = { readonly [N in Exclude<MapName, 'slots'>]: TypedMap<KeyOf<N>, ValueOf<N>> } & { readonly slots: Slots };

/** What a map can be asked, as bytes. */
export type MapCalls = Pick<
  Native,
  'mapInfo' | 'mapLookup' | 'mapUpdate' | 'mapDelete' | 'mapUpdateBatch' | 'mapDeleteBatch' | 'mapPage' | 'mapMemory'
>;

/** The kernel said no. `code` is its errno (`E2BIG`: a hash is full), `done` how much of a batch it did before. */
export class KernelError extends Error {
  override readonly name = 'KernelError';
  readonly operation: string;
  readonly map: string;
  readonly code: string;
  readonly done: number | undefined;

  constructor(operation: string, map: string, code: string, done?: number, options?: ErrorOptions) {
    super(`${operation} ${map}: ${code}${done === undefined ? '' : ` after ${done}`}`, options);
    this.operation = operation;
    this.map = map;
    this.code = code;
    this.done = done;
  }
}

interface MapLayout<K, V> {
  readonly name: string;
  readonly type: number;
  readonly perCpu: boolean;
  readonly key: Codec<K>;
  readonly value: Codec<V>;
}

const MODES = { any: 0, noexist: 1, exist: 2 } as const;
const ARRAY = 2;
const PERCPU_ARRAY = 6;
/** Entries of one call. More brings no more speed. */
const CHUNK = 1024;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Runs a call; its refusal becomes a KernelError, `before` entries having been done by earlier calls. */
function ask<T>(operation: string, map: string, call: () => T, before?: number): T {
  try {
    return call();
  } catch (error) {
    if (!(error instanceof Error && 'syscall' in error && 'code' in error)) throw error;
    const done = before === undefined ? undefined : before + ('done' in error ? Number(error.done) : 0);
    throw new KernelError(operation, map, String(error.code), done, { cause: error });
  }
}

/** Adds the values of all CPUs: they are 64-bit counters. */
function sum(bytes: Uint8Array, size: number): Uint8Array {
  const total = new Uint8Array(size);
  const from = viewOf(bytes);
  const to = viewOf(total);
  for (let at = 0; at < bytes.byteLength; at += 8) {
    to.setBigUint64(at % size, to.getBigUint64(at % size, true) + from.getBigUint64(at, true), true);
  }
  return total;
}

function isZero(bytes: Uint8Array, at: number, size: number): boolean {
  for (let i = at; i < at + size; i++) if (bytes[i] !== 0) return false;
  return true;
}

function typedMap<K, V>(calls: MapCalls, fd: number, layout: MapLayout<K, V>): TypedMap<K, V> {
  const { name, key, value } = layout;
  const { maxEntries, keySize, valueSize } = ask('open', name, () => calls.mapInfo(fd));
  if (keySize !== key.size || valueSize !== value.size || (layout.perCpu && value.size % 8 !== 0)) {
    throw new Error(`map ${name} has keys of ${keySize} and values of ${valueSize} bytes; the layout has ${key.size} and ${value.size}`);
  }
  const isArray = layout.type === ARRAY || layout.type === PERCPU_ARRAY;
  const keyBytes = new Uint8Array(key.size);
  const keyView = viewOf(keyBytes);

  function encodeKey(given: K): Uint8Array {
    key.encode(given, keyView, 0);
    return keyBytes;
  }

  /** Bytes of one value as the kernel gives it. A value that is written goes to the first CPU, the others become zero. */
  let stride = value.size;
  if (layout.perCpu) stride = calls.mapLookup(fd, new Uint8Array(key.size))?.byteLength ?? value.size;

  function* pages(limit: number): IterableIterator<[K, V][]> {
    let cursor: Uint8Array | undefined;
    do {
      const page = ask('page', name, () => calls.mapPage(fd, cursor, limit));
      const keys = viewOf(page.keys);
      const values = viewOf(page.values);
      const entries: [K, V][] = [];
      for (let i = 0; i < page.count; i++) {
        const at = i * stride;
        if (isArray && isZero(page.values, at, stride)) continue;
        const read = layout.perCpu
          ? value.decode(viewOf(sum(page.values.subarray(at, at + stride), value.size)), 0)
          : value.decode(values, at);
        entries.push([key.decode(keys, i * key.size), read]);
      }
      yield entries;
      cursor = page.cursor;
    } while (cursor !== undefined);
  }

  return {
    name,
    maxEntries,
    pages,
    get(given) {
      const bytes = ask('get', name, () => calls.mapLookup(fd, encodeKey(given)));
      if (bytes === undefined) return undefined;
      return value.decode(viewOf(layout.perCpu ? sum(bytes, value.size) : bytes), 0);
    },
    set(given, entry, mode = 'any') {
      const bytes = new Uint8Array(stride);
      value.encode(entry, viewOf(bytes), 0);
      ask('set', name, () => calls.mapUpdate(fd, encodeKey(given), bytes, MODES[mode]));
    },
    delete: (given) => ask('delete', name, () => calls.mapDelete(fd, encodeKey(given))),
    setMany(entries) {
      const most = Math.min(CHUNK, entries.length);
      const keys = new Uint8Array(most * key.size);
      const values = new Uint8Array(most * stride);
      const [keysView, valuesView] = [viewOf(keys), viewOf(values)];
      for (let done = 0; done < entries.length; done += most) {
        const count = Math.min(most, entries.length - done);
        for (let i = 0; i < count; i++) {
          const entry = entries[done + i]!;
          key.encode(entry[0], keysView, i * key.size);
          value.encode(entry[1], valuesView, i * stride);
        }
        const [some, theirs] = [keys.subarray(0, count * key.size), values.subarray(0, count * stride)];
        ask('set', name, () => calls.mapUpdateBatch(fd, some, theirs, count, MODES.any), done);
      }
    },
    deleteMany(given) {
      const most = Math.min(CHUNK, given.length);
      const keys = new Uint8Array(most * key.size);
      const keysView = viewOf(keys);
      for (let done = 0; done < given.length; done += most) {
        const count = Math.min(most, given.length - done);
        for (let i = 0; i < count; i++) key.encode(given[done + i]!, keysView, i * key.size);
        ask('delete', name, () => calls.mapDeleteBatch(fd, keys.subarray(0, count * key.size), count), done);
      }
    },
    *entries() {
      for (const page of pages(CHUNK)) yield* page;
    },
  };
}

/** The memory of an mmapable array of 32-bit values; the kernel rounds each up to 8 bytes. */
function openSlots(calls: MapCalls, fd: number): Slots {
  const length = ask('open', 'slots', () => calls.mapInfo(fd)).maxEntries;
  const memory = new Uint32Array(ask('map', 'slots', () => calls.mapMemory(fd)));
  const stride = memory.length / length;
  function check(first: number, count: number): void {
    if (!Number.isInteger(first) || first < 0 || first + count > length) {
      throw new RangeError(`slots ${first} to ${first + count - 1} are not among ${length}`);
    }
  }
  return {
    length,
    get(index) {
      check(index, 1);
      return memory[index * stride]!;
    },
    fill(first, ids) {
      check(first, ids.length);
      for (let i = 0; i < ids.length; i++) memory[(first + i) * stride] = ids[i]!;
    },
  };
}

/** The maps behind descriptors, by map name. Throws where one is missing or has another shape than the layout. */
export function kernelMaps(calls: MapCalls, fds: Readonly<Record<string, number>>): Maps {
  const maps: Record<string, TypedMap<unknown, unknown> | Slots> = {};
  for (const layout of Object.values(MAPS)) {
    const fd = fds[layout.name];
    if (fd === undefined) throw new Error(`no descriptor for map ${layout.name}`);
    maps[layout.name] = layout.name === 'slots' ? openSlots(calls, fd) : typedMap(calls, fd, layout as MapLayout<unknown, unknown>);
  }
  return maps as unknown as Maps;
}

/** The same maps in memory, empty, with the page's sizes where none are given. */
export function memoryMaps(sizes: Partial<Record<MapName, number>> = {}): Maps {
  const { calls, fds } = memoryCalls(sizes);
  return kernelMaps(calls, fds);
}
