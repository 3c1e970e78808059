// What is a row of the table, and what proves that the packets it counted took its path?

import assert from 'node:assert/strict';
import type { Native } from '../control/kernel/native.ts';
import type { Family, Protocol } from '../control/model/model.ts';
import { type Packet, parsePacket } from '../test/lib/packet.ts';
import type { Datapath } from './datapath.ts';
import type { Driver, Hook, Run, Turn } from './driver.ts';
import type { References } from './references.ts';

/** One point of the sweep. */
export interface Point {
  readonly family: Family;
  readonly protocol: Protocol;
  readonly flows: number;
  readonly services: number;
}

export interface Row extends Point {
  readonly path: string;
  readonly hook: Hook;
  /** Path of the reference that it is compared with; a reference has none. */
  readonly reference: string | undefined;
  /** The packets, for the empty program too. */
  readonly turn: Turn;
  /** Iterations of a run; undefined: as many as there is time for. */
  readonly repeat: number | undefined;
  /** Runs the path that often and proves that every packet took it. Returns the mean time of a packet in ns, the driver's share included. */
  run(repeat: number): number;
}

/** How much is few and how much is many. */
export interface Scale {
  readonly flows: number;
  readonly few: number;
  readonly many: number;
}

export interface Bench {
  readonly native: Native;
  readonly driver: Driver;
  readonly references: References;
  /** By the number of Services. `fresh` shares their maps and has flow tables of its own, which are emptied. */
  readonly datapaths: ReadonlyMap<number, { readonly live: Datapath; readonly fresh: Datapath }>;
  readonly scale: Scale;
}

/** Words of the kernel for what happens to a packet. */
export const act = { xdp: { pass: 2, sent: 3 }, tc: { pass: -1, sent: 7 } } as const;

/** What must be true of the last packet of a run. */
export interface Expected extends Partial<Pick<Packet, 'source' | 'destination' | 'destinationPort' | 'destinationMac'>> {
  readonly action: number;
  readonly ttl: number;
}

/** Throws where the last packet is not as expected, its checksums are wrong, or its payload is another. */
export function checkPacket(run: Run, given: Uint8Array, { action, ...fields }: Expected): void {
  const packet = parsePacket(run.frame);
  assert.equal(run.action, action, 'action');
  assert.deepEqual(packet.wrongChecksums, [], 'checksums');
  for (const [name, value] of Object.entries(fields)) assert.equal(packet[name as keyof Packet], value, name);
  // The first two bytes are the driver's: they hold what makes the checksum right.
  assert.deepEqual(packet.payload.subarray(2), parsePacket(given).payload.subarray(2), 'payload');
}

/** Throws unless every packet came back with another destination, or none did. The last one is checkPacket's. */
export function checkRewritten(run: Run, repeat: number, wanted: boolean): void {
  assert.equal(run.rewritten, wanted ? repeat - 1 : 0, 'packets that were translated');
}
