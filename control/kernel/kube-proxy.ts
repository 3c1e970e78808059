// Is kube-proxy on this node: its rules, its process, connections that it translated and that live on in netfilter? Everything is asked
// of the kernel; what may not be looked at is said. Nothing is changed here.

import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { AddressFlag } from '../abi/layout.gen.ts';
import { familyOf, UNSPECIFIED } from '../address.ts';
import type { Problem } from '../model/model.ts';
import { mapsOf } from './held.ts';
import type { Maps } from './maps.ts';
import type { Native } from './native.ts';
import { hasChain, hasLegacyChain, hasOtherNat, hasTable, NETLINK_NETFILTER, type Translated, translatedConnections } from './netfilter.ts';
import type { PortRange } from './ports.ts';

export type KubeProxyMode = 'nftables' | 'iptables' | 'iptables-legacy' | 'ipvs';

/** What was found. */
export interface KubeProxyRules {
  /** Whose rules are there. */
  readonly modes: readonly KubeProxyMode[];
  /** What could not be looked at, a phrase each. */
  readonly unseen: readonly string[];
}

/** kube-proxy: the table of its nftables mode, in both families. */
export const NFTABLES_TABLE = 'kube-proxy';
/** kube-proxy: the chain that everything of its iptables mode hangs from. */
const CHAIN = 'KUBE-SERVICES';
/** kube-proxy: the device that has the VIPs in ipvs mode. */
const IPVS_DEVICE = 'kube-ipvs0';
const FAMILIES = ['ip', 'ip6'] as const;
const LEGACY_TABLES = { ip: '/proc/net/ip_tables_names', ip6: '/proc/net/ip6_tables_names' } as const;

/** The rules of kube-proxy in the process's network namespace. */
export function findKubeProxyRules(native: Native): KubeProxyRules {
  const modes = new Set<KubeProxyMode>();
  const unseen: string[] = [];
  const netlink = native.netlinkOpen(NETLINK_NETFILTER, 0);
  try {
    for (const family of FAMILIES) {
      if (hasTable(native, netlink, family, NFTABLES_TABLE)) modes.add('nftables');
      if (hasChain(native, netlink, family, 'nat', CHAIN)) modes.add('iptables');
    }
  } finally {
    native.closeFd(netlink);
  }
  for (const family of FAMILIES) {
    // Only where the table is there: the question would load and hook it.
    if (!linesOf(LEGACY_TABLES[family]).includes('nat')) continue;
    const found = hasLegacyChain(native, family, 'nat', CHAIN);
    if (found) modes.add('iptables-legacy');
    else if (found === undefined)
      unseen.push(`the nat table of ${family === 'ip' ? 'iptables' : 'ip6tables'}-legacy (it needs CAP_NET_ADMIN)`);
  }
  if (linesOf('/proc/net/dev').some((line) => line.trim().startsWith(`${IPVS_DEVICE}:`))) modes.add('ipvs');
  return { modes: [...modes], unseen };
}

function linesOf(path: string): string[] {
  return existsSync(path) ? readFileSync(path, 'utf8').split('\n') : [];
}

/** Is kube-proxy's table the last of a family that translates? With it the kernel would stop, and its connections end. */
export function isLastThatTranslates(native: Native): boolean {
  const netlink = native.netlinkOpen(NETLINK_NETFILTER, 0);
  try {
    return FAMILIES.some(
      (family) =>
        hasTable(native, netlink, family, NFTABLES_TABLE) &&
        !linesOf(LEGACY_TABLES[family]).includes('nat') &&
        !hasOtherNat(native, netlink, family, NFTABLES_TABLE),
    );
  } finally {
    native.closeFd(netlink);
  }
}

/** Ids of processes named kube-proxy in this network namespace, as far as /proc shows processes. */
export function kubeProxyProcesses(): number[] {
  const own = readlinkSync('/proc/self/ns/net');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/comm`, 'utf8') === 'kube-proxy\n' && readlinkSync(`/proc/${pid}/ns/net`) === own;
      } catch {
        // It is gone, or not ours to see.
        return false;
      }
    })
    .map(Number);
}

/** What of netfilter's translations concerns us. */
export interface Leftovers {
  /** Connections to frontends of ours that netfilter translates: they are kube-proxy's, and live. */
  readonly connections: number;
  /** Ports of our pool that netfilter gave to a masqueraded connection: no masquerade of ours may use them meanwhile. */
  readonly ports: ReadonlySet<number>;
}

export function leftoversIn(connections: readonly Translated[], maps: Maps, pool: PortRange): Leftovers {
  const ports = new Set<number>();
  let count = 0;
  for (const { request, reply, masqueraded, redirected } of connections) {
    if (masqueraded && reply.destinationPort >= pool.first && reply.destinationPort <= pool.last) ports.add(reply.destinationPort);
    if (redirected && isFrontend(maps, request.destination, request.destinationPort, request.protocol)) count++;
  }
  return { connections: count, ports };
}

function isFrontend(maps: Maps, address: string, port: number, protocol: number): boolean {
  const family = familyOf(address);
  const { addresses, frontends } = mapsOf(maps, family);
  const flags = addresses.get(address) ?? 0;
  if (flags & AddressFlag.ADDRESS_FRONTEND && frontends.get({ address, port, protocol }) !== undefined) return true;
  return (flags & AddressFlag.ADDRESS_NODE_PORT) !== 0 && frontends.get({ address: UNSPECIFIED[family], port, protocol }) !== undefined;
}

/** What is known of kube-proxy on this node. */
export interface KubeProxyStatus extends KubeProxyRules {
  /** Since when the agent serves beside its rules, ms since the epoch; null: they are not there. */
  readonly besideSince: number | null;
  /** When a process of it was last seen, ms since the epoch; null: never. */
  readonly processSeenAt: number | null;
  /** Connections to our frontends that netfilter translates; null: this kernel does not list them. */
  readonly connections: number | null;
}

export interface KubeProxyWatch {
  /** Looks for rules and processes now; for connections too where it is time. */
  look(): void;
  /** Counts connections now, where there is somebody whose they could be. */
  count(): void;
  status(): KubeProxyStatus;
  /** Connections that we did not begin may be alive: TCP in its middle is theirs. */
  othersFlows(): boolean;
  ports(): ReadonlySet<number>;
  problems(): readonly Problem[];
}

/** Rules and processes are looked for so often, connections too while there are rules or were connections. */
export const LOOK_MS = 5_000;
const CONNECTIONS_MS = 30_000;

/** Remembers between looks. clock: ms since the epoch. It looks once at once. */
export function watchKubeProxy(native: Native, maps: Maps, pool: PortRange, clock: () => number): KubeProxyWatch {
  let rules: KubeProxyRules = { modes: [], unseen: [] };
  let besideSince: number | null = null;
  let processSeenAt: number | null = null;
  let leftovers: Leftovers | undefined = { connections: 0, ports: new Set() };
  let countedAt = Number.NEGATIVE_INFINITY;
  let counted = false;

  function countNow(now: number): void {
    const netlink = native.netlinkOpen(NETLINK_NETFILTER, 0);
    try {
      const connections = translatedConnections(native, netlink);
      leftovers = connections && leftoversIn(connections, maps, pool);
    } finally {
      native.closeFd(netlink);
    }
    countedAt = now;
    counted = true;
  }

  const watch: KubeProxyWatch = {
    look() {
      const now = clock();
      rules = findKubeProxyRules(native);
      const there = rules.modes.length > 0;
      besideSince = there ? (besideSince ?? now) : null;
      if (there && kubeProxyProcesses().length > 0) processSeenAt = now;
      // Its rules may be gone while its connections live: looked at once in any case.
      if (!counted || ((there || (leftovers?.connections ?? 0) > 0) && now - countedAt >= CONNECTIONS_MS)) countNow(now);
    },
    count() {
      if (rules.modes.length > 0 || (leftovers?.connections ?? 0) > 0) countNow(clock());
    },
    status: () => ({ ...rules, besideSince, processSeenAt, connections: leftovers?.connections ?? null }),
    // A kernel that does not list them: as long as there are rules.
    othersFlows: () => rules.modes.length > 0 || (leftovers?.connections ?? 0) > 0,
    ports: () => leftovers?.ports ?? new Set(),
    problems: () => (rules.modes.length === 0 ? [] : [beside(rules)]),
  };
  watch.look();
  return watch;
}

function beside({ modes }: KubeProxyRules): Problem {
  return {
    object: 'Agent',
    field: 'kube-proxy',
    reason: 'KubeProxyBeside',
    message: `kube-proxy's rules are on this node (${modes.join(', ')}): new connections are served by sluice, those that kube-proxy translated live on in netfilter. When kube-proxy has stopped for good, run: sluice cleanup --kube-proxy`,
  };
}
