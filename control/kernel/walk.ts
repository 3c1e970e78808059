// What does the datapath do with the first packet of a new connection? The same questions as bpf/lb.h and bpf/sock.bpf.c in the same
// order, asked of the entries: for tests and for people. It knows no bytes, no flow and no route.

import {
  AddressFlag,
  BackendFlag,
  type Frontend,
  FrontendFlag,
  type FrontendKey4,
  SettingFlag,
  type Settings,
  type Slice,
  type Verdict,
} from '../abi/layout.gen.ts';
import { addressBytes, addressKind, familyOf, UNSPECIFIED } from '../address.ts';
import type { Address, Family } from '../model/model.ts';
import { mapsOf } from './held.ts';
import type { Maps } from './maps.ts';

export type VerdictName = keyof typeof Verdict;

/** Where the connection is first seen. */
export type WalkHook =
  | 'nic' // it enters by a NIC or a tunnel device
  | 'pod' // a pod of this node sends it
  | 'node' // the node's own, about to leave by a NIC: the socket hook left it alone
  | 'socket'; // a process calls connect or sendmsg

/** A new connection, or a datagram that begins one. */
export interface NewFlow {
  readonly hook: WalkHook;
  readonly source: Address;
  readonly destination: Address;
  readonly port: number;
  /** IP protocol number: 6 or 17. */
  readonly protocol: number;
  /** Socket hook: the process is in the node's own network namespace. */
  readonly local?: boolean;
}

/** A backend that may be chosen, and what that would mean. */
export interface WalkCandidate {
  readonly id: number;
  readonly address: Address;
  readonly port: number;
  /** Of its entry (enum backend_flag). */
  readonly flags: number;
  /** It sees an address of this node as the source. */
  readonly masquerade: boolean;
  readonly verdict: VerdictName;
}

export interface Walk {
  /** Undefined where backends may be chosen: each has its own verdict. */
  readonly verdict: VerdictName | undefined;
  readonly candidates: readonly WalkCandidate[];
  /** The frontend it is for, where one was found, and the key it stands under: an unspecified address for a NodePort. */
  readonly frontend: Frontend | undefined;
  readonly key: FrontendKey4 | undefined;
  /** Who asks, as the policies see it; undefined where they were not asked. */
  readonly client: Client | undefined;
  /** The policy that counts for this client, where its slice was looked at. */
  readonly policy: 'Cluster' | 'Local' | undefined;
}

/** `outside`: neither a pod of this node nor the node. */
export type Client = 'outside' | 'pod' | 'node';

interface Found {
  readonly key: FrontendKey4;
  readonly frontend: Frontend;
}

function ends(verdict: VerdictName, found?: Found, client?: Client, policy?: Walk['policy']): Walk {
  return { verdict, candidates: [], frontend: found?.frontend, key: found?.key, client, policy };
}

function addressFlags(maps: Maps, address: Address): number {
  return mapsOf(maps, familyOf(address)).addresses.get(address) ?? 0;
}

/** Inside one of the first `count` prefixes, given as network and mask. */
function inside(address: Address, prefixes: readonly { readonly network: Address; readonly mask: Address }[], count: number): boolean {
  const bytes = addressBytes(address);
  return prefixes.slice(0, count).some(({ network, mask }) => {
    const [networkBytes, maskBytes] = [addressBytes(network), addressBytes(mask)];
    return bytes.every((byte, i) => (byte & maskBytes[i]!) === networkBytes[i]);
  });
}

function inServiceCIDR(address: Address, s: Settings): boolean {
  return familyOf(address) === 4 ? inside(address, s.service4, s.service_count4) : inside(address, s.service6, s.service_count6);
}

function isLocalPod(address: Address, s: Settings): boolean {
  return familyOf(address) === 4 ? inside(address, s.local4, s.local_count4) : inside(address, s.local6, s.local_count6);
}

/** Exact first, then NodePort: a VIP and port always beat a NodePort (0.3). */
function findFrontend(maps: Maps, { destination: address, port, protocol }: NewFlow, flags: number): Found | undefined {
  const family = familyOf(address);
  const find = (at: Address): Found | undefined => {
    const key = { address: at, port, protocol };
    const frontend = mapsOf(maps, family).frontends.get(key);
    return frontend === undefined ? undefined : { key, frontend };
  };
  return (
    (flags & AddressFlag.ADDRESS_FRONTEND ? find(address) : undefined) ??
    (flags & AddressFlag.ADDRESS_NODE_PORT ? find(UNSPECIFIED[family]) : undefined)
  );
}

function inRanges(maps: Maps, frontend: Frontend, source: Address): boolean {
  const family = familyOf(source);
  const key = { prefix_length: family === 4 ? 64 : 160, frontend: frontend.id, address: source };
  return mapsOf(maps, family).source_ranges.get(key) !== undefined;
}

function sourceAllowed(maps: Maps, frontend: Frontend, { source, destination }: NewFlow): boolean {
  if (!(frontend.flags & FrontendFlag.FRONTEND_SOURCE_RANGES)) return true;
  // The node talks to a VIP that it has itself (7.2).
  if (frontend.flags & FrontendFlag.FRONTEND_SELF_ALLOWED && source === destination) return true;
  return inRanges(maps, frontend, source);
}

/** kube-proxy: from this node an external address means "out to the load balancer and back": neither policy counts. */
function policyFor(frontend: Frontend, client: Client): 'Cluster' | 'Local' {
  const internal = (frontend.flags & FrontendFlag.FRONTEND_CLUSTER_IP) !== 0;
  return (frontend.flags & FrontendFlag.FRONTEND_LOCAL) !== 0 && (internal || client === 'outside') ? 'Local' : 'Cluster';
}

/** The slice that the policy gives this client (0.1), or why it gets none. */
function chooseSlice(frontend: Frontend, policy: 'Cluster' | 'Local'): Slice | VerdictName {
  if (!(frontend.flags & FrontendFlag.FRONTEND_HAS_ENDPOINTS)) return 'REJECT_NO_ENDPOINTS';
  const slice = policy === 'Local' ? frontend.local : frontend.cluster;
  if (slice.count > 0) return slice;
  return policy === 'Local' ? 'DROP_NO_LOCAL_BACKEND' : 'REJECT_NO_ENDPOINTS';
}

function needsMasquerade(
  frontend: Frontend,
  backend: { address: Address; flags: number },
  client: Client,
  source: Address,
  s: Settings,
): boolean {
  if (client === 'node' || backend.flags & BackendFlag.BACKEND_HOST) return false;
  if (source === backend.address) return true;
  if (frontend.flags & FrontendFlag.FRONTEND_CLUSTER_IP && s.flags & SettingFlag.SETTING_MASQUERADE_ALL) return true;
  return client === 'outside' && !(backend.flags & BackendFlag.BACKEND_LOCAL);
}

function packetVerdict(flow: NewFlow, backend: Address, masquerade: boolean): VerdictName {
  if (flow.hook === 'node') return 'FORWARD_REQUEST';
  if (!masquerade) return 'TRANSLATE_REQUEST';
  return flow.hook === 'pod' && flow.source === backend ? 'FORWARD_HAIRPIN' : 'FORWARD_REQUEST';
}

/** Everybody in the slice, with what choosing him means. */
function candidates(
  maps: Maps,
  family: Family,
  slice: Slice,
  judge: (backend: { address: Address; flags: number }) => [boolean, VerdictName],
): WalkCandidate[] {
  return Array.from({ length: slice.count }, (_, i) => {
    const id = maps.slots.get(slice.first + i);
    const entry = mapsOf(maps, family).backends.get(id);
    if (id === 0 || entry === undefined || !(entry.flags & BackendFlag.BACKEND_LIVE)) {
      return { id, address: UNSPECIFIED[family], port: 0, flags: 0, masquerade: false, verdict: 'DROP_STALE_SLOT' };
    }
    const [masquerade, verdict] = judge(entry);
    return { id, address: entry.address, port: entry.port, flags: entry.flags, masquerade, verdict };
  });
}

/** What nobody owns inside a ServiceCIDR is dropped (4.4). */
function notOurs(flow: NewFlow, s: Settings): Walk {
  return ends(!yields(s) && inServiceCIDR(flow.destination, s) ? 'DROP_UNASSIGNED' : 'PASS_NOT_OURS');
}

/** No new flow is taken: it goes to whoever comes after us. */
function yields(s: Settings): boolean {
  return (s.flags & SettingFlag.SETTING_YIELD) !== 0;
}

function clientOf(flow: NewFlow, s: Settings): Client {
  if (flow.hook === 'node') return 'node';
  if (s.flags & SettingFlag.SETTING_LOCAL_BY_PREFIX) return isLocalPod(flow.source, s) ? 'pod' : 'outside';
  return flow.hook === 'pod' ? 'pod' : 'outside';
}

function walkPacket(maps: Maps, flow: NewFlow, s: Settings): Walk {
  const family = familyOf(flow.destination);
  let flags = addressFlags(maps, flow.destination);
  if (flow.hook === 'node') {
    if (!(flags & AddressFlag.ADDRESS_FRONTEND) && !inServiceCIDR(flow.destination, s)) return ends('PASS_NOT_OURS');
    if (!(addressFlags(maps, flow.source) & AddressFlag.ADDRESS_NODE)) return ends('PASS_NOT_OURS');
    flags &= ~AddressFlag.ADDRESS_NODE_PORT;
  }
  if (!(flags & (AddressFlag.ADDRESS_FRONTEND | AddressFlag.ADDRESS_NODE_PORT))) {
    return flags & AddressFlag.ADDRESS_NODE ? ends('PASS_NOT_OURS') : notOurs(flow, s);
  }
  const found = findFrontend(maps, flow, flags);
  // The other ports of external addresses are not ours; those of a ClusterIP are (0.3).
  if (found === undefined) {
    if (!(flags & AddressFlag.ADDRESS_CLUSTER_IP)) return ends('PASS_NOT_OURS');
    return ends(yields(s) ? 'PASS_YIELDED' : 'REJECT_UNOWNED_PORT');
  }
  if (yields(s)) return ends('PASS_YIELDED', found);
  const { frontend } = found;
  const client = clientOf(flow, s);
  if (!sourceAllowed(maps, frontend, flow)) return ends('DROP_SOURCE_RANGE', found, client);
  const policy = policyFor(frontend, client);
  const slice = chooseSlice(frontend, policy);
  if (typeof slice === 'string') return ends(slice, found, client, policy);
  const backends = candidates(maps, family, slice, (backend) => {
    const masquerade = needsMasquerade(frontend, backend, client, flow.source, s);
    return [masquerade, packetVerdict(flow, backend.address, masquerade)];
  });
  return { ...found, verdict: undefined, candidates: backends, client, policy };
}

/** Its own reasons to leave a call to the per-packet path: the source is needed and not known here. */
function abstains(frontend: Frontend, flags: number, node: boolean, s: Settings): boolean {
  if (!node && frontend.flags & FrontendFlag.FRONTEND_CLUSTER_IP && s.flags & SettingFlag.SETTING_MASQUERADE_ALL) return true;
  if (!(frontend.flags & FrontendFlag.FRONTEND_SOURCE_RANGES)) return false;
  // Only to a VIP that the node has itself is the source sure: the VIP (7.2).
  return !node || !(flags & AddressFlag.ADDRESS_NODE);
}

function walkSocket(maps: Maps, flow: NewFlow, s: Settings): Walk {
  const node = flow.local === true;
  const served = s.flags & (node ? SettingFlag.SETTING_SOCKET_HOST : SettingFlag.SETTING_SOCKET_PODS);
  if (!served || (!node && flow.protocol !== 6)) return ends('PASS_SOCKET');
  let flags = addressFlags(maps, flow.destination);
  const kind = addressKind(flow.destination);
  if (kind === 'loopback' || kind === 'unspecified') {
    // The node's own NodePorts in disguise (8.4); a pod's loopback is its own.
    if (!node) return ends('PASS_SOCKET');
    flags = AddressFlag.ADDRESS_NODE_PORT;
  }
  const found = findFrontend(maps, flow, flags);
  if (found === undefined) return ends('PASS_SOCKET');
  if (yields(s)) return ends('PASS_YIELDED', found);
  const { frontend } = found;
  const client = node ? 'node' : 'pod';
  if (abstains(frontend, flags, node, s)) return ends('PASS_ABSTAIN', found, client);
  // What is left of source ranges here: the node asks a VIP of its own, which is then the source.
  if (!sourceAllowed(maps, frontend, { ...flow, source: flow.destination })) return ends('DROP_SOURCE_RANGE', found, client);
  const policy = policyFor(frontend, client);
  const slice = chooseSlice(frontend, policy);
  // A drop is silence, a refused call is not: the per-packet path keeps silent (4.3).
  if (slice === 'DROP_NO_LOCAL_BACKEND') return ends('PASS_ABSTAIN', found, client, policy);
  if (typeof slice === 'string') return ends(slice, found, client, policy);
  const backends = candidates(maps, familyOf(flow.destination), slice, () => [false, 'TRANSLATE_SOCKET']);
  return { ...found, verdict: undefined, candidates: backends, client, policy };
}

/** Who may get the connection, or why nobody does. Throws where the maps hold no settings. */
export function walk(maps: Maps, flow: NewFlow): Walk {
  const s = maps.settings.get(0);
  if (s === undefined) throw new Error('the map settings is empty');
  return flow.hook === 'socket' ? walkSocket(maps, flow, s) : walkPacket(maps, flow, s);
}
