// Which number stands for a Service port or a backend? The same as before wherever it had one, and never one that a
// flow may still hold for something else (semantics 14.4).

import type { Backend4 } from '../abi/layout.gen.ts';
import type { Address } from '../model/model.ts';
import { hashText } from './maglev.ts';

/** How long a freed backend id or run of slots stays unused: packets on their way have long left the datapath by then. */
export const REST_MS = 1000;

const FRONTEND_SEED = 0x243f_6a88;

/** Ids that a second name with the same hash may get; a restart looks no further when it adopts one. */
const PROBES = 16;

/** Frontend ids, both families: a hash of the Service port's key, so that they need no memory to survive a restart. */
export interface FrontendIds {
  readonly byKey: Map<string, number>;
  readonly keys: Map<number, string>;
}

/** No ids given yet. */
export function openFrontendIds(): FrontendIds {
  return { byKey: new Map(), keys: new Map() };
}

/**
 * The id of a Service port, 1..2³²−1. Where two keys have one hash the later takes the next number; `held` are the ids
 * that the maps show behind its frontends, and one of them is kept if the key could have got it.
 */
export function claimFrontendId(ids: FrontendIds, key: string, held: Iterable<number>): number {
  const known = ids.byKey.get(key);
  if (known !== undefined) return known;
  const hash = hashText(key, FRONTEND_SEED);
  const candidate = (step: number): number => (hash + step) >>> 0;
  let id: number | undefined;
  for (const old of held) {
    if (old !== 0 && (old - hash) >>> 0 < PROBES && !ids.keys.has(old)) id = old;
  }
  for (let step = 0; id === undefined; step++) {
    const next = candidate(step);
    if (next !== 0 && !ids.keys.has(next)) id = next;
  }
  ids.byKey.set(key, id);
  ids.keys.set(id, key);
  return id;
}

/** Forgets a Service port that is gone. */
export function releaseFrontendId(ids: FrontendIds, key: string): void {
  const id = ids.byKey.get(key);
  if (id === undefined) return;
  ids.byKey.delete(key);
  ids.keys.delete(id);
}

/** Has the maps' entry under an id been written? */
const UNUSED = 0;
const GIVEN = 1;
const PUBLISHED = 2;

/**
 * Backend ids of one family: whose each is, or was last. Columns by id, for a hundred thousand objects would cost four times the
 * memory; all of one length.
 */
export interface BackendIds {
  /** Ids are 1..limit−1; entry 0 is nobody. */
  readonly limit: number;
  next: number;
  readonly address: Address[];
  readonly port: Uint16Array;
  readonly protocol: Uint8Array;
  readonly generation: Uint32Array;
  /** How often it is listed, and how often as serving and as local: any listing that serves is enough. */
  readonly claims: Uint32Array;
  readonly serving: Uint32Array;
  readonly local: Uint32Array;
  readonly state: Uint8Array;
  /** The id of each address, port and protocol that has one; nearly every address has a single one. */
  readonly byAddress: Map<Address, number | readonly number[]>;
  /** Published ids without claims, the longest free first, with the clock when the last claim went; infinite until that is known to be in the maps. */
  readonly freed: Map<number, number>;
  /** Ids given and taken back before anybody saw them, with the generation before. */
  readonly spare: { readonly id: number; readonly generation: number }[];
}

function sameIdentity(ids: BackendIds, id: number, port: number, protocol: number): boolean {
  return ids.port[id] === port && ids.protocol[id] === protocol;
}

/** The id of address, port and protocol; 0: none. */
function findId(ids: BackendIds, address: Address, port: number, protocol: number): number {
  const found = ids.byAddress.get(address);
  if (found === undefined) return 0;
  if (typeof found === 'number') return sameIdentity(ids, found, port, protocol) ? found : 0;
  return found.find((id) => sameIdentity(ids, id, port, protocol)) ?? 0;
}

/** Takes an id out of the index, if it is there. */
function forgetId(ids: BackendIds, id: number): void {
  const address = ids.address[id]!;
  const found = ids.byAddress.get(address);
  if (found === id) ids.byAddress.delete(address);
  if (found === undefined || typeof found === 'number') return;
  const others = found.filter((other) => other !== id);
  ids.byAddress.set(address, others.length === 1 ? others[0]! : others);
}

/** Makes the id the one of its address, port and protocol. */
function indexId(ids: BackendIds, id: number): void {
  const address = ids.address[id]!;
  const before = findId(ids, address, ids.port[id]!, ids.protocol[id]!);
  if (before !== 0) forgetId(ids, before);
  addId(ids, id);
}

/** The same for an address, port and protocol that no id has. */
function addId(ids: BackendIds, id: number): void {
  const address = ids.address[id]!;
  const others = ids.byAddress.get(address);
  ids.byAddress.set(address, others === undefined ? id : typeof others === 'number' ? [others, id] : [...others, id]);
}

/**
 * Ids as the map shows them. Every entry that was ever used counts as freed, the living until `settleBackends` at the earliest: a
 * claim by the same identity gets id and generation back, everybody else has to wait.
 */
export function openBackendIds(limit: number, held: Iterable<readonly [number, Backend4]>, now: number): BackendIds {
  const ids: BackendIds = {
    limit,
    next: 1,
    address: [''],
    port: new Uint16Array(limit),
    protocol: new Uint8Array(limit),
    generation: new Uint32Array(limit),
    claims: new Uint32Array(limit),
    serving: new Uint32Array(limit),
    local: new Uint32Array(limit),
    state: new Uint8Array(limit),
    byAddress: new Map(),
    freed: new Map(),
    spare: [],
  };
  const living: number[] = [];
  const dead: number[] = [];
  for (const [id, { address, port, protocol, generation, flags }] of held) {
    if (id === 0 || (generation === 0 && flags === 0)) continue;
    for (; ids.next <= id; ids.next++) ids.address[ids.next] = '';
    setIdentity(ids, id, address, port, protocol, generation);
    ids.state[id] = PUBLISHED;
    (flags === 0 ? dead : living).push(id);
  }
  // The dead rested longer; but an identity that is both dead and alive is the living one's.
  for (const id of dead) ids.freed.set(id, now);
  for (const id of living) ids.freed.set(id, Number.POSITIVE_INFINITY);
  for (const id of ids.freed.keys()) indexId(ids, id);
  return ids;
}

function setIdentity(ids: BackendIds, id: number, address: Address, port: number, protocol: number, generation: number): void {
  ids.address[id] = address;
  ids.port[id] = port;
  ids.protocol[id] = protocol;
  ids.generation[id] = generation;
}

/** An id that nobody uses: one never used, while there are such; else the one that rested longest. Undefined where there is none. */
function takeId(ids: BackendIds, now: number): { id: number; generation: number } | undefined {
  const spare = ids.spare.pop();
  if (spare !== undefined) return spare;
  if (ids.next < ids.limit) return { id: ids.next++, generation: 0 };
  for (const [id, freedAt] of ids.freed) {
    if (now - freedAt < REST_MS) return undefined;
    ids.freed.delete(id);
    forgetId(ids, id);
    return { id, generation: ids.generation[id]! };
  }
  return undefined;
}

/** Adds a claim to the backend, giving it an id if it has none. Undefined where every id is taken or resting. */
export function claimBackend(ids: BackendIds, address: Address, port: number, protocol: number, now: number): number | undefined {
  let id = findId(ids, address, port, protocol);
  if (id === 0) {
    const taken = takeId(ids, now);
    if (taken === undefined) return undefined;
    id = taken.id;
    setIdentity(ids, id, address, port, protocol, (taken.generation + 1) >>> 0 || 1);
    ids.state[id] = GIVEN;
    addId(ids, id);
  } else if (ids.claims[id] === 0) {
    ids.freed.delete(id);
  }
  ids.claims[id]!++;
  return id;
}

/** Takes a claim back. The last one frees the id; it rests once `settleBackends` knows that the maps say so. */
export function releaseBackend(ids: BackendIds, id: number): void {
  if (--ids.claims[id]! > 0) return;
  if (ids.state[id] === PUBLISHED) {
    ids.freed.set(id, Number.POSITIVE_INFINITY);
    return;
  }
  forgetId(ids, id);
  ids.address[id] = '';
  ids.state[id] = UNUSED;
  ids.spare.push({ id, generation: (ids.generation[id]! - 1) >>> 0 });
}

/** The id has an entry, or is to have one. */
export function isUsed(ids: BackendIds, id: number): boolean {
  return ids.state[id] !== UNUSED;
}

/** Ids in use, claimed or free, whose address is one of these. */
export function* idsOf(ids: BackendIds, addresses: ReadonlySet<Address>): Generator<number> {
  for (let id = 1; id < ids.next; id++) if (isUsed(ids, id) && addresses.has(ids.address[id]!)) yield id;
}

/** After the maps were written: what was claimed is published, what was freed rests from now on. */
export function settleBackends(ids: BackendIds, touched: Iterable<number>, now: number): void {
  for (const id of touched) {
    if (!isUsed(ids, id)) continue;
    ids.state[id] = PUBLISHED;
    if (ids.claims[id] === 0 && ids.freed.get(id) === Number.POSITIVE_INFINITY) ids.freed.set(id, now);
  }
}
