// What would the kernel's maps do? The calls of the addon on maps in memory, refusals included, for tests and for plans
// that nobody programs. The suite of test/lib/map-suite.ts holds both to the same behaviour.

import { MAPS, type MapName } from '../abi/layout.gen.ts';
import type { MapCalls } from './maps.ts';
import type { MapInfo } from './native.ts';

const [ARRAY, PERCPU_ARRAY, LRU_HASH, LPM_TRIE] = [2, 6, 9, 11];
const [NOEXIST, EXIST] = [1, 2];

interface Entry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
  /** Place in the order of insertion: what a cursor remembers. */
  readonly order: number;
}

interface MemoryMap {
  lookup(key: Uint8Array): Uint8Array | undefined;
  update(key: Uint8Array, value: Uint8Array, flags: number): void;
  remove(key: Uint8Array): boolean;
  entries(): Iterable<Entry>;
}

function refusal(code: string, syscall: string): Error & { code: string; syscall: string } {
  return Object.assign(new Error(`${syscall}: ${code}`), { code, syscall });
}

function identity(key: Uint8Array): string {
  return String.fromCharCode(...key);
}

/** Hash, LRU hash and trie: entries by what makes two keys the same. An LRU gives up its oldest entry when it is full. */
function keyedMap(info: MapInfo, same: (key: Uint8Array) => string, full: string): MemoryMap & { byIdentity: Map<string, Entry> } {
  const byIdentity = new Map<string, Entry>();
  let order = 0;
  return {
    byIdentity,
    lookup: (key) => byIdentity.get(same(key))?.value.slice(),
    update(key, value, flags) {
      const name = same(key);
      const old = byIdentity.get(name);
      if (flags === NOEXIST && old !== undefined) throw refusal('EEXIST', 'bpf_map_update_elem');
      if (flags === EXIST && old === undefined) throw refusal('ENOENT', 'bpf_map_update_elem');
      if (old === undefined && byIdentity.size >= info.maxEntries) {
        const oldest = byIdentity.keys().next().value;
        if (info.type !== LRU_HASH || oldest === undefined) throw refusal(full, 'bpf_map_update_elem');
        byIdentity.delete(oldest);
      }
      byIdentity.set(name, { key: key.slice(), value: value.slice(), order: old?.order ?? ++order });
    },
    remove: (key) => byIdentity.delete(same(key)),
    entries: () => byIdentity.values(),
  };
}

/** Every index has a value; those that are zero take no room and are not listed. */
function arrayMap(info: MapInfo): MemoryMap {
  const values = new Map<number, Uint8Array>();
  const indexOf = (key: Uint8Array): number => new DataView(key.buffer, key.byteOffset).getUint32(0, true);
  return {
    lookup(key) {
      const index = indexOf(key);
      return index < info.maxEntries ? (values.get(index)?.slice() ?? new Uint8Array(info.valueSize)) : undefined;
    },
    update(key, value, flags) {
      const index = indexOf(key);
      if (index >= info.maxEntries) throw refusal('E2BIG', 'bpf_map_update_elem');
      if (flags === NOEXIST) throw refusal('EEXIST', 'bpf_map_update_elem');
      if (value.some((byte) => byte !== 0)) values.set(index, value.slice());
      else values.delete(index);
    },
    remove() {
      throw refusal('EINVAL', 'bpf_map_delete_elem');
    },
    entries: () =>
      [...values.keys()]
        .sort((a, b) => a - b)
        .map((index) => ({ key: new Uint8Array(Uint32Array.of(index).buffer), value: values.get(index)!, order: index + 1 })),
  };
}

/** Keys are a prefix length and bits; only the bits of the prefix count, and a look-up finds the longest prefix. */
function trieMap(info: MapInfo): MemoryMap {
  const bits = (info.keySize - 4) * 8;
  const lengthOf = (key: Uint8Array): number => new DataView(key.buffer, key.byteOffset).getUint32(0, true);
  const cut = (key: Uint8Array, length: number): string => {
    const prefix = key.slice();
    new DataView(prefix.buffer).setUint32(0, length, true);
    for (let i = 4; i < prefix.length; i++) prefix[i]! &= 0xff00 >> Math.min(8, Math.max(0, length - (i - 4) * 8));
    return identity(prefix);
  };
  const checked = (key: Uint8Array): number => {
    const length = lengthOf(key);
    if (length > bits) throw refusal('EINVAL', 'bpf_map_update_elem');
    return length;
  };
  const keyed = keyedMap(info, (key) => cut(key, checked(key)), 'ENOSPC');
  return {
    ...keyed,
    lookup(key) {
      if (lengthOf(key) > bits) return undefined;
      for (let length = lengthOf(key); length >= 0; length--) {
        const entry = keyed.byIdentity.get(cut(key, length));
        if (entry !== undefined) return entry.value.slice();
      }
      return undefined;
    },
  };
}

function openMap(info: MapInfo): MemoryMap {
  if (info.type === ARRAY || info.type === PERCPU_ARRAY) return arrayMap(info);
  return info.type === LPM_TRIE ? trieMap(info) : keyedMap(info, identity, 'E2BIG');
}

function checkLength(bytes: Uint8Array, size: number): void {
  if (bytes.byteLength !== size) throw new TypeError(`must be ${size} bytes for this map, not ${bytes.byteLength}`);
}

/** Runs one step per entry; a refusal carries how many were done. */
function batch(count: number, step: (index: number) => void): void {
  for (let done = 0; done < count; done++) {
    try {
      step(done);
    } catch (error) {
      throw Object.assign(error as Error, { done });
    }
  }
}

function joined(parts: readonly Uint8Array[], size: number): Uint8Array {
  const all = new Uint8Array(parts.length * size);
  for (const [i, part] of parts.entries()) all.set(part, i * size);
  return all;
}

/** The calls and one descriptor for every map of the page. */
export function memoryCalls(sizes: Partial<Record<MapName, number>> = {}): { calls: MapCalls; fds: Record<MapName, number> } {
  const infos: MapInfo[] = Object.values(MAPS).map((layout, id) => ({
    ...{ id, name: layout.name, type: layout.type, flags: layout.flags },
    ...{ keySize: layout.key.size, valueSize: layout.value.size, maxEntries: sizes[layout.name] ?? layout.maxEntries },
  }));
  const opened = infos.map(openMap);
  const memories = new Map<number, ArrayBuffer>();
  const at = (fd: number): [MemoryMap, MapInfo] => {
    const map = opened[fd];
    if (map === undefined) throw refusal('EBADF', 'bpf');
    return [map, infos[fd]!];
  };
  const calls: MapCalls = {
    mapInfo: (fd) => at(fd)[1],
    mapLookup(fd, key) {
      const [map, info] = at(fd);
      checkLength(key, info.keySize);
      return map.lookup(key);
    },
    mapUpdate(fd, key, value, flags) {
      const [map, info] = at(fd);
      checkLength(key, info.keySize);
      checkLength(value, info.valueSize);
      map.update(key, value, flags);
    },
    mapDelete(fd, key) {
      const [map, info] = at(fd);
      checkLength(key, info.keySize);
      return map.remove(key);
    },
    mapUpdateBatch(fd, keys, values, count, flags) {
      const [map, { keySize, valueSize }] = at(fd);
      checkLength(keys, count * keySize);
      checkLength(values, count * valueSize);
      batch(count, (i) =>
        map.update(keys.subarray(i * keySize, (i + 1) * keySize), values.subarray(i * valueSize, (i + 1) * valueSize), flags),
      );
      return count;
    },
    mapDeleteBatch(fd, keys, count) {
      const [map, { keySize }] = at(fd);
      checkLength(keys, count * keySize);
      let deleted = 0;
      batch(count, (i) => {
        if (map.remove(keys.subarray(i * keySize, (i + 1) * keySize))) deleted++;
      });
      return deleted;
    },
    mapPage(fd, cursor, limit) {
      const [map, info] = at(fd);
      const after = cursor === undefined ? 0 : new DataView(cursor.buffer, cursor.byteOffset).getFloat64(0);
      const found: Entry[] = [];
      let more = false;
      for (const entry of map.entries()) {
        if (entry.order <= after) continue;
        more = found.length === limit;
        if (more) break;
        found.push(entry);
      }
      const last = more ? new Uint8Array(8) : undefined;
      if (last !== undefined) new DataView(last.buffer).setFloat64(0, found.at(-1)!.order);
      return {
        count: found.length,
        keys: joined(
          found.map((entry) => entry.key),
          info.keySize,
        ),
        values: joined(
          found.map((entry) => entry.value),
          info.valueSize,
        ),
        cursor: last,
      };
    },
    mapMemory(fd) {
      const memory = memories.get(fd) ?? new ArrayBuffer(at(fd)[1].maxEntries * 8);
      memories.set(fd, memory);
      return memory;
    },
  };
  return { calls, fds: Object.fromEntries(infos.map((info) => [info.name, info.id])) as Record<MapName, number> };
}
