// How do kube-proxy's rules leave this node, and nothing else? Its nftables table by one transaction of the kernel's; its chains of iptables by the
// tools that know every match in them. What netfilter remembers of connections stays: they live on.

import { spawnSync } from 'node:child_process';
import { type KubeProxyMode, NFTABLES_TABLE } from './kube-proxy.ts';
import type { Native } from './native.ts';
import { deleteTable, hasTable, NETLINK_NETFILTER } from './netfilter.ts';

/** kube-proxy: chains of a fixed name. Not kubelet's: KUBE-FIREWALL, KUBE-KUBELET-CANARY, KUBE-IPTABLES-HINT, KUBE-MARK-DROP. */
const CHAINS = new Set(
  'SERVICES EXTERNAL-SERVICES NODEPORTS POSTROUTING MARK-MASQ FORWARD PROXY-FIREWALL PROXY-CANARY'.split(' ').map((name) => `KUBE-${name}`),
);
/** kube-proxy: one for each Service port or endpoint. */
const CHAIN_OF_SERVICE = /^KUBE-(SVC|SVL|SEP|EXT|FW|XLB)-[A-Z0-9]{16}$/;
const BUILT_IN = new Set(['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING']);

function isKubeProxys(chain: string): boolean {
  return CHAINS.has(chain) || CHAIN_OF_SERVICE.test(chain);
}

export interface Restoration {
  /** For `iptables-restore --noflush`; empty: there is nothing to remove. */
  readonly text: string;
  /** Chains that go, as `table CHAIN`. */
  readonly chains: readonly string[];
  /** Chains that stay because somebody else's chain leads to them, likewise. */
  readonly kept: readonly string[];
}

/** Reads what `iptables-save` printed and says what removes kube-proxy's part of it. Pure. */
export function restorationOf(saved: string): Restoration {
  const lines: string[] = [];
  const chains: string[] = [];
  const kept: string[] = [];
  for (const part of saved.split(/^\*/m).slice(1)) {
    const [table = '', ...rest] = part.split('\n');
    const own = rest.flatMap((line) => /^:(\S+) /.exec(line)?.[1] ?? []).filter(isKubeProxys);
    if (own.length === 0) continue;
    const rules = rest.flatMap((line) => {
      const match = /^-A (\S+) (.*)$/.exec(line);
      return match === null ? [] : [{ chain: match[1]!, target: /(?:^| )-[jg] (\S+)/.exec(match[2]!)?.[1] ?? '', line }];
    });
    const needed = new Set(
      rules.flatMap(({ chain, target }) => (!BUILT_IN.has(chain) && !own.includes(chain) && own.includes(target) ? [target] : [])),
    );
    // What a kept chain leads to is kept with it.
    for (const name of needed) for (const { chain, target } of rules) if (chain === name && own.includes(target)) needed.add(target);
    const going = own.filter((name) => !needed.has(name));
    kept.push(...[...needed].map((name) => `${table} ${name}`));
    if (going.length === 0) continue;
    const jumps = rules.filter(({ chain, target }) => BUILT_IN.has(chain) && going.includes(target));
    lines.push(`*${table}`, ...going.map((name) => `:${name} - [0:0]`), ...jumps.map(({ line }) => line.replace(/^-A/, '-D')));
    lines.push(...going.map((name) => `-X ${name}`), 'COMMIT');
    chains.push(...going.map((name) => `${table} ${name}`));
  }
  return { text: lines.length === 0 ? '' : `${lines.join('\n')}\n`, chains, kept };
}

/** A tool of iptables by its variant; undefined: it is not installed. */
function runTool(tool: string, args: readonly string[], input?: string): string | undefined {
  const { error, status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8', input, maxBuffer: 1 << 30 });
  if (error !== undefined && 'code' in error && error.code === 'ENOENT') return undefined;
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${[tool, ...args].join(' ')} ended with ${status}: ${stderr.trim()}`);
  return stdout;
}

export interface RemovedRules {
  /** A line each. */
  readonly removed: readonly string[];
  /** What is still there, and why. */
  readonly left: readonly string[];
}

/** The variants of iptables, and whose rules are theirs. */
const VARIANTS: readonly { readonly variant: string; readonly mode: KubeProxyMode }[] = [
  { variant: 'nft', mode: 'iptables' },
  { variant: 'legacy', mode: 'iptables-legacy' },
];

/** Removes kube-proxy's rules in this network namespace, where those of these modes were found. May be run again. */
export function removeKubeProxyRules(native: Native, modes: readonly KubeProxyMode[]): RemovedRules {
  const removed: string[] = [];
  const left: string[] = [];
  const netlink = native.netlinkOpen(NETLINK_NETFILTER, 0);
  try {
    for (const family of ['ip', 'ip6'] as const) {
      if (!hasTable(native, netlink, family, NFTABLES_TABLE)) continue;
      deleteTable(native, netlink, family, NFTABLES_TABLE);
      removed.push(`nftables table ${family} ${NFTABLES_TABLE}`);
    }
  } finally {
    native.closeFd(netlink);
  }
  for (const { variant, mode } of VARIANTS) {
    const missing: string[] = [];
    for (const family of ['iptables', 'ip6tables']) {
      const tool = `${family}-${variant}`;
      const saved = runTool(`${tool}-save`, []);
      if (saved === undefined) {
        missing.push(`${tool}-save`);
        continue;
      }
      const { text, chains, kept } = restorationOf(saved);
      if (text !== '' && runTool(`${tool}-restore`, ['--noflush', '--wait'], text) === undefined) missing.push(`${tool}-restore`);
      else removed.push(...chains.map((chain) => `${tool} chain ${chain}`));
      left.push(...kept.map((chain) => `${tool} chain ${chain}: a chain that is not kube-proxy's leads to it`));
    }
    if (missing.length > 0 && modes.includes(mode))
      left.push(
        `the chains of iptables-${variant}: ${missing.join(' and ')} ${missing.length > 1 ? 'are' : 'is'} not installed here. On the node itself run "kube-proxy --cleanup", from kube-proxy's image in a privileged container, or "sluice cleanup --kube-proxy" of sluice's package where iptables is installed`,
      );
  }
  if (modes.includes('ipvs'))
    left.push(
      'ipvs and its device kube-ipvs0: on the node itself run "kube-proxy --cleanup", from kube-proxy\'s image in a privileged container',
    );
  return { removed, left };
}
