// Which hook answers a row? The tables say it for tc and for the socket hook that serves all; here is what they mean with other
// combinations of hooks, and what XDP leaves to tc.
import { type Subject, unservedAs } from '../../control/kernel/unserved.ts';
import type { Case, VerdictName } from '../lib/flow.ts';
import { places } from '../lib/places.ts';

export interface Hooks {
  readonly tc: boolean;
  readonly socket: 'on' | 'host-only' | 'off';
  /** XDP runs only before tc. */
  readonly xdp: boolean;
}

/** What a table needs besides. */
export type Setting = 'none' | 'masqueradeAll' | 'rangesEverywhere';

/** A row as it is with some hooks. */
export interface Answer {
  readonly flow: Case;
  /** Verdicts that move besides: of the hook that leaves the row to another. */
  readonly also: readonly VerdictName[];
}

/** Who of a row's kind is not served with these hooks; undefined: it is served. As control/kernel/unserved.ts says. */
export function unservedIn(flow: Case, hooks: Hooks, setting: Setting = 'none'): Subject | undefined {
  const subjects: Subject[] = [];
  if (flow.from === 'nodeA') {
    if (/^(127\.|::1$)/.test(flow.address)) subjects.push('loopback');
    if (Object.keys(flow.reaches ?? {}).some((place) => places[place as keyof typeof places].node === 'nodeA'))
      subjects.push('node to local backend');
    if (flow.address === places.nodeA[flow.family]) subjects.push('node to own address');
  } else if (flow.at === 'nic' || flow.protocol === 'udp') subjects.push('outside');
  else subjects.push('pod');
  // Of a pod's calls the hook itself refuses those without an endpoint; every other outcome but a backend is a packet's.
  const refused =
    flow.at === 'socket' ? flow.verdict === 'PASS_ABSTAIN' : flow.verdict !== undefined && flow.verdict !== 'REJECT_NO_ENDPOINTS';
  if (refused || (flow.at === 'pod' && wantsMasquerade(flow, setting))) subjects.push('left by the socket hook');
  return subjects.find((subject) => unservedAs(subject, hooks) !== undefined);
}

/** What a row is with hooks that serve it. */
export function under(flow: Case, hooks: Hooks, setting: Setting = 'none'): Answer {
  const also = hooks.xdp ? ['PASS_TO_TC'] : [];
  const atSocket = flow.from === 'nodeA' ? hooks.socket !== 'off' : hooks.socket === 'on' && flow.protocol === 'tcp';
  if (flow.at === 'pod' && atSocket) {
    return { flow: wantsMasquerade(flow, setting) ? flow : toSocket(flow), also: [...also, 'PASS_ABSTAIN'] };
  }
  if (flow.at === 'socket' && !atSocket) return { flow: toPackets(flow), also: [...also, 'TRANSLATE_REPLY'] };
  return { flow, also };
}

/** What every ClusterIP of the manifests begins with. */
const clusterIPs = { 4: '10.96.', 6: 'fd96:' } as const;

/** The socket hook would have to know the source. */
function wantsMasquerade(flow: Case, setting: Setting): boolean {
  return setting === 'masqueradeAll' && flow.address.startsWith(clusterIPs[flow.family]);
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
