// Which hook answers a row? The tables say it for tc and for the socket hook that serves all; here is what they mean with other
// combinations of hooks, and what XDP leaves to tc.
import { isServed, type Subject } from '../../control/kernel/unserved.ts';
import type { Case, VerdictName } from '../lib/flow.ts';
import { places } from '../lib/places.ts';

/** tc is always on: without it nobody looks at packets. */
export interface Hooks {
  readonly socket: 'on' | 'host-only' | 'off';
  readonly xdp: boolean;
}

/** A row as it is with some hooks. */
export interface Answer {
  readonly flow: Case;
  /** Verdicts that move besides: of the hook that leaves the row to another. */
  readonly also: readonly VerdictName[];
}

/** What a row is with these hooks; undefined: nobody serves it, as control/kernel/unserved.ts says. */
export function under(flow: Case, hooks: Hooks): Answer | undefined {
  const subjects: Subject[] = [];
  if (flow.from === 'nodeA' && /^(127\.|::1$)/.test(flow.address)) subjects.push('loopback');
  if (flow.from === 'nodeA' && Object.keys(flow.reaches ?? {}).some((place) => places[place as keyof typeof places].node === 'nodeA'))
    subjects.push('node to local backend');
  if (flow.from === 'nodeA' && flow.address === places.nodeA[flow.family]) subjects.push('node to own address');
  if (!subjects.every((subject) => isServed(subject, { tc: true, socket: hooks.socket }))) return undefined;
  const also = hooks.xdp ? ['PASS_TO_TC'] : [];
  const atSocket = flow.from === 'nodeA' ? hooks.socket !== 'off' : hooks.socket === 'on' && flow.protocol === 'tcp';
  if (flow.at === 'pod' && atSocket) return { flow: toSocket(flow), also: [...also, 'PASS_ABSTAIN'] };
  if (flow.at === 'socket' && !atSocket) return { flow: toPackets(flow), also: [...also, 'TRANSLATE_REPLY'] };
  return { flow, also };
}

/** A pod's row of packets where the socket hook serves pods: nothing is between a socket and its backend, who sees the pod. */
function toSocket(flow: Case): Case {
  if (flow.reaches === undefined || flow.verdict !== undefined) return flow;
  return { ...flow, at: 'socket', reaches: Object.fromEntries(Object.keys(flow.reaches).map((place) => [place, flow.from])) };
}

/** A row of the socket hook where it is left to the packets: the node's own leave by a NIC, where they are translated and sent. */
function toPackets(flow: Case): Case {
  const left: Readonly<Record<VerdictName, VerdictName>> = { PASS_ABSTAIN: 'DROP_SOURCE_RANGE', PASS_SOCKET: 'PASS_NOT_OURS' };
  const verdict = flow.verdict === undefined ? undefined : (left[flow.verdict] ?? flow.verdict);
  if (flow.from !== 'nodeA') return { ...flow, at: 'pod', ...(verdict === undefined ? {} : { verdict }) };
  return { ...flow, at: 'nic', verdict: verdict ?? 'FORWARD_REQUEST' };
}

/** By verdict. Everything else that is dropped or rejected at a NIC is XDP's. */
export const leftToTc: Readonly<Record<string, string>> = {
  REJECT_TTL_EXPIRED: 'XDP does not send a packet that is at its last hop: tc answers it',
  REJECT_TOO_BIG: 'XDP does not send what is too long for the way: tc knows segments, and answers it',
  FORWARD_REQUEST: 'XDP asks no route: tc looks up the way to a backend, for all its flows; the bench requires the others of XDP',
  FORWARD_REPLY: 'the first finds no way remembered, and pods take no frames of XDP; the bench requires the others of XDP',
  REJECT_GONE_BACKEND: 'where the stack carries the flow',
  DROP_NO_ROUTE: 'without a way XDP leaves the packet to tc, which asks again',
  DROP_NO_SNAT_ADDRESS: 'likewise: when addresses change, every way that is remembered ends',
};
