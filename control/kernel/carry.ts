// How do connections get from maps of another layout or other sizes into ours? Backends keep their ids, so that a flow means the same;
// flows, affinities and sockets' choices are copied, field by field by name, while programs of both generations run: what is there stays.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { FlowFlag, LAYOUT, MAPS, type MapName, SettingFlag, Settings } from '../abi/layout.gen.ts';
import { type Layout, translation, WORD_SIZES } from '../abi/translation.ts';
import { type ExpiryClock, isOver, type Life } from './expire.ts';
import { KernelError } from './maps.ts';
import type { Native } from './native.ts';
import type { Pins } from './pins.ts';

/** What packets remember. New flows first: one that is confirmed meanwhile is met where it moves to. */
export const FLOW_MAPS: readonly MapName[] = ['new_flows4', 'new_flows6', 'flows4', 'flows6', 'affinities'];
/** What the socket hook remembers. */
export const SOCKET_MAPS: readonly MapName[] = ['socket_flows'];

/** What a flow or a call finds in place before the first turn: whom ids mean, which addresses have flows, what held for every packet. */
const GROUND_MAPS: readonly MapName[] = ['backends4', 'backends6', 'addresses4', 'addresses6', 'exempt_cgroups', 'settings'];

/** Entries looked at before the event loop turns. */
const PAGE = 2048;
const NOEXIST = 1;
/** enum bpf_map_type. */
const ARRAY = 2;

export type Descriptors = Readonly<Record<string, number>>;

/** A generation that serves, and what its maps hold. */
export interface Source {
  readonly pins: Pins;
  readonly layout: Layout;
}

export interface Carried {
  /** Entries that were not there. */
  readonly entries: number;
  /** Entries for which a map had no room. */
  readonly unfit: number;
}

interface Raw {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** Pages of a map of another generation, translated; of an array the entries that are not zero. None where it or we have no such map. */
function* translated(native: Native, { pins, layout }: Source, map: MapName): Generator<Raw[]> {
  const between = translation(layout, LAYOUT, map);
  const fd = between && native.openPin(pins.map(map));
  if (between === undefined || fd === undefined) return;
  try {
    const { type, keySize, valueSize } = native.mapInfo(fd);
    if (keySize !== between.keySize || valueSize !== between.valueSize)
      throw new Error(`map ${map} in ${pins.directory} is not what the description beside it says`);
    let cursor: Uint8Array | undefined;
    do {
      const page = native.mapPage(fd, cursor, PAGE);
      const entries: Raw[] = [];
      for (let i = 0; i < page.count; i++) {
        if (type === ARRAY && isZero(page.values, i * valueSize, valueSize)) continue;
        entries.push({ key: between.key(page.keys, i * keySize), value: between.value(page.values, i * valueSize) });
      }
      yield entries;
      cursor = page.cursor;
    } while (cursor !== undefined);
  } finally {
    native.closeFd(fd);
  }
}

function isZero(bytes: Uint8Array, at: number, size: number): boolean {
  for (let i = at; i < at + size; i++) if (bytes[i] !== 0) return false;
  return true;
}

const wordAt = (bytes: Uint8Array, at: number) => new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);
const putWord = (bytes: Uint8Array, at: number, word: number) => new DataView(bytes.buffer, bytes.byteOffset).setUint32(at, word, true);

function offsetOf(struct: string, field: string): number {
  return LAYOUT.structs[struct]!.fields[field]![0];
}

/** Fills new maps, by which nothing is attached yet, with what the newest generation says about backends and addresses. */
export function seedMaps(native: Native, from: Source, to: Descriptors): void {
  for (const map of GROUND_MAPS) {
    const fd = to[map]!;
    const { maxEntries } = native.mapInfo(fd);
    const array = MAPS[map].type === ARRAY;
    const homeless: Uint8Array[] = [];
    const used = new Set<number>();
    for (const entries of translated(native, from, map))
      for (const { key, value } of entries) {
        if (array && map !== 'settings') {
          if (wordAt(key, 0) >= maxEntries) {
            homeless.push(value);
            continue;
          }
          used.add(wordAt(key, 0));
        }
        if (map === 'settings') {
          const at = offsetOf('settings', 'flags');
          putWord(value, at, wordAt(value, at) | SettingFlag.SETTING_YIELD);
        }
        if (!put(native, fd, map, key, value, 0)) break;
      }
    // Fewer ids than before: the lowest that are free.
    let id = 1;
    for (const value of homeless) {
      while (used.has(id)) id++;
      if (id >= maxEntries) break;
      used.add(id);
      const key = new Uint8Array(4);
      putWord(key, 0, id);
      put(native, fd, map, key, value, 0);
    }
  }
}

/** false: the map is full. Somebody may have been faster, and is right. */
function put(native: Native, fd: number, map: string, key: Uint8Array, value: Uint8Array, flags: number): boolean {
  try {
    native.mapUpdate(fd, key, value, flags);
    return true;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? String(error.code) : '';
    if (code === 'EEXIST') return true;
    if (code === 'E2BIG' || code === 'ENOMEM') return false;
    if (code === '') throw error;
    throw new KernelError('carry', map, code, undefined, { cause: error });
  }
}

/** Backends by what they are, without flags: the id that an entry of the other generation has here. */
function backendNames(native: Native, fd: number, struct: string): Map<string, number> {
  const names = new Map<string, number>();
  const size = LAYOUT.structs[struct]!.size;
  let cursor: Uint8Array | undefined;
  do {
    const page = native.mapPage(fd, cursor, PAGE);
    for (let i = 0; i < page.count; i++) {
      const value = page.values.subarray(i * size, (i + 1) * size);
      if (!isZero(value, 0, size)) names.set(nameOf(value, struct), wordAt(page.keys, i * 4));
    }
    cursor = page.cursor;
  } while (cursor !== undefined);
  return names;
}

function nameOf(value: Uint8Array, struct: string): string {
  const bytes = value.slice();
  bytes[offsetOf(struct, 'flags')] = 0;
  return Buffer.from(bytes).toString('latin1');
}

/** Ids of backends that had to move because there are fewer ids than there were. */
function movedBackends(native: Native, from: Source, to: Descriptors, family: 4 | 6): Map<number, number> {
  const [map, struct] = [`backends${family}` as const, `backend${family}`];
  const moved = new Map<number, number>();
  const limit = native.mapInfo(to[map]!).maxEntries;
  const before = native.openPin(from.pins.map(map));
  if (before === undefined) return moved;
  const { maxEntries } = native.mapInfo(before);
  native.closeFd(before);
  if (maxEntries <= limit) return moved;
  let names: Map<string, number> | undefined;
  for (const entries of translated(native, from, map))
    for (const { key, value } of entries) {
      if (wordAt(key, 0) < limit) continue;
      names ??= backendNames(native, to[map]!, struct);
      moved.set(wordAt(key, 0), names.get(nameOf(value, struct)) ?? 0);
    }
  return moved;
}

/** What else names a backend by id, and the address of its key that tells the family; a network namespace in its place tells none. */
const CHOICES: Partial<Record<MapName, { readonly key: string; readonly address: string; readonly value: string }>> = {
  affinities: { key: 'affinity_key', address: 'client', value: 'affinity' },
  socket_flows: { key: 'socket_key', address: 'address', value: 'socket_flow' },
};

/** RFC 4291 2.5.5.2: IPv4 in an IPv6 address. */
function isMapped4(bytes: Uint8Array, at: number): boolean {
  return isZero(bytes, at, 10) && bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
}

/** What a flow entry is about; the rest changes with its packets. */
const CHOICE = ['backend', 'generation', 'flags', 'source_port', 'destination_port', 'source', 'destination'] as const;

function sameChoice(a: Uint8Array, b: Uint8Array, struct: string): boolean {
  return CHOICE.every((field) => {
    const [at, type] = LAYOUT.structs[struct]!.fields[field]!;
    for (let i = at; i < at + WORD_SIZES[type]!; i++) if (a[i] !== b[i]) return false;
    return true;
  });
}

/** A flow entry of the other generation as it is now, and in which of its homes. */
interface Now {
  readonly map: MapName;
  readonly value: Uint8Array;
}

function openNow(
  native: Native,
  { pins, layout }: Source,
  family: 4 | 6,
): { find(key: Uint8Array): Now | undefined; remove(key: Uint8Array): void; close(): void } {
  const homes = ([`flows${family}`, `new_flows${family}`] as const).flatMap((map) => {
    const between = translation(layout, LAYOUT, map);
    const back = translation(LAYOUT, layout, map);
    const fd = between && back && native.openPin(pins.map(map));
    return between === undefined || back === undefined || fd === undefined ? [] : [{ map, fd, value: between.value, key: back.key }];
  });
  return {
    find(key) {
      for (const { map, fd, value, key: back } of homes) {
        const found = native.mapLookup(fd, back(key, 0));
        if (found !== undefined) return { map, value: value(found, 0) };
      }
      return undefined;
    },
    remove(key) {
      for (const { fd, key: back } of homes) native.mapDelete(fd, back(key, 0));
    },
    close() {
      for (const { fd } of homes) native.closeFd(fd);
    },
  };
}

/** Key of a flow's other direction: the tuple after the rewrite, reversed. */
function peerOf(key: Uint8Array, value: Uint8Array, family: 4 | 6): Uint8Array {
  const [from, to] = [LAYOUT.structs[`flow${family}`]!.fields, LAYOUT.structs[`flow_key${family}`]!.fields];
  const peer = key.slice();
  for (const [field, source] of [
    ['source', 'destination'],
    ['destination', 'source'],
    ['source_port', 'destination_port'],
    ['destination_port', 'source_port'],
  ] as const) {
    const [at, type] = from[source]!;
    peer.set(value.subarray(at, at + WORD_SIZES[type]!), to[field]![0]);
  }
  return peer;
}

const textOf = (key: Uint8Array) => Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');

/**
 * Flow keys that are ours: once copied, or begun here. The other generation's entry says no more what became of them, also where ours has ended
 * since; the same holds for the other direction of a flow that has ended.
 */
export type OwnFlows = Set<string>;

/**
 * Who gives new flows their backends and ports? While it is the other generation only flows are copied whose tuples it gives to nobody else and
 * that it would still serve if ours went again: whole in both directions, not closing, in the first half of their time. An answer to a new flow
 * would meet the old one's copy here, and go to its client. Once it is ours, the rest is copied, and what is ours leaves the other
 * generation's maps, so that who ends this after us does not take it for alive.
 */
export type Deciding = 'theirs' | 'ours';

const CLOSING = FlowFlag.FLOW_FIN | FlowFlag.FLOW_PEER_FIN | FlowFlag.FLOW_RST;

/** The other generation's own times (ours where it does not say), halved where only the first half counts. now: low 32 bits of jiffies64. */
function clockOf(native: Native, from: Source, to: Descriptors, deciding: Deciding, now: number): ExpiryClock {
  const value = [...translated(native, from, 'settings')].flat()[0]?.value ?? native.mapLookup(to.settings!, new Uint8Array(4))!;
  const settings = Settings.decode(new DataView(value.buffer, value.byteOffset), 0);
  const part = (timeout: number) => (deciding === 'theirs' ? timeout / 2 : timeout);
  return {
    now,
    settings: {
      ...settings,
      tcp_syn_timeout: part(settings.tcp_syn_timeout),
      tcp_established_timeout: part(settings.tcp_established_timeout),
      tcp_close_timeout: part(settings.tcp_close_timeout),
      udp_timeout: part(settings.udp_timeout),
      udp_stream_timeout: part(settings.udp_stream_timeout),
    },
    closeWaitTimeout: Number.POSITIVE_INFINITY,
  };
}

/**
 * Copies flows that are not there yet, both directions of each at once: a flow of which ours knows one direction and the other generation the other
 * would end in halves. Packets go on meanwhile: a client may use its port again, for another backend, between our look and our write. So the
 * other generation is asked once more when the entry is in ours, and what it no longer says is taken back; the next pass gets it as it is then.
 * The event loop turns in between. Throws KernelError.
 */
async function carryFlows(
  native: Native,
  from: Source,
  to: Descriptors,
  map: MapName,
  own: OwnFlows,
  deciding: Deciding,
  jiffies: number,
): Promise<Carried> {
  let [added, unfit] = [0, 0];
  const family = map.endsWith('4') ? 4 : 6;
  const struct = `flow${family}`;
  const moved = movedBackends(native, from, to, family);
  const at = offsetOf(struct, 'backend');
  const [flagsAt, seenAt] = [offsetOf(struct, 'flags'), offsetOf(struct, 'seen')];
  const protocolAt = offsetOf(`flow_key${family}`, 'protocol');
  const clock = clockOf(native, from, to, deciding, jiffies);
  const now = openNow(native, from, family);
  const homes = [to[`flows${family}`]!, to[`new_flows${family}`]!];

  // Asked before anything is written: an error costs thirty times as much as an answer.
  function here(key: Uint8Array): Uint8Array | undefined {
    for (const home of homes) {
      const value = native.mapLookup(home, key);
      if (value !== undefined) return value;
    }
    return undefined;
  }

  const flagsOf = (value: Uint8Array) => new DataView(value.buffer, value.byteOffset).getUint16(flagsAt, true);
  const lifeOf = (value: Uint8Array): Life => ({ flags: flagsOf(value), seen: wordAt(value, seenAt) });
  const leadsTo = (value: Uint8Array, key: Uint8Array, target: Uint8Array) => textOf(peerOf(key, value, family)) === textOf(target);

  function carryOne(home: MapName, key: Uint8Array, value: Uint8Array): void {
    const written = value.slice();
    putWord(written, at, moved.get(wordAt(value, at)) ?? wordAt(value, at));
    if (!put(native, to[home]!, home, key, written, NOEXIST)) {
      unfit++;
      return;
    }
    added++;
    const current = now.find(key);
    if (current === undefined || !sameChoice(current.value, value, struct)) native.mapDelete(to[home]!, key);
    else own.add(textOf(key));
  }

  function consider(key: Uint8Array): void {
    const name = textOf(key);
    if (own.has(name) || here(key) !== undefined) {
      own.add(name);
      if (deciding === 'ours') now.remove(key);
      return;
    }
    // The page was read a while ago.
    const current = now.find(key);
    if (current === undefined) return;
    const peer = peerOf(key, current.value, family);
    const peerHere = here(peer);
    if (peerHere === undefined && own.has(textOf(peer))) return;
    // A request whose tuple a flow of ours has for its answers: they are one tuple's, and it is over or lost to it.
    if (peerHere !== undefined && !leadsTo(peerHere, peer, key) && !(flagsOf(current.value) & FlowFlag.FLOW_REPLY)) return;
    const other = now.find(peer);
    // A reply whose request was given to another backend since.
    const whole = other !== undefined && leadsTo(other.value, peer, key);
    const protocol = key[protocolAt]!;
    if (isOver(lifeOf(current.value), whole ? lifeOf(other.value) : undefined, protocol, clock)) return;
    if (deciding === 'theirs' && (!whole || (flagsOf(current.value) | flagsOf(other.value)) & CLOSING)) return;
    if (whole && peerHere === undefined) carryOne(other.map, peer, other.value);
    carryOne(current.map, key, current.value);
  }

  try {
    for (const entries of translated(native, from, map)) {
      for (const { key } of entries) consider(key);
      await nextTurn();
    }
  } finally {
    now.close();
  }
  return { entries: added, unfit };
}

/**
 * Copies what is not there yet. own: of all passes together. jiffies: low 32 bits of jiffies64. The event loop turns in between.
 * Throws KernelError.
 */
export async function carry(
  native: Native,
  from: Source,
  to: Descriptors,
  maps: readonly MapName[],
  own: OwnFlows,
  deciding: Deciding,
  jiffies: number,
): Promise<Carried> {
  let [added, unfit] = [0, 0];
  for (const map of maps) {
    if (/^(new_)?flows[46]$/.test(map)) {
      const carried = await carryFlows(native, from, to, map, own, deciding, jiffies);
      added += carried.entries;
      unfit += carried.unfit;
      continue;
    }
    const fd = to[map]!;
    const choice = CHOICES[map];
    const moved = choice && { 4: movedBackends(native, from, to, 4), 6: movedBackends(native, from, to, 6) };
    for (const entries of translated(native, from, map)) {
      for (const { key, value } of entries) {
        if (native.mapLookup(fd, key) !== undefined) continue;
        if (choice && moved) {
          const at = offsetOf(choice.value, 'backend');
          const id = wordAt(value, at);
          const of4 = isMapped4(key, offsetOf(choice.key, choice.address));
          putWord(value, at, (of4 ? moved[4].get(id) : (moved[6].get(id) ?? moved[4].get(id))) ?? id);
        }
        if (put(native, fd, map, key, value, NOEXIST)) added++;
        else unfit++;
      }
      await nextTurn();
    }
  }
  return { entries: added, unfit };
}
