// How is the agent to run? The configuration file and the flags merged, validated once, and frozen. Field names are those of
// KubeProxyConfiguration v1alpha1 wherever it has one; ours stand in the section `sluice`.

import { readFileSync } from 'node:fs';
import { parseDocument } from 'yaml';
import { z } from 'zod';
import type { MapName } from './abi/layout.gen.ts';
import { FLAGS, type FlagValue, flagToField } from './config/flags.ts';
import { interpret } from './config/meaning.ts';
import { schema } from './config/schema.ts';
import { unusedFields } from './config/values.ts';
import { shown } from './model/complaints.ts';
import type { Address, Prefix } from './model/model.ts';
import type { DetectLocal, NodePortAddresses } from './model/node.ts';

export type SocketMode = 'on' | 'host-only' | 'off';
export type XdpMode = 'auto' | 'native' | 'off';

/** One validated configuration. Frozen, with every default filled in. */
export interface Config {
  /** Lower case (1.9). */
  readonly nodeName: string;
  /** Absolute path of the directory of manifests; undefined: the objects come from the API server. */
  readonly manifests: string | undefined;
  /** Absolute path of the kubeconfig; undefined: the identity of the pod that the agent runs in. */
  readonly kubeconfig: string | undefined;
  /** Base URLs of the API server, tried in turn, in place of the kubeconfig's; empty: the kubeconfig's. */
  readonly apiServers: readonly string[];
  /** The node's address of its family, in place of what its Node object says; undefined: the object decides. */
  readonly bindAddress: Address | undefined;
  /** undefined: no such server. */
  readonly healthzBindAddress: { readonly address: Address; readonly port: number } | undefined;
  readonly metricsBindAddress: { readonly address: Address; readonly port: number } | undefined;
  /** A health or metrics port that is taken ends the start. */
  readonly bindAddressHardFail: boolean;
  readonly syncPeriodMs: number;
  /** Between two turns at least; undefined: not written, so changes wait only while a turn runs (14.3). */
  readonly minSyncPeriodMs: number | undefined;
  readonly oomScoreAdj: number;
  /** klog's: 4 and more shows debug lines. */
  readonly verbosity: number;
  /** Fields of kube-proxy's that say something and have no effect here. */
  readonly ignoredFields: readonly string[];
  /** Row 3.7. `allowed`: the networks external IPs may be in; undefined: any. */
  readonly externalIPs: { readonly served: boolean; readonly allowed: readonly Prefix[] | undefined };
  /** Source ranges count for node ports and external IPs too (7.4). */
  readonly sourceRangesEverywhere: boolean;
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

function freeze<T>(given: T): T {
  if (typeof given === 'object' && given !== null && !Object.isFrozen(given)) {
    Object.freeze(given);
    for (const inner of Object.values(given)) freeze(inner);
  }
  return given;
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
  for (const { name, form, field, alsoField } of FLAGS) {
    const text = flags[name];
    const fieldValue = text === undefined ? undefined : flagToField(form, text);
    if (fieldValue === undefined) continue;
    for (const path of alsoField === undefined ? [field] : [field, alsoField]) {
      flagOf.set(path, `--${name}`);
      if (isMapping(given)) place(given, path.split('.'), fieldValue);
    }
  }
  const faults: Fault[] = [];
  const result = schema.safeParse(given);
  const config = result.success ? interpret(result.data, unusedFields(schema, given), faults) : undefined;
  for (const issue of result.error?.issues ?? []) faults.push(...faultsOf(issue, given));
  if (config !== undefined && faults.length === 0) return freeze(config);
  throw new ConfigError(faults.map((fault) => ({ ...fault, field: withFlag(fault.field, flagOf) })));
}
