// How is a program run many times on packets that it has not touched? Through the restoring driver (bpf/driver.bpf.c), which is aimed
// at a program and given the flows to choose from.

import { buildDirectory } from '../control/kernel/addon.ts';
import type { Native } from '../control/kernel/native.ts';
import type { Family } from '../control/model/model.ts';
import { type DrivenFlow, lastWord } from './frame.ts';

export type Hook = 'xdp' | 'tc';

/** What the driver makes of a frame. */
export interface Turn {
  readonly hook: Hook;
  readonly family: Family;
  readonly udp: boolean;
  readonly frame: Uint8Array;
  readonly flows: readonly DrivenFlow[];
  /** Number of the first new client: each iteration is another's. undefined: the flows are as they are given. */
  readonly fresh: number | undefined;
}

export interface Run {
  /** Mean of one iteration, the driver's own share included. */
  readonly grossNs: number;
  readonly action: number;
  /** Packets that came back with another destination address. */
  readonly rewritten: number;
  /** The last packet, as the program left it. */
  readonly frame: Uint8Array;
}

export interface Driver {
  /** Runs a program. Throws where the driver could not call it. */
  run(program: number, turn: Turn, repeat: number): Run;
  close(): void;
}

/** struct turn and struct flows of driver.bpf.c. */
const turnAt = { count: 0, stride: 4, fresh: 8, at: 12, next: 16, udp: 20, rewritten: 24, frame: 34, size: 120 } as const;
const HEADERS = 80;
const FLOWS = 16384;
const FLOW_SIZE = 8;

/** struct xdp_md and struct __sk_buff: what a test run may set. */
const xdpContext = { size: 24, end: 4, ifindex: 12 } as const;
const skbContext = { size: 192, ingressIfindex: 36, ifindex: 40 } as const;

const FIRST = new Uint8Array(4);
/** Returned where the tail call failed. */
const NOT_CALLED: Readonly<Record<Hook, number>> = { xdp: -1, tc: -2 };

/** A prime that divides no count of flows. */
const STRIDE = 7919;

function turnBytes({ udp, frame, flows, fresh }: Turn): Uint8Array {
  const bytes = new Uint8Array(turnAt.size);
  const view = new DataView(bytes.buffer);
  view.setUint32(turnAt.count, flows.length, true);
  view.setUint32(turnAt.stride, STRIDE % flows.length, true);
  view.setUint32(turnAt.fresh, fresh === undefined ? 0 : 1, true);
  view.setUint32(turnAt.next, fresh ?? 0, true);
  view.setUint32(turnAt.udp, udp ? 1 : 0, true);
  bytes.set(frame.subarray(0, HEADERS), turnAt.frame);
  return bytes;
}

function flowBytes(flows: readonly DrivenFlow[]): Uint8Array {
  if (flows.length > FLOWS) throw new RangeError(`${flows.length} flows are more than ${FLOWS}`);
  const bytes = new Uint8Array(FLOWS * FLOW_SIZE);
  const view = new DataView(bytes.buffer);
  for (const [index, { source, sourcePort, destinationPort }] of flows.entries()) {
    bytes.set(lastWord(source), index * FLOW_SIZE);
    view.setUint16(index * FLOW_SIZE + 4, sourcePort);
    view.setUint16(index * FLOW_SIZE + 6, destinationPort);
  }
  return bytes;
}

/** Loads the driver. ifindex: the device by which the packets seem to enter. */
export function openDriver(native: Native, ifindex: number): Driver {
  const object = native.load(`${buildDirectory}bench/driver.o`, {});
  const [turns, flows] = [object.maps.turns!, object.maps.driven_flows!];
  const targets: Readonly<Record<Hook, number>> = { xdp: object.maps.xdp_target!, tc: object.maps.tc_target! };
  const tables = new WeakMap<readonly DrivenFlow[], Uint8Array>();
  const tableOf = (list: readonly DrivenFlow[]) => {
    const bytes = tables.get(list) ?? flowBytes(list);
    tables.set(list, bytes);
    return bytes;
  };
  const contextOf = (hook: Hook, length: number) => {
    const layout = hook === 'xdp' ? xdpContext : skbContext;
    const bytes = new Uint8Array(layout.size);
    const view = new DataView(bytes.buffer);
    view.setUint32(layout.ifindex, ifindex, true);
    if (hook === 'xdp') view.setUint32(xdpContext.end, length, true);
    else view.setUint32(skbContext.ingressIfindex, ifindex, true);
    return bytes;
  };
  const fdBytes = (fd: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, fd, true);
    return bytes;
  };
  return {
    run(program, turn, repeat) {
      const { hook, family, frame } = turn;
      native.mapUpdate(targets[hook], FIRST, fdBytes(program), 0);
      native.mapUpdate(turns, FIRST, turnBytes(turn), 0);
      native.mapUpdate(flows, FIRST, tableOf(turn.flows), 0);
      const driver = object.programs[`${hook}_driver${family}`]!;
      const result = native.testRun(driver, frame, { repeat, ctx: contextOf(hook, frame.length) });
      if ((result.returnValue | 0) === NOT_CALLED[hook]) throw new Error('the driver did not reach the program');
      const after = native.mapLookup(turns, FIRST)!;
      const rewritten = new DataView(after.buffer, after.byteOffset).getBigUint64(turnAt.rewritten, true);
      return { grossNs: result.durationNs, action: result.returnValue | 0, rewritten: Number(rewritten), frame: result.packet };
    },
    close: () => object.close(),
  };
}
