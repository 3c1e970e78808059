// Which queueing disciplines and filters do devices have (tc(8))? For kernels without tcx, where our programs are filters of clsact.
// Pure encoding and parsing; attach.ts asks and decides.

import {
  attributesIn,
  encodeMessage,
  type Message,
  messagesIn,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  number,
  Rtm,
  text,
  uint32,
  viewOf,
} from './netlink.ts';

export type Direction = 'ingress' | 'egress';

/** Parents of the filters of a clsact, and clsact's own place (TC_H_CLSACT). */
const TC_H_CLSACT = 0xfffffff1;
const PARENT: Readonly<Record<Direction, number>> = { ingress: 0xfffffff2, egress: 0xfffffff3 };
const CLSACT_HANDLE = 0xffff0000;

/** One filter of a clsact, in the order in which the kernel asks them. */
export interface Filter {
  readonly priority: number;
  readonly handle: number;
  /** `bpf`, `flower`, … */
  readonly kind: string;
  /** What its owner called it; libbpf writes `program:[id]`. Empty for other kinds than bpf. */
  readonly name: string;
  /** Program id; 0 for other kinds. */
  readonly program: number;
}

/** struct tcmsg: family, ifindex, handle, parent, info. */
function tcmsg(ifindex: number, handle: number, parent: number): Uint8Array {
  const bytes = new Uint8Array(20);
  const view = viewOf(bytes);
  view.setInt32(4, ifindex, true);
  view.setUint32(8, handle, true);
  view.setUint32(12, parent, true);
  return bytes;
}

/** Asks for the queueing disciplines of every device. */
export function qdiscsRequest(): Uint8Array {
  return encodeMessage(Rtm.GETQDISC, NLM_F_REQUEST | NLM_F_DUMP, tcmsg(0, 0, 0));
}

/** Asks for the filters of one device and direction. */
export function filtersRequest(ifindex: number, direction: Direction): Uint8Array {
  return encodeMessage(Rtm.GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP, tcmsg(ifindex, 0, PARENT[direction]));
}

/** Removes a device's clsact with all its filters. */
export function removeClsactRequest(ifindex: number): Uint8Array {
  return encodeMessage(Rtm.DELQDISC, NLM_F_REQUEST | NLM_F_ACK, tcmsg(ifindex, CLSACT_HANDLE, TC_H_CLSACT), [
    [1, new TextEncoder().encode('clsact\0')],
  ]);
}

/** Devices that have a clsact, from the answer to qdiscsRequest. */
export function clsactDevices(answer: Uint8Array): Set<number> {
  const devices = new Set<number>();
  for (const { body } of messagesIn(answer)) {
    if (text(attributesIn(body, 20).get(1)) === 'clsact') devices.add(viewOf(body).getInt32(4, true));
  }
  return devices;
}

/** Filters in their order, from the answer to filtersRequest. */
export function filtersIn(answer: Uint8Array): Filter[] {
  const filters: Filter[] = [];
  for (const message of messagesIn(answer)) {
    const filter = filterOf(message);
    // A classifier's own entry, without a handle, heads the filters of its priority.
    if (filter !== undefined && filter.handle !== 0) filters.push(filter);
  }
  return filters;
}

function filterOf(message: Message): Filter | undefined {
  if (message.type !== Rtm.NEWTFILTER) return undefined;
  const view = viewOf(message.body);
  const attributes = attributesIn(message.body, 20);
  const kind = text(attributes.get(1));
  const options = kind === 'bpf' ? attributesIn(attributes.get(2) ?? uint32(0)) : new Map<number, Uint8Array>();
  return {
    priority: view.getUint32(16, true) >>> 16,
    handle: view.getUint32(8, true),
    kind,
    name: text(options.get(7)),
    program: number(options.get(11)),
  };
}
