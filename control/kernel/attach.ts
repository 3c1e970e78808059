// Are our programs at the devices they belong to? Attaches, replaces in place and detaches them: as tcx links, first in the chain, from
// kernel 6.6 on; before as filters of clsact with a fixed place. Which program belongs where is the caller's decision.

import { mkdirSync, readdirSync } from 'node:fs';
import type { Ledger } from './ledger.ts';
import type { Native } from './native.ts';
import { type Pins, removePins } from './pins.ts';
import { clsactDevices, type Direction, filtersIn, filtersRequest, qdiscsRequest, removeClsactRequest } from './tc.ts';

export const DIRECTIONS = ['ingress', 'egress'] as const satisfies Direction[];

/** enum bpf_attach_type. */
const TCX: Readonly<Record<Direction, number>> = { ingress: 46, egress: 47 };
/** Without a program named beside it: before all that are there. */
const BPF_F_BEFORE = 1 << 3;

/**
 * Our place in a clsact: a handle for each generation of maps, so that one stands beside another; the kernel asks the newest filter of a
 * priority first. Filters of libbpf are named `program:[id]`.
 */
const PRIORITY = 1;
const HANDLE = 0x51ce;
const HANDLES = 0x1000;

function handleOf(generation: number): number {
  return HANDLE + ((generation - 1) % HANDLES);
}

/** Every program that we attach to devices: how a filter of ours is told from another's. */
const PROGRAMS = new Set(['nic_ingress', 'nic_egress', 'pod_ingress', 'pod_egress', 'l3_ingress', 'l3_egress']);

export type Mode = 'tcx' | 'clsact';

/** A device and its two programs' descriptors. */
export interface Wanted {
  readonly ifindex: number;
  readonly programs: Readonly<Record<Direction, number>>;
}

/** What is at one device and direction. */
export interface Attached {
  readonly mode: Mode;
  readonly programId: number;
  /** What sees packets before us and may keep them from us, in words. */
  readonly before: readonly string[];
}

export interface DeviceHooks {
  readonly mode: Mode;
  /** Makes it so: what is wanted is attached and up to date, what is not wanted is gone. Resolves with the refusals by ifindex. One at a time. */
  apply(wanted: readonly Wanted[]): Promise<Map<number, Error>>;
  /** What is there now; undefined: nothing of ours. */
  look(ifindex: number, direction: Direction): Attached | undefined;
}

/** netlink: an AF_NETLINK ROUTE descriptor for requests. */
export function openDeviceHooks(native: Native, pins: Pins, ledger: Ledger, netlink: number): DeviceHooks {
  return hasTcx(native) ? tcxHooks(native, pins.deviceLinks) : clsactHooks(native, ledger, netlink, pins);
}

/** Asked of the loopback device, which every namespace has. */
function hasTcx(native: Native): boolean {
  try {
    native.query(1, TCX.ingress);
    return true;
  } catch (error) {
    // kernel before 6.6: the attach type is unknown.
    if (codeOf(error) === 'EINVAL') return false;
    throw error;
  }
}

function tcxHooks(native: Native, directory: string): DeviceHooks {
  const pinOf = (ifindex: number, direction: Direction) => `${directory}/${ifindex}-${direction}`;

  async function attach(ifindex: number, direction: Direction, program: number): Promise<void> {
    const pin = pinOf(ifindex, direction);
    let link = native.openPin(pin);
    if (link !== undefined && native.linkInfo(link).ifindex !== ifindex) {
      // Its device is gone; another has the number now.
      native.closeFd(link);
      removePins(pin);
      link = undefined;
    }
    const there = link;
    link ??= await native.linkCreateAside(program, ifindex, TCX[direction], BPF_F_BEFORE);
    try {
      if (there === undefined) native.pin(link, pin);
      else if (native.linkInfo(link).programId !== native.programInfo(program).id) native.linkUpdate(link, program);
    } finally {
      // Without a pin it goes with its descriptor, and is tried again.
      native.closeFd(link);
    }
  }

  return {
    mode: 'tcx',
    async apply(wanted) {
      mkdirSync(directory, { recursive: true });
      const kept = new Set<string>(wanted.flatMap(({ ifindex }) => DIRECTIONS.map((direction) => pinOf(ifindex, direction))));
      const refusals = await attachAll(wanted, attach);
      for (const name of readdirSync(directory)) if (!kept.has(`${directory}/${name}`)) removePins(`${directory}/${name}`);
      return refusals;
    },
    look(ifindex, direction) {
      const link = native.openPin(pinOf(ifindex, direction));
      if (link === undefined) return undefined;
      const { id, programId, ifindex: at } = native.linkInfo(link);
      native.closeFd(link);
      if (at !== ifindex) return undefined;
      const chain = native.query(ifindex, TCX[direction]);
      const before = chain.programIds.slice(0, Math.max(0, chain.linkIds.indexOf(id)));
      return { mode: 'tcx', programId, before: before.map((program) => `program ${program}`) };
    },
  };
}

function clsactHooks(native: Native, ledger: Ledger, netlink: number, pins: Pins): DeviceHooks {
  const handle = handleOf(pins.number);
  const isOurs = (filter: Place) => filter.priority === PRIORITY && filter.handle === handle;
  const filters = (ifindex: number, direction: Direction) => filtersIn(native.netlinkRequest(netlink, filtersRequest(ifindex, direction)));
  const devices = () => clsactDevices(native.netlinkRequest(netlink, qdiscsRequest()));

  function attach(having: ReadonlySet<number>, ifindex: number, direction: Direction, program: number): void {
    if (having.has(ifindex)) {
      const there = filters(ifindex, direction).find(isOurs);
      if (there !== undefined && !isNamedLikeOurs(there.name))
        throw new Error(`filter pref ${PRIORITY} handle ${handle} is another's: ${there.name}`);
      if (there?.program === native.programInfo(program).id) return;
    } else {
      // Before it is made: after a crash in between, cleanup looks whether it is there.
      ledger.write({ clsact: [...new Set([...ledger.entries().clsact, ifindex])] });
    }
    native.tcAttach(ifindex, direction, program, PRIORITY, handle);
  }

  return {
    mode: 'clsact',
    async apply(wanted) {
      // No pin remembers a filter: the empty directory says that there may be some.
      mkdirSync(pins.deviceLinks, { recursive: true });
      const kept = new Set(wanted.map(({ ifindex }) => ifindex));
      const having = devices();
      const refusals = await attachAll(wanted, (ifindex, direction, program) => attach(having, ifindex, direction, program));
      removeFilters(
        native,
        ledger,
        netlink,
        [...having].filter((ifindex) => !kept.has(ifindex)),
      );
      return refusals;
    },
    look(ifindex, direction) {
      if (!devices().has(ifindex)) return undefined;
      const chain = filters(ifindex, direction);
      const at = chain.findIndex(isOurs);
      const ours = chain[at];
      if (ours === undefined) return undefined;
      const before = chain.slice(0, at).map((filter) => `filter pref ${filter.priority} ${filter.kind} ${filter.name}`.trimEnd());
      return { mode: 'clsact', programId: ours.program, before };
    },
  };
}

/**
 * Removes our filters from devices, and a clsact that we made where no filter is left in it. generation: of this alone; absent: of every one.
 * Returns the devices that had something of ours.
 */
export function removeFilters(
  native: Native,
  ledger: Ledger,
  netlink: number,
  ifindexes: readonly number[],
  generation?: number,
): number[] {
  const filters = (ifindex: number, direction: Direction) => filtersIn(native.netlinkRequest(netlink, filtersRequest(ifindex, direction)));
  const made = new Set(ledger.entries().clsact);
  const had = new Set<number>();
  for (const ifindex of ifindexes) {
    for (const direction of DIRECTIONS) {
      for (const filter of filters(ifindex, direction)) {
        if (!isOurPlace(filter) || !isNamedLikeOurs(filter.name)) continue;
        if (generation !== undefined && filter.handle !== handleOf(generation)) continue;
        native.tcDetach(ifindex, direction, PRIORITY, filter.handle);
        had.add(ifindex);
      }
    }
    if (!made.has(ifindex) || DIRECTIONS.some((direction) => filters(ifindex, direction).length > 0)) continue;
    native.netlinkRequest(netlink, removeClsactRequest(ifindex));
    had.add(ifindex);
  }
  const left = clsactDevices(native.netlinkRequest(netlink, qdiscsRequest()));
  ledger.write({ clsact: ledger.entries().clsact.filter((ifindex) => left.has(ifindex)) });
  return [...had];
}

/** Removes the filters of one generation wherever they are. */
export function removeGenerationFilters(native: Native, ledger: Ledger, netlink: number, generation: number): void {
  const having = clsactDevices(native.netlinkRequest(netlink, qdiscsRequest()));
  if (having.size > 0) removeFilters(native, ledger, netlink, [...having], generation);
}

interface Place {
  readonly priority: number;
  readonly handle: number;
}

function isOurPlace(filter: Place): boolean {
  return filter.priority === PRIORITY && filter.handle >= HANDLE && filter.handle < HANDLE + HANDLES;
}

function isNamedLikeOurs(filter: string): boolean {
  return PROGRAMS.has(filter.replace(/:\[\d+\]$/, ''));
}

async function attachAll(
  wanted: readonly Wanted[],
  attach: (ifindex: number, direction: Direction, program: number) => void | Promise<void>,
): Promise<Map<number, Error>> {
  const refusals = new Map<number, Error>();
  for (const { ifindex, programs } of wanted) {
    for (const direction of DIRECTIONS) {
      try {
        await attach(ifindex, direction, programs[direction]);
      } catch (error) {
        // A device that went meanwhile needs nothing: the message that it is gone is on its way.
        if (codeOf(error) !== 'ENODEV' && error instanceof Error) refusals.set(ifindex, error);
      }
    }
  }
  return refusals;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}
