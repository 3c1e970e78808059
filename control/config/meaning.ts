// What do valid fields mean together? Which of several sections counts, which field needs another, and every default.

import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { familyOf, UNSPECIFIED } from '../address.ts';
import type { Config, Fault } from '../config.ts';
import { shown } from '../model/complaints.ts';
import type { Prefix } from '../model/model.ts';
import type { DetectLocal, NodePortAddresses } from '../model/node.ts';
import type { Fields } from './schema.ts';
import type { Listening } from './values.ts';

/** kube-proxy's ports. */
const HEALTHZ_PORT = 10_256;
const METRICS_PORT = 10_249;
const SYNC_PERIOD_MS = 30_000;
const OOM_SCORE_ADJ = -999;

/** Row 14.2: a mode needs its value, and a value its mode. kube-proxy: a clusterCIDR beside another mode is allowed and not used. */
function readDetectLocal(fields: Fields, faults: Fault[]): DetectLocal {
  const { clusterCIDR, detectLocal } = fields;
  const mode = fields.detectLocalMode ?? (clusterCIDR === undefined ? undefined : 'ClusterCIDR');
  const missing = (field: string, allowed: string): DetectLocal => {
    faults.push({ field, given: 'nothing', allowed: `${allowed}, since detectLocalMode is ${mode}` });
    return { mode: 'PodInterfaces' };
  };
  for (const [field, owner, given] of [
    ['detectLocal.bridgeInterface', 'BridgeInterface', detectLocal?.bridgeInterface],
    ['detectLocal.interfaceNamePrefix', 'InterfaceNamePrefix', detectLocal?.interfaceNamePrefix],
  ] as const) {
    if (given === undefined || owner === mode) continue;
    faults.push({ field, given: shown(given), allowed: `nothing, unless detectLocalMode is ${owner} (it is ${mode ?? 'not given'})` });
  }
  switch (mode) {
    case undefined:
      return { mode: 'PodInterfaces' };
    case 'NodeCIDR':
      return { mode };
    case 'ClusterCIDR':
      return clusterCIDR === undefined ? missing('clusterCIDR', 'the networks of pods') : { mode, prefixes: clusterCIDR };
    case 'BridgeInterface': {
      const bridge = detectLocal?.bridgeInterface;
      return bridge === undefined ? missing('detectLocal.bridgeInterface', 'the name of the bridge') : { mode, bridge };
    }
    case 'InterfaceNamePrefix': {
      const prefix = detectLocal?.interfaceNamePrefix;
      return prefix === undefined ? missing('detectLocal.interfaceNamePrefix', 'the prefix of interface names') : { mode, prefix };
    }
  }
}

/** Row 14.2: of two families of ClusterIPs, pods of the family that clusterCIDR leaves out would all be strangers. */
function refusePartialDualStack(detect: DetectLocal, serviceCIDRs: readonly Prefix[], faults: Fault[]): void {
  if (detect.mode !== 'ClusterCIDR') return;
  const known = new Set(detect.prefixes.map(familyOf));
  for (const family of new Set(serviceCIDRs.map(familyOf))) {
    if (known.has(family)) continue;
    const allowed = `a network of IPv${family} too, since sluice.serviceCIDRs has one`;
    faults.push({ field: 'clusterCIDR', given: shown(detect.prefixes.join(',')), allowed });
  }
}

/** Row 8.1: a family no network is given of means all its addresses, unless `primary` speaks for both. */
function readNodePortAddresses(words: readonly string[] = ['primary']): NodePortAddresses {
  const primary = words.includes('primary') || words.length === 0;
  const ranges = words.filter((word) => word.includes('/'));
  if (words.includes('all')) return { primary, ranges: ['0.0.0.0/0', '::/0'] };
  // kube-proxy 1.37: `localhost` names the loopback, which the socket hook serves whatever is said here (8.4).
  if (primary || (words.includes('localhost') && ranges.length === 0)) return { primary, ranges };
  const families = new Set(ranges.map(familyOf));
  return { primary, ranges: [...ranges, ...(families.has(4) ? [] : ['0.0.0.0/0']), ...(families.has(6) ? [] : ['::/0'])] };
}

function readHooks(sluice: NonNullable<Fields['sluice']>, faults: Fault[]): Config['hooks'] {
  const hooks = sluice.hooks ?? ['tc', 'socket'];
  const listed = hooks.includes('socket');
  const tc = hooks.includes('tc');
  const mode = sluice.socket ?? 'on';
  if (!listed && sluice.socket !== undefined && sluice.socket !== 'off') {
    faults.push({ field: 'sluice.socket', given: shown(sluice.socket), allowed: 'off, since sluice.hooks does not have socket' });
  }
  const socket = listed ? mode : 'off';
  if (!tc && socket === 'off') faults.push({ field: 'sluice.hooks', given: shown(hooks), allowed: 'at least one of tc, socket in use' });
  return { tc, socket };
}

function readPodInterfaces(given: 'auto' | readonly string[] | undefined, faults: Fault[]): readonly string[] | undefined {
  if (given === undefined || given === 'auto' || given.length === 0) return undefined;
  if (!given.includes('auto')) return given;
  if (given.length > 1) faults.push({ field: 'sluice.podInterfaces', given: shown(given), allowed: 'auto alone, or prefixes' });
  return undefined;
}

/** kube-proxy: the section of its mode counts and no other. Where none is written its mode is iptables; then what is in nftables alone counts too. */
const UNWRITTEN = ['iptables', 'nftables'] as const;
const MASQUERADE = { iptables: ['iptables'], ipvs: ['iptables'], nftables: ['nftables'] } as const;
const PERIODS = { ...MASQUERADE, ipvs: ['ipvs'] } as const;

function readPeriods(fields: Fields, faults: Fault[]): Pick<Config, 'syncPeriodMs' | 'minSyncPeriodMs'> {
  const sections: readonly ('iptables' | 'ipvs' | 'nftables')[] = fields.mode === undefined ? UNWRITTEN : PERIODS[fields.mode];
  // kubeadm writes 0s for what is not set.
  const written = (period: 'syncPeriod' | 'minSyncPeriod') => sections.find((name) => (fields[name]?.[period] ?? 0) > 0);
  const syncSection = written('syncPeriod');
  const syncPeriodMs = (syncSection === undefined ? undefined : fields[syncSection]?.syncPeriod) ?? SYNC_PERIOD_MS;
  const section = written('minSyncPeriod');
  const minSyncPeriodMs = section === undefined ? undefined : fields[section]?.minSyncPeriod;
  if (minSyncPeriodMs !== undefined && minSyncPeriodMs > syncPeriodMs) {
    const allowed = `at most its syncPeriod, ${syncPeriodMs / 1000}s`;
    faults.push({ field: `${section}.minSyncPeriod`, given: `${minSyncPeriodMs / 1000}s`, allowed });
  }
  return { syncPeriodMs, minSyncPeriodMs };
}

function readListening(given: Listening | undefined, address: string, port: number): Config['healthzBindAddress'] {
  const listening = { address: given?.address ?? address, port: given?.port ?? port };
  return listening.port === 0 ? undefined : listening;
}

function readServers(fields: Fields, faults: Fault[]): Pick<Config, 'manifests' | 'kubeconfig' | 'apiServers'> {
  const { manifests, apiServers = [] } = fields.sluice ?? {};
  const kubeconfig = fields.clientConnection?.kubeconfig;
  const other = kubeconfig !== undefined ? 'clientConnection.kubeconfig (--kubeconfig)' : 'sluice.apiServers (--api-server)';
  if (manifests !== undefined && (kubeconfig !== undefined || apiServers.length > 0)) {
    const allowed = `nothing, since ${other} is given: the objects come from a directory or from the API server, not from both`;
    faults.push({ field: 'sluice.manifests', given: shown(manifests), allowed });
  }
  return {
    manifests: manifests === undefined ? undefined : resolve(manifests),
    kubeconfig: kubeconfig === undefined ? undefined : resolve(kubeconfig),
    apiServers: [...new Set(apiServers)],
  };
}

/** kube-proxy: 0 leaves nf_conntrack's value alone; here it leaves the default. */
function timeout(given: number | undefined, fallback: number): number {
  return given === undefined || given === 0 ? fallback : given;
}

/** The configuration that valid fields mean; what is wrong between them is added to faults. */
export function interpret(fields: Fields, ignoredFields: readonly string[], faults: Fault[]): Config {
  const sluice = fields.sluice ?? {};
  const serviceCIDRs = sluice.serviceCIDRs ?? [];
  const detectLocal = readDetectLocal(fields, faults);
  refusePartialDualStack(detectLocal, serviceCIDRs, faults);
  const masquerade = (fields.mode === undefined ? UNWRITTEN : MASQUERADE[fields.mode]).map((name) => fields[name] ?? {});
  const masqueradeBit = masquerade.find((section) => section.masqueradeBit !== undefined)?.masqueradeBit ?? 14;
  const bindFamily = fields.bindAddress === undefined ? 4 : familyOf(fields.bindAddress);
  return {
    nodeName: fields.hostnameOverride ?? hostname().toLowerCase(),
    ...readServers(fields, faults),
    bindAddress: fields.bindAddress === UNSPECIFIED[bindFamily] ? undefined : fields.bindAddress,
    healthzBindAddress: readListening(fields.healthzBindAddress, UNSPECIFIED[bindFamily], HEALTHZ_PORT),
    metricsBindAddress: readListening(fields.metricsBindAddress, bindFamily === 4 ? '127.0.0.1' : '::1', METRICS_PORT),
    bindAddressHardFail: fields.bindAddressHardFail ?? false,
    ...readPeriods(fields, faults),
    oomScoreAdj: fields.oomScoreAdj ?? OOM_SCORE_ADJ,
    verbosity: fields.logging?.verbosity ?? 0,
    ignoredFields,
    externalIPs: { served: sluice.externalIPs !== 'off', allowed: sluice.externalIPCIDRs },
    sourceRangesEverywhere: sluice.sourceRangesEverywhere ?? false,
    serviceProxyName: sluice.serviceProxyName,
    serviceCIDRs,
    nodePortAddresses: readNodePortAddresses(fields.nodePortAddresses),
    detectLocal,
    masqueradeAll: masquerade.find((section) => section.masqueradeAll !== undefined)?.masqueradeAll ?? false,
    masqueradeMark: (1 << masqueradeBit) >>> 0,
    conntrack: {
      // kube-proxy's own defaults for TCP; for UDP it leaves nf_conntrack's, 30 and 120 seconds.
      tcpEstablishedSeconds: timeout(fields.conntrack?.tcpEstablishedTimeout, 24 * 3600),
      tcpCloseWaitSeconds: timeout(fields.conntrack?.tcpCloseWaitTimeout, 3600),
      udpSeconds: timeout(fields.conntrack?.udpTimeout, 30),
      udpStreamSeconds: timeout(fields.conntrack?.udpStreamTimeout, 120),
    },
    devices: sluice.devices?.length ? sluice.devices : undefined,
    podInterfaces: readPodInterfaces(sluice.podInterfaces, faults),
    hooks: readHooks(sluice, faults),
    xdp: sluice.xdp ?? 'auto',
    socketExceptions: sluice.socketExceptions ?? [],
    resetGoneBackends: sluice.resetGoneBackends ?? true,
    cgroupRoot: sluice.cgroupRoot,
    pinDirectory: sluice.pinDirectory ?? '/sys/fs/bpf/sluice',
    stateDirectory: sluice.stateDirectory ?? '/run/sluice',
    mapSizes: sluice.mapSizes ?? {},
    snatPorts: sluice.snatPorts ?? { first: 16_384, last: 29_999 },
  };
}
