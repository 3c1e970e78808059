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

/** One backend id: whose it is, or was last. */
export interface BackendHold {
  readonly id: number;
  readonly generation: number;
  readonly identity: string;
  readonly address: Address;
  readonly port: number;
  readonly protocol: number;
  /** How often it is listed, and how often as serving and as local: any listing that serves is enough. */
  claims: number;
  serving: number;
  local: number;
  /** Written to the map, or found there. */
  published: boolean;
  /** Clock when the last claim went, in ms; infinite until that is known to be in the maps. */
  freedAt: number;
}

/** Backend ids of one family. */
export interface BackendIds {
  /** Ids are 1..limit−1; entry 0 is nobody. */
  readonly limit: number;
  next: number;
  readonly byId: Map<number, BackendHold>;
  readonly byIdentity: Map<string, BackendHold>;
  /** Published ids without claims, the longest free first. */
  readonly freed: Map<number, BackendHold>;
  /** Ids given and taken back before anybody saw them, with the generation before. */
  readonly spare: { readonly id: number; readonly generation: number }[];
}

/** `address:port/protocol`: what must not change behind an id and its generation. */
function backendIdentity(address: Address, port: number, protocol: number): string {
  return `${address} ${port} ${protocol}`;
}

/**
 * Ids as the map shows them. Every entry that was ever used counts as freed, the living until `settleBackends` at the earliest: a
 * claim by the same identity gets id and generation back, everybody else has to wait.
 */
export function openBackendIds(limit: number, held: Iterable<readonly [number, Backend4]>, now: number): BackendIds {
  const ids: BackendIds = { limit, next: 1, byId: new Map(), byIdentity: new Map(), freed: new Map(), spare: [] };
  const living: BackendHold[] = [];
  const dead: BackendHold[] = [];
  for (const [id, { address, port, protocol, generation, flags }] of held) {
    if (id === 0 || (generation === 0 && flags === 0)) continue;
    const identity = backendIdentity(address, port, protocol);
    const freedAt = flags === 0 ? now : Number.POSITIVE_INFINITY;
    const hold = { id, generation, identity, address, port, protocol, claims: 0, serving: 0, local: 0, published: true, freedAt };
    (flags === 0 ? dead : living).push(hold);
    ids.byId.set(id, hold);
    ids.next = Math.max(ids.next, id + 1);
  }
  // The dead rested longer; but an identity that is both dead and alive is the living one's.
  for (const hold of [...dead, ...living]) {
    ids.freed.set(hold.id, hold);
    ids.byIdentity.set(hold.identity, hold);
  }
  return ids;
}

/** An id that nobody uses: one never used, while there are such; else the one that rested longest. */
function takeId(ids: BackendIds, now: number): { id: number; generation: number } | undefined {
  const spare = ids.spare.pop();
  if (spare !== undefined) return spare;
  if (ids.next < ids.limit) return { id: ids.next++, generation: 0 };
  for (const hold of ids.freed.values()) {
    if (now - hold.freedAt < REST_MS) return undefined;
    ids.freed.delete(hold.id);
    if (ids.byIdentity.get(hold.identity) === hold) ids.byIdentity.delete(hold.identity);
    return { id: hold.id, generation: hold.generation };
  }
  return undefined;
}

/** Adds a claim to the backend, giving it an id if it has none. Undefined where every id is taken or resting. */
export function claimBackend(ids: BackendIds, address: Address, port: number, protocol: number, now: number): BackendHold | undefined {
  const identity = backendIdentity(address, port, protocol);
  let hold = ids.byIdentity.get(identity);
  if (hold === undefined) {
    const taken = takeId(ids, now);
    if (taken === undefined) return undefined;
    const generation = (taken.generation + 1) >>> 0 || 1;
    hold = { id: taken.id, generation, identity, address, port, protocol, claims: 0, serving: 0, local: 0, published: false, freedAt: 0 };
    ids.byIdentity.set(identity, hold);
    ids.byId.set(hold.id, hold);
  } else if (hold.claims === 0) {
    ids.freed.delete(hold.id);
  }
  hold.claims++;
  return hold;
}

/** Takes a claim back. The last one frees the id; it rests once `settleBackends` knows that the maps say so. */
export function releaseBackend(ids: BackendIds, hold: BackendHold): void {
  if (--hold.claims > 0) return;
  if (hold.published) {
    hold.freedAt = Number.POSITIVE_INFINITY;
    ids.freed.set(hold.id, hold);
    return;
  }
  ids.byIdentity.delete(hold.identity);
  ids.byId.delete(hold.id);
  ids.spare.push({ id: hold.id, generation: (hold.generation - 1) >>> 0 });
}

/** After the maps were written: what was claimed is published, what was freed rests from now on. */
export function settleBackends(ids: BackendIds, touched: Iterable<number>, now: number): void {
  for (const id of touched) {
    const hold = ids.byId.get(id);
    if (hold === undefined) continue;
    hold.published = true;
    if (hold.claims === 0 && hold.freedAt === Number.POSITIVE_INFINITY) hold.freedAt = now;
  }
}
