// How is the agent to run? The configuration file and the flags merged, validated once, and frozen. Field names are those of
// KubeProxyConfiguration v1alpha1 wherever it has one; ours stand in the section `sluice`.

import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { resolve } from 'node:path';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import type { MapName } from './abi/layout.gen.ts';
import { familyOf } from './address.ts';
import { FLAGS, type FlagValue, flagToField } from './config/flags.ts';
import * as value from './config/values.ts';
import { shown } from './model/complaints.ts';
import type { Prefix } from './model/model.ts';
import type { DetectLocal, NodePortAddresses } from './model/node.ts';

export type SocketMode = 'on' | 'host-only' | 'off';
export type XdpMode = 'auto' | 'native' | 'off';

/** One validated configuration. Frozen, with every default filled in. */
export interface Config {
  /** Lower case (1.9). */
  readonly nodeName: string;
  /** Absolute path of the directory of manifests; undefined: none is given. */
  readonly manifests: string | undefined;
  /** Value of the label service.kubernetes.io/service-proxy-name that makes a Service ours (1.2). */
  readonly serviceProxyName: string | undefined;
  readonly serviceCIDRs: readonly Prefix[];
  readonly nodePortAddresses: NodePortAddresses;
  readonly detectLocal: DetectLocal;
  readonly masqueradeAll: boolean;
  /** The bit as a mask: bit 14 is 0x4000. */
  readonly masqueradeMark: number;
  readonly conntrack: {
    readonly tcpEstablishedSeconds: number;
    /** One end has closed, the other has not. */
    readonly tcpCloseWaitSeconds: number;
    /** No reply seen yet. */
    readonly udpSeconds: number;
    readonly udpStreamSeconds: number;
  };
  /** NICs by name; undefined: those of the default routes and of node addresses. */
  readonly devices: readonly string[] | undefined;
  /** Name prefixes of pod interfaces; undefined: veth and netkit whose peer is in another network namespace. */
  readonly podInterfaces: readonly string[] | undefined;
  readonly hooks: { readonly tc: boolean; readonly socket: SocketMode };
  /** May change while the agent runs. */
  readonly xdp: XdpMode;
  /** Cgroups whose processes the socket hook leaves alone, as paths below the cgroup v2 root (10.2). May change while the agent runs. */
  readonly socketExceptions: readonly string[];
  /** TCP to a backend that is in no slice for 30 s is reset (9.4). May change while the agent runs. */
  readonly resetGoneBackends: boolean;
  /** undefined: where cgroup2 is mounted. */
  readonly cgroupRoot: string | undefined;
  readonly pinDirectory: string;
  readonly stateDirectory: string;
  readonly mapSizes: Readonly<Partial<Record<MapName, number>>>;
  /** Inclusive. */
  readonly snatPorts: { readonly first: number; readonly last: number };
}

/** One field that is wrong. */
export interface Fault {
  readonly field: string;
  readonly given: string;
  readonly allowed: string;
}

/** Every field that is wrong; the message has a line for each. */
export class ConfigError extends Error {
  readonly faults: readonly Fault[];
  constructor(faults: readonly Fault[]) {
    super(faults.map(({ field, given, allowed }) => `${field}: given ${given}; allowed: ${allowed}`).join('\n'));
    this.name = 'ConfigError';
    this.faults = faults;
  }
}

const masquerade = z.strictObject({ masqueradeAll: value.flag.optional(), masqueradeBit: value.integer(0, 31).optional() });

const schema = z.strictObject({
  apiVersion: value.oneOf(['kubeproxy.config.k8s.io/v1alpha1']).optional(),
  kind: value.oneOf(['KubeProxyConfiguration']).optional(),
  hostnameOverride: value.nodeName.optional(),
  nodePortAddresses: z.array(z.union([value.oneOf(['primary', 'all']), value.prefix])).optional(),
  detectLocalMode: value.oneOf(['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix']).optional(),
  detectLocal: z
    .strictObject({ bridgeInterface: value.interfaceName.optional(), interfaceNamePrefix: value.interfacePrefix.optional() })
    .optional(),
  clusterCIDR: value.prefixes.optional(),
  iptables: masquerade.optional(),
  nftables: masquerade.optional(),
  conntrack: z
    .strictObject({
      tcpEstablishedTimeout: value.seconds.optional(),
      tcpCloseWaitTimeout: value.seconds.optional(),
      udpTimeout: value.seconds.optional(),
      udpStreamTimeout: value.seconds.optional(),
    })
    .optional(),
  sluice: z
    .strictObject({
      manifests: value.directory.optional(),
      serviceProxyName: value.labelValue.optional(),
      serviceCIDRs: z.array(value.prefix).optional(),
      devices: z.array(value.interfaceName).optional(),
      podInterfaces: z.union([value.oneOf(['auto']), z.array(value.interfacePrefix)]).optional(),
      hooks: z.array(value.oneOf(['tc', 'socket'])).optional(),
      socket: value.oneOf(['on', 'host-only', 'off']).optional(),
      xdp: value.oneOf(['auto', 'native', 'off']).optional(),
      socketExceptions: z.array(value.cgroupPath).optional(),
      resetGoneBackends: value.flag.optional(),
      cgroupRoot: value.absoluteDirectory.optional(),
      pinDirectory: value.absoluteDirectory.optional(),
      stateDirectory: value.absoluteDirectory.optional(),
      mapSizes: value.mapSizes.optional(),
      snatPorts: value.portRange.optional(),
    })
    .optional(),
});

type Fields = z.output<typeof schema>;
type Mapping = { [name: string]: unknown };

function isMapping(given: unknown): given is Mapping {
  return typeof given === 'object' && given !== null && !Array.isArray(given);
}

/** KubeProxyConfiguration as kubeadm writes it is full of null and "": both mean absent. */
function withoutBlanks(given: unknown): unknown {
  if (!isMapping(given)) return given;
  const kept = Object.entries(given).filter(([, inner]) => inner !== null && inner !== '');
  return Object.fromEntries(kept.map(([name, inner]) => [name, withoutBlanks(inner)]));
}

function readFile(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError([{ field: '--config', given: path, allowed: `a file that can be read (${(error as Error).message})` }]);
  }
  const document = parseDocument(text, { prettyErrors: true });
  const [error] = document.errors;
  if (error !== undefined) {
    const [at] = error.linePos ?? [];
    const place = at === undefined ? path : `${path}:${at.line}:${at.col}`;
    throw new ConfigError([{ field: '--config', given: place, allowed: `YAML (${error.message.split('\n')[0]})` }]);
  }
  try {
    return document.toJS() ?? {};
  } catch (error) {
    throw new ConfigError([{ field: '--config', given: path, allowed: `YAML (${(error as Error).message})` }]);
  }
}

/** Puts a flag's value where the file has the field. */
function place(root: Mapping, path: readonly string[], field: unknown): void {
  const [name, ...rest] = path;
  if (rest.length === 0) {
    root[name!] = field;
    return;
  }
  // A section that is no mapping is left for the validation to name.
  const section = root[name!] ?? {};
  if (!isMapping(section)) return;
  root[name!] = section;
  place(section, rest, field);
}

function at(given: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>((inner, name) => (typeof inner === 'object' && inner !== null ? (inner as never)[name] : undefined), given);
}

function pathText(path: readonly PropertyKey[]): string {
  return path.map((name, index) => (typeof name === 'number' ? `[${name}]` : `${index === 0 ? '' : '.'}${String(name)}`)).join('');
}

/** The names a section of the schema has. */
function namesAt(path: readonly PropertyKey[]): string {
  let section: unknown = schema;
  for (const name of path) {
    section = at(section, ['shape', name]);
    while (section instanceof z.ZodOptional) section = section.unwrap();
  }
  return section instanceof z.ZodObject ? Object.keys(section.shape).join(', ') : 'nothing';
}

/** The values in values.ts say themselves what is allowed; of a section or a list it is said here. */
function allowedBy(issue: z.core.$ZodIssue): string {
  if (issue.code !== 'invalid_type') return issue.message;
  return issue.expected === 'array' ? 'a list' : 'a mapping of fields';
}

function faultsOf(issue: z.core.$ZodIssue, given: unknown): Fault[] {
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => {
      const path = [...issue.path, key];
      return { field: pathText(path), given: shown(at(given, path)), allowed: `no such field here; there are ${namesAt(issue.path)}` };
    });
  }
  const fault = { field: pathText(issue.path) || 'the configuration', given: shown(at(given, issue.path)) };
  if (issue.code !== 'invalid_union') return [{ ...fault, allowed: allowedBy(issue) }];
  return [{ ...fault, allowed: [...new Set(issue.errors.flatMap((branch) => branch.map(allowedBy)))].join(', or ') }];
}

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
  if (primary) return { primary, ranges };
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

function freeze<T>(given: T): T {
  if (typeof given === 'object' && given !== null && !Object.isFrozen(given)) {
    Object.freeze(given);
    for (const inner of Object.values(given)) freeze(inner);
  }
  return given;
}

/** The configuration that valid fields mean; what is wrong between them is added to faults. */
function interpret(fields: Fields, faults: Fault[]): Config {
  const sluice = fields.sluice ?? {};
  const serviceCIDRs = sluice.serviceCIDRs ?? [];
  const detectLocal = readDetectLocal(fields, faults);
  refusePartialDualStack(detectLocal, serviceCIDRs, faults);
  const { conntrack, nftables, iptables } = fields;
  return {
    nodeName: fields.hostnameOverride ?? hostname().toLowerCase(),
    manifests: sluice.manifests === undefined ? undefined : resolve(sluice.manifests),
    serviceProxyName: sluice.serviceProxyName,
    serviceCIDRs,
    nodePortAddresses: readNodePortAddresses(fields.nodePortAddresses),
    detectLocal,
    // Both sections mean the same to us; what `nftables` says counts before what `iptables` says.
    masqueradeAll: nftables?.masqueradeAll ?? iptables?.masqueradeAll ?? false,
    masqueradeMark: (1 << (nftables?.masqueradeBit ?? iptables?.masqueradeBit ?? 14)) >>> 0,
    conntrack: {
      // kube-proxy's own defaults for TCP; for UDP it leaves nf_conntrack's, 30 and 120 seconds.
      tcpEstablishedSeconds: conntrack?.tcpEstablishedTimeout ?? 24 * 3600,
      tcpCloseWaitSeconds: conntrack?.tcpCloseWaitTimeout ?? 3600,
      udpSeconds: conntrack?.udpTimeout ?? 30,
      udpStreamSeconds: conntrack?.udpStreamTimeout ?? 120,
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

/** A field's path, and the flag that set it where one did. */
function withFlag(path: string, flagOf: ReadonlyMap<string, string>): string {
  const flag = [...flagOf].find(([field]) => path === field || path.startsWith(`${field}.`) || path.startsWith(`${field}[`));
  return flag === undefined ? path : `${path} (${flag[1]})`;
}

/**
 * Reads and validates the configuration. `flags` are keyed by the names of FLAGS and win over the file; `file` is the path of a
 * YAML file. Throws a ConfigError that names every wrong field, what was given and what is allowed.
 */
export function readConfig(flags: Readonly<Record<string, FlagValue>>, file?: string): Config {
  const given = withoutBlanks(file === undefined ? {} : readFile(file));
  const flagOf = new Map<string, string>();
  for (const { name, form, field } of FLAGS) {
    const text = flags[name];
    if (text === undefined) continue;
    flagOf.set(field, `--${name}`);
    if (isMapping(given)) place(given, field.split('.'), flagToField(form, text));
  }
  const faults: Fault[] = [];
  const result = schema.safeParse(given);
  const config = result.success ? interpret(result.data, faults) : undefined;
  for (const issue of result.error?.issues ?? []) faults.push(...faultsOf(issue, given));
  if (config !== undefined && faults.length === 0) return freeze(config);
  throw new ConfigError(faults.map((fault) => ({ ...fault, field: withFlag(fault.field, flagOf) })));
}
