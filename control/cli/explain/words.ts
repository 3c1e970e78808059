// Which rule decided? The rows of docs/semantics.md in a sentence each, for one connection.

import { BackendFlag, type Frontend, FrontendFlag, SettingFlag, type Settings } from '../../abi/layout.gen.ts';
import type { Client, VerdictName, Walk, WalkCandidate, WalkHook } from '../../kernel/walk.ts';
import type { Address, FrontendKind } from '../../model/model.ts';

export const HOOKS: Readonly<Record<WalkHook, string>> = {
  socket: 'the socket hook',
  pod: 'tc at the ingress of the pod',
  nic: 'tc at the ingress of the NIC',
  node: 'tc at the egress of the NIC',
};

const CLIENTS: Readonly<Record<Client, string>> = {
  node: 'the node itself',
  pod: 'a pod of this node',
  outside: 'neither a pod of this node nor the node',
};

/** The kind of a frontend, as far as its entry tells: a VIP may be an external IP or a load balancer's address. */
export function kindOf(frontend: Frontend): FrontendKind | 'External' {
  if (frontend.flags & FrontendFlag.FRONTEND_CLUSTER_IP) return 'ClusterIP';
  return frontend.flags & FrontendFlag.FRONTEND_NODE_PORT ? 'NodePort' : 'External';
}

/** The row of table 0.1 that holds. */
export function branchOf({ frontend, client, policy, verdict }: Walk): string | undefined {
  if (frontend === undefined || client === undefined) return undefined;
  const internal = kindOf(frontend) === 'ClusterIP';
  const name = internal ? 'internalTrafficPolicy' : 'externalTrafficPolicy';
  const local = (frontend.flags & FrontendFlag.FRONTEND_LOCAL) !== 0;
  if (!(frontend.flags & FrontendFlag.FRONTEND_HAS_ENDPOINTS))
    return `no usable endpoint anywhere, so ${name} is not asked: rejected (0.1)`;
  if (policy === undefined) return undefined;
  if (policy === 'Local')
    return verdict === undefined
      ? `${name} Local, endpoints here: one of L (0.1)`
      : `${name} Local, no endpoint here but some elsewhere: silence, not a refusal (0.1)`;
  if (local) return `${name} Local does not count for ${CLIENTS[client]}: the short circuit, one of C (0.1)`;
  return `${name} Cluster: one of C (0.1)`;
}

/** Does the backend see the node's address, and why (table 0.2)? */
export function masqueradeWords(walk: Walk, candidate: WalkCandidate, hook: WalkHook, source: Address, s: Settings): string {
  const { frontend, client } = walk;
  if (hook === 'socket') return 'no: the destination changes before the process has a source address';
  if (client === 'node') return 'not needed: the node sends from an address of its own';
  if (candidate.flags & BackendFlag.BACKEND_HOST) return "never: the backend's address is this node's own (3.18)";
  if (source === candidate.address) return 'yes: the backend is the client itself, a hairpin (3.15)';
  if (frontend !== undefined && frontend.flags & FrontendFlag.FRONTEND_CLUSTER_IP && s.flags & SettingFlag.SETTING_MASQUERADE_ALL)
    return 'yes: masqueradeAll is set';
  if (candidate.masquerade)
    return 'yes: the client is no pod of this node and the backend is elsewhere, so the answer would not come by here';
  return client === 'pod'
    ? 'no: the client is a pod of this node, so the answer comes by here'
    : 'no: the backend is on this node, so the answer comes by here';
}

/** How one of several is chosen (2.5, 6.3). */
export function choiceOf({ frontend, policy }: Walk, hook: WalkHook): string {
  if (frontend === undefined) return '';
  const table = policy === 'Local' ? frontend.local_table : frontend.cluster_table;
  const affine = (frontend.flags & FrontendFlag.FRONTEND_AFFINITY) !== 0;
  const first = affine ? `the one of the client's affinity for ${frontend.affinity_seconds} s, else ` : '';
  if (hook === 'nic' && table.count > 0)
    return `${first}by Maglev over ${table.count} slots: of the client's address${affine ? '' : ' and port'}, the same on every node (6.3)`;
  return `${first}at random (2.5)`;
}

/** Source ranges in a sentence. */
export function sourcesOf({ frontend, verdict }: Walk, ranges: readonly string[]): string {
  if (frontend === undefined || !(frontend.flags & FrontendFlag.FRONTEND_SOURCE_RANGES)) return 'open to everybody';
  const list = ranges.length > 6 ? `${ranges.slice(0, 6).join(', ')} and ${ranges.length - 6} more` : ranges.join(', ');
  const own = frontend.flags & FrontendFlag.FRONTEND_SELF_ALLOWED ? ' (and its own address, 7.2)' : '';
  const only = `only ${list || 'nobody: no range is in the maps'}${own}`;
  if (verdict === 'PASS_ABSTAIN') return `${only}; not known to the socket hook, so asked of the packets (7.3)`;
  return verdict === 'DROP_SOURCE_RANGE' ? `${only}: not this client (7.1)` : `${only}: this client is allowed (7.1)`;
}

/** Verdicts that are not about a chosen backend, for people. */
const VERDICTS: Readonly<Partial<Record<VerdictName, string>>> = {
  PASS_NOT_OURS: 'not ours: the packet goes on untouched',
  PASS_SOCKET: 'not ours: the call goes on untouched',
  PASS_ABSTAIN: 'left to the packets',
  PASS_YIELDED: 'left to whoever comes after us: this datapath takes no new flow now (15.3, 15.7)',
  DROP_NO_LOCAL_BACKEND: 'dropped: the policy is Local and no endpoint is on this node',
  DROP_SOURCE_RANGE: 'dropped: the client is in no source range',
  DROP_UNASSIGNED: 'dropped: the address is inside a ServiceCIDR and no Service has it',
  DROP_STALE_SLOT: 'dropped: a slot names no backend, which is a bug or somebody changed the maps',
  REJECT_NO_ENDPOINTS: 'rejected: no usable endpoint anywhere, the client is told "connection refused"',
  REJECT_UNOWNED_PORT: 'rejected: the Service of this ClusterIP does not have this port, the client is told "connection refused"',
  TRANSLATE_REQUEST: 'translated, and the kernel routes it to the backend',
  TRANSLATE_SOCKET: 'the process is connected to the backend itself',
  FORWARD_REQUEST: 'translated, masqueraded where that is needed, and sent by us',
  FORWARD_HAIRPIN: 'turned around at the interface of the pod',
};

export function verdictWords(verdict: VerdictName): string {
  return VERDICTS[verdict] ?? verdict;
}

/** What becomes of the connection, for scripts. */
export type Outcome = 'served' | 'passed' | 'denied';

export function outcomeOf(verdict: VerdictName): Outcome {
  if (verdict.startsWith('PASS')) return 'passed';
  return verdict.startsWith('DROP') || verdict.startsWith('REJECT') ? 'denied' : 'served';
}
