// Which remembered flows are over? Flows that no packet has used for their time are deleted, both directions at once, and with the last
// flow to it an address that lost its last frontend (9.1). In slices: the event loop turns in between.

import { setImmediate as nextTurn } from 'node:timers/promises';
import { AddressFlag, type Flow4, type Flow6, FlowFlag, type FlowKey4, type FlowKey6, type Settings } from '../abi/layout.gen.ts';
import type { Address } from '../model/model.ts';
import type { GoneBackends } from './gone.ts';
import type { Maps, TypedMap } from './maps.ts';
import type { Timeouts } from './options.ts';
import type { FlowTally } from './tally.ts';

type Key = FlowKey4 | FlowKey6;
type Flow = Flow4 | Flow6;

/** Entries looked at before the event loop turns: about 5 ms. */
const SLICE = 512;
const TCP = 6;

export interface Expired {
  /** Entries looked at. */
  readonly scanned: number;
  /** Entries deleted; a flow has two. */
  readonly deleted: number;
  /** Addresses whose last flow is gone too. */
  readonly addresses: readonly Address[];
}

/** What decides whether a flow is over. Times in jiffies. */
export interface ExpiryClock {
  /** Low 32 bits of jiffies64, now. */
  readonly now: number;
  readonly settings: Settings;
  /** For a TCP flow that one end has closed; the datapath itself does not tell it from an open one. */
  readonly closeWaitTimeout: number;
}

/** The clock from what the datapath uses. now: low 32 bits of jiffies64. */
export function expiryClock(settings: Settings, timeouts: Timeouts, now: number): ExpiryClock {
  return { now, settings, closeWaitTimeout: timeouts.tcpCloseWaitSeconds * settings.jiffies_per_second };
}

/**
 * One sweep over the flows of both families. gone and tally are told of every flow that lives on, to end those whose backend is gone
 * and to count. Throws KernelError.
 */
export async function expireFlows(maps: Maps, clock: ExpiryClock, gone?: GoneBackends, tally?: FlowTally): Promise<Expired> {
  const see4 = both(gone?.sweep(maps.flows4, maps.backends4), tally?.see(4));
  const see6 = both(gone?.sweep(maps.flows6, maps.backends6), tally?.see(6));
  const v4 = await expireFamily<FlowKey4, Flow4>(
    { flows: maps.flows4, newFlows: maps.new_flows4, addresses: maps.addresses4 },
    clock,
    see4,
  );
  const v6 = await expireFamily<FlowKey6, Flow6>(
    { flows: maps.flows6, newFlows: maps.new_flows6, addresses: maps.addresses6 },
    clock,
    see6,
  );
  tally?.finish();
  return { scanned: v4.scanned + v6.scanned, deleted: v4.deleted + v6.deleted, addresses: [...v4.addresses, ...v6.addresses] };
}

type Seen<K, V> = ((key: K, flow: V) => void) | undefined;

function both<K, V>(one: Seen<K, V>, other: Seen<K, V>): Seen<K, V> {
  if (one === undefined || other === undefined) return one ?? other;
  return (key, flow) => {
    one(key, flow);
    other(key, flow);
  };
}

interface FamilyMaps<K extends Key, V extends Flow> {
  readonly flows: TypedMap<K, V>;
  readonly newFlows: TypedMap<K, V>;
  readonly addresses: TypedMap<Address, number>;
}

async function expireFamily<K extends Key, V extends Flow>(
  maps: FamilyMaps<K, V>,
  clock: ExpiryClock,
  livesOn: ((key: K, flow: V) => void) | undefined,
): Promise<Expired> {
  // Asked before the flows: an address that retires meanwhile waits for the next sweep.
  const unused = new Set<Address>();
  for (const [address, flags] of maps.addresses.entries()) if (flags === AddressFlag.ADDRESS_RETIRED) unused.add(address);
  let scanned = 0;
  let deleted = 0;
  for (const page of maps.flows.pages(SLICE)) {
    scanned += page.length;
    for (const [key, flow] of page) {
      // Read again before it is ended: a packet may have come since its page was read, and its peer's page may have ended both.
      const over = isOverIn(maps, key, flow, clock);
      const again = over ? maps.flows.get(key) : flow;
      if (again === undefined) continue;
      if (!over || !isOverIn(maps, key, again, clock)) {
        unused.delete(frontendAddress(key, flow));
        livesOn?.(key, again);
        continue;
      }
      // The request's entry before the reply's: a request without a reply's entry would be answered from the backend's own address.
      const peer = peerOf(maps, again, key.protocol) === undefined ? [] : [reverseOf(again, key.protocol) as K];
      const ordered = flow.flags & FlowFlag.FLOW_REPLY ? [...peer, key] : [key, ...peer];
      for (const one of ordered) if (maps.flows.delete(one)) deleted++;
    }
    await nextTurn();
  }
  if (unused.size > 0) {
    for (const page of maps.newFlows.pages(SLICE)) {
      for (const [key, flow] of page) if (!isOver(flow, undefined, key.protocol, clock)) unused.delete(frontendAddress(key, flow));
      await nextTurn();
    }
  }
  const gone = [...unused].filter((address) => forget(maps.addresses, address));
  return { scanned, deleted, addresses: gone };
}

/** Looked at again: a Service may have taken the address while the sweep went on. */
function forget(addresses: TypedMap<Address, number>, address: Address): boolean {
  return addresses.get(address) === AddressFlag.ADDRESS_RETIRED && addresses.delete(address);
}

/** The address that the client sends to: of a request its destination, of a reply its source after the rewrite. */
function frontendAddress(key: Key, flow: Flow): Address {
  return flow.flags & FlowFlag.FLOW_REPLY ? flow.source : key.destination;
}

/** Key of the other direction: the tuple after the rewrite, reversed. */
function reverseOf(flow: Flow, protocol: number): Key {
  return {
    source: flow.destination,
    destination: flow.source,
    source_port: flow.destination_port,
    destination_port: flow.source_port,
    protocol,
  };
}

/** The other direction. A reply whose request was given to another backend has none: that request is another flow's. */
function peerOf<K extends Key, V extends Flow>(maps: FamilyMaps<K, V>, flow: V, protocol: number): V | undefined {
  const key = reverseOf(flow, protocol) as K;
  const peer = maps.flows.get(key) ?? maps.newFlows.get(key);
  return peer !== undefined && peer.backend === flow.backend && peer.generation === flow.generation ? peer : undefined;
}

/** The other direction is looked up only for an entry that could be over. */
function isOverIn<K extends Key, V extends Flow>(maps: FamilyMaps<K, V>, key: K, flow: V, clock: ExpiryClock): boolean {
  const fin = flow.flags & (FlowFlag.FLOW_FIN | FlowFlag.FLOW_PEER_FIN);
  // Of two FINs the other entry may know the second.
  const least = fin ? clock.settings.tcp_close_timeout : timeoutOf(flow.flags, key.protocol, clock);
  if (age(flow, clock) <= least) return false;
  return isOver(flow, peerOf(maps, flow, key.protocol), key.protocol, clock);
}

/** What of an entry says how long its flow lives. */
export type Life = Pick<Flow, 'flags' | 'seen'>;

/** Over: both directions are past the flow's time, which both together decide. */
export function isOver(flow: Life, peer: Life | undefined, protocol: number, clock: ExpiryClock): boolean {
  const timeout = timeoutOf(flow.flags | (peer === undefined ? 0 : seenFromHere(peer.flags)), protocol, clock);
  return age(flow, clock) > timeout && (peer === undefined || age(peer, clock) > timeout);
}

/** Jiffies since the last packet. Programs go on while we look: what they wrote after `now` was read is not old but young. */
function age(flow: Life, clock: ExpiryClock): number {
  return Math.max(0, (clock.now - flow.seen) | 0);
}

/** The other direction's flags in this one's words. */
function seenFromHere(flags: number): number {
  const { FLOW_FIN, FLOW_PEER_FIN, FLOW_RST, FLOW_CONFIRMED } = FlowFlag;
  return (flags & (FLOW_RST | FLOW_CONFIRMED)) | (flags & FLOW_FIN ? FLOW_PEER_FIN : 0) | (flags & FLOW_PEER_FIN ? FLOW_FIN : 0);
}

function timeoutOf(flags: number, protocol: number, { settings, closeWaitTimeout }: ExpiryClock): number {
  const confirmed = (flags & FlowFlag.FLOW_CONFIRMED) !== 0;
  if (protocol !== TCP) return confirmed ? settings.udp_stream_timeout : settings.udp_timeout;
  const fins = flags & (FlowFlag.FLOW_FIN | FlowFlag.FLOW_PEER_FIN);
  if (flags & FlowFlag.FLOW_RST || fins === (FlowFlag.FLOW_FIN | FlowFlag.FLOW_PEER_FIN)) return settings.tcp_close_timeout;
  if (!confirmed) return settings.tcp_syn_timeout;
  return fins !== 0 ? Math.min(closeWaitTimeout, settings.tcp_established_timeout) : settings.tcp_established_timeout;
}
