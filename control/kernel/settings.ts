// What holds for every packet? The value of the map `settings`, from the options, the cluster's prefixes and what the kernel told. Pure.

import { type Prefix4, type Prefix6, SettingFlag, type Settings } from '../abi/layout.gen.ts';
import { addressText, prefixParts } from '../address.ts';
import type { Prefix, Problem } from '../model/model.ts';
import type { DatapathOptions } from './options.ts';

/** Not an operator's choice: long enough for a slow handshake, and for late packets of a closed connection (9.8). */
export const TCP_SYN_SECONDS = 60;
export const TCP_CLOSE_SECONDS = 30;
/** A remembered next hop is looked up again after so long, by a packet that goes the kernel's neighbour way and so keeps it alive. */
export const NEXT_HOP_SECONDS = 10;

/** Entries of the arrays in struct settings. */
const PREFIXES = 8;

/** What the kernel told at start. */
export interface Clocks {
  /** Of the node's own network namespace; 0 where the socket hook is off, which alone asks for it. */
  readonly netnsCookie: bigint;
  readonly jiffiesPerSecond: number;
}

/** What the cluster says; changes while the agent runs. */
export interface ClusterPrefixes {
  readonly serviceCIDRs: readonly Prefix[];
  /** Where local pods' addresses are; undefined: a local pod is what enters by a pod's interface (14.2). */
  readonly localPrefixes: readonly Prefix[] | undefined;
}

/** What the agent finds out while it runs. */
export interface Standing {
  /** Cgroups are left alone by the socket hook. */
  readonly exempting: boolean;
  /** No new flow is taken. */
  readonly yielding: boolean;
  /** Others translated connections before us, and some may be alive. */
  readonly othersFlows: boolean;
}

const ALONE: Standing = { exempting: false, yielding: false, othersFlows: false };

/** The value, and a Problem for each list that does not fit. */
export function settingsOf(
  options: DatapathOptions,
  clocks: Clocks,
  prefixes: ClusterPrefixes,
  routeGeneration: number,
  standing: Standing = ALONE,
): { settings: Settings; problems: Problem[] } {
  const jiffies = (seconds: number) => Math.min(seconds * clocks.jiffiesPerSecond, 0x7fffffff);
  const service = split(prefixes.serviceCIDRs);
  const local = split(prefixes.localPrefixes ?? []);
  const settings: Settings = {
    host_netns_cookie: clocks.netnsCookie,
    flags: flagsOf(options, prefixes, standing),
    jiffies_per_second: clocks.jiffiesPerSecond,
    tcp_syn_timeout: jiffies(TCP_SYN_SECONDS),
    tcp_established_timeout: jiffies(options.conntrack.tcpEstablishedSeconds),
    tcp_close_timeout: jiffies(TCP_CLOSE_SECONDS),
    udp_timeout: jiffies(options.conntrack.udpSeconds),
    udp_stream_timeout: jiffies(options.conntrack.udpStreamSeconds),
    next_hop_age: jiffies(NEXT_HOP_SECONDS),
    route_generation: routeGeneration,
    mark: options.masqueradeMark >>> 0,
    snat_first: options.snatPorts.first,
    snat_last: options.snatPorts.last,
    service_count4: Math.min(service.v4.length, PREFIXES),
    service_count6: Math.min(service.v6.length, PREFIXES),
    local_count4: Math.min(local.v4.length, PREFIXES),
    local_count6: Math.min(local.v6.length, PREFIXES),
    service4: service.v4.slice(0, PREFIXES),
    local4: local.v4.slice(0, PREFIXES),
    service6: service.v6.slice(0, PREFIXES),
    local6: local.v6.slice(0, PREFIXES),
  };
  const problems = [
    ...tooMany('serviceCIDRs', service, 'addresses in the rest that no Service has are passed, not dropped'),
    ...tooMany('local pod prefixes', local, 'pods in the rest count as clients from outside'),
  ];
  return { settings, problems };
}

function flagsOf(options: DatapathOptions, prefixes: ClusterPrefixes, standing: Standing): number {
  const { socket } = options.hooks;
  return (
    (options.masqueradeAll ? SettingFlag.SETTING_MASQUERADE_ALL : 0) |
    (prefixes.localPrefixes !== undefined ? SettingFlag.SETTING_LOCAL_BY_PREFIX : 0) |
    (socket === 'on' ? SettingFlag.SETTING_SOCKET_PODS : 0) |
    (socket !== 'off' ? SettingFlag.SETTING_SOCKET_HOST : 0) |
    (standing.exempting ? SettingFlag.SETTING_EXEMPT_CGROUPS : 0) |
    (standing.yielding ? SettingFlag.SETTING_YIELD : 0) |
    (standing.othersFlows ? SettingFlag.SETTING_OTHERS_FLOWS : 0)
  );
}

interface Families {
  readonly v4: readonly Prefix4[];
  readonly v6: readonly Prefix6[];
}

function split(prefixes: readonly Prefix[]): Families {
  const parts = prefixes.map(prefixParts);
  const entry = ({ address, bytes, length }: (typeof parts)[number]) => ({
    network: address,
    mask: addressText(maskBytes(bytes.length, length)),
  });
  return {
    v4: parts.filter(({ bytes }) => bytes.length === 4).map(entry),
    v6: parts.filter(({ bytes }) => bytes.length === 16).map(entry),
  };
}

function maskBytes(size: number, length: number): Uint8Array {
  return Uint8Array.from({ length: size }, (_, i) => (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))) & 0xff);
}

function tooMany(what: string, families: Families, effect: string): Problem[] {
  return [
    { family: 'IPv4', count: families.v4.length },
    { family: 'IPv6', count: families.v6.length },
  ]
    .filter(({ count }) => count > PREFIXES)
    .map(({ family, count }) => ({
      object: 'Agent',
      reason: 'CapacityExceeded',
      message: `${count} ${family} ${what}, of which ${PREFIXES} fit: ${effect}`,
    }));
}
