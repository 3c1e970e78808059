// What may stand in a field of the configuration? Each kind of value with the sentence that tells people what is allowed.

import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { MAPS, type MapName } from '../abi/layout.gen.ts';
import { parseAddress, parsePrefix } from '../address.ts';

/** A field read by a function; what it does not return is not allowed. The message of the issue is what is allowed. */
function readBy<T>(read: (value: unknown) => T | undefined, allowed: string) {
  return z.unknown().transform((value, context): T => {
    const result = read(value);
    if (result !== undefined) return result;
    context.addIssue({ code: 'custom', message: allowed, input: value });
    return z.NEVER;
  });
}

function matching(pattern: RegExp, allowed: string) {
  return readBy((value) => (typeof value === 'string' && pattern.test(value) ? value : undefined), allowed);
}

export function oneOf<const T extends readonly string[]>(words: T) {
  return readBy((value): T[number] | undefined => words.find((word) => word === value), words.join(', '));
}

export function integer(least: number, most: number) {
  const within = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
  return readBy((value) => (within(value) ? value : undefined), `a whole number, ${least} to ${most}`);
}

export const flag = readBy((value) => (typeof value === 'boolean' ? value : undefined), 'true, false');

export const onOff = oneOf(['on', 'off']);

export const nodeName = readBy((value) => {
  const name = typeof value === 'string' ? value.trim().toLowerCase() : '';
  return name.length <= 253 && /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/.test(name) ? name : undefined;
}, 'the name of a Node: lower-case letters, digits, dots and dashes');

export const labelValue = matching(
  /^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/,
  'a label value: letters, digits, dots, dashes, underscores',
);

// Linux: IFNAMSIZ leaves 15 bytes.
const INTERFACE = /^[^\s/:\p{Cc}]{1,15}$/u;
export const interfaceName = matching(INTERFACE, 'the name of a network device, 1 to 15 characters');
export const interfacePrefix = matching(INTERFACE, 'the first characters of a device name, 1 to 15');

export const file = matching(/^[^\0]+$/, 'a file');
export const directory = matching(/^[^\0]+$/, 'a directory');
export const absoluteDirectory = readBy((value) => {
  return typeof value === 'string' && isAbsolute(value) && !value.includes('\0') ? value : undefined;
}, 'an absolute directory');

export const cgroupPath = readBy((value) => {
  const parts = typeof value === 'string' ? value.split('/').filter((part) => part !== '') : [];
  return typeof value === 'string' && parts.length > 0 && !value.includes('\0') && !parts.includes('..') ? parts.join('/') : undefined;
}, 'the path of a cgroup below the root of cgroup v2, such as kubepods.slice/mesh.slice');

export const prefix = readBy((value) => (typeof value === 'string' ? parsePrefix(value) : undefined), 'a network such as 10.96.0.0/16');

/** `10.244.0.0/16,fd00:10:244::/56`, as KubeProxyConfiguration writes several. */
export const prefixes = readBy((value) => {
  const read = typeof value === 'string' ? value.split(',').map(parsePrefix) : [undefined];
  return read.every((one) => one !== undefined) ? read : undefined;
}, 'networks separated by commas, such as 10.244.0.0/16,fd00:10:244::/56');

/** Ports in one piece, both ends included. */
export const portRange = readBy((value) => {
  const parts = typeof value === 'string' ? /^(\d{1,5})-(\d{1,5})$/.exec(value) : null;
  const [first, last] = [Number(parts?.[1]), Number(parts?.[2])];
  return first >= 1024 && last <= 65535 && first <= last ? { first, last } : undefined;
}, 'FIRST-LAST, ports from 1024 to 65535');

const UNIT_MS: Readonly<Record<string, number>> = { h: 3_600_000, m: 60_000, s: 1_000, ms: 1, us: 1e-3, µs: 1e-3, ns: 1e-6 };

/** ms of a duration as Go writes it (`24h0m0s`), rounded up; undefined: it is none. */
function durationMs(value: unknown): number | undefined {
  if (value === '0') return 0;
  if (typeof value !== 'string' || !/^(\d+(\.\d+)?(h|ms|m|s|us|µs|ns))+$/.test(value)) return undefined;
  let sum = 0;
  for (const [, number, unit] of value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)/g)) sum += Number(number) * UNIT_MS[unit!]!;
  return Math.ceil(sum);
}

// The datapath's clock is 32 bits of jiffies, at most 1,000 a second; half of that can be told from the future.
const TIMEOUT_MS_MOST = 480 * 3_600_000;

/** Seconds of a timeout, rounded up. kube-proxy: 0 is written for "as it is", so it is 0 here too. */
export const seconds = readBy((value) => {
  const ms = durationMs(value);
  return ms !== undefined && ms <= TIMEOUT_MS_MOST ? Math.ceil(ms / 1_000) : undefined;
}, 'a duration such as 24h0m0s, up to 480h, or 0s for the default');

// Longer ones do not fit a timer.
const PERIOD_MS_MOST = 24 * 3_600_000;

/** ms between two of something; 0: not written, as kubeadm leaves it. */
export const periodMs = readBy((value) => {
  const ms = durationMs(value);
  return ms !== undefined && ms <= PERIOD_MS_MOST ? ms : undefined;
}, 'a duration such as 30s, up to 24h, or 0s for the default');

/** An address of this node, or the unspecified one. */
export const address = readBy((value) => (typeof value === 'string' ? parseAddress(value) : undefined), 'an IP address');

/** Where a server listens; what is not said there is the default. Port 0: it does not. */
export interface Listening {
  readonly address: string | undefined;
  readonly port: number | undefined;
}

/** kube-proxy: ADDRESS, ADDRESS:PORT, [ADDRESS]:PORT. Nothing at all can only come from a flag, and turns it off there too. */
export const listening = readBy((value): Listening | undefined => {
  if (typeof value !== 'string') return undefined;
  if (value === '') return { address: undefined, port: 0 };
  const alone = parseAddress(value.replace(/^\[(.*)\]$/, '$1'));
  if (alone !== undefined) return { address: alone, port: undefined };
  const parts = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(value);
  const host = parts?.[1] ?? parts?.[2];
  const at = host === undefined || host === '' ? undefined : parseAddress(host);
  const port = Number(parts?.[3]);
  return parts === null || (host !== '' && at === undefined) || port > 65535 ? undefined : { address: at, port };
}, 'an IP address, ADDRESS:PORT, [IPV6]:PORT or :PORT; port 0 turns it off');

/** Base URL of an API server, without a slash at its end. */
export const serverUrl = readBy((value) => {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
  if (url === undefined || !/^https?:$/.test(url.protocol) || url.search !== '' || url.hash !== '' || url.username !== '') return undefined;
  return url.href.replace(/\/+$/, '');
}, 'the URL of an API server such as https://192.0.2.1:6443');

/** Fields that mean something to kube-proxy and nothing to us. */
const UNUSED = new WeakSet<object>();
/** Of these the zero value is as much of a word as any other. */
const ALWAYS_SAID = new WeakSet<object>();

/** A field of kube-proxy's that is accepted and has no effect. */
export function withoutEffect<T extends z.ZodType>(type: T, zero: 'is nothing' | 'is a word' = 'is nothing'): z.ZodOptional<T> {
  const field = type.optional();
  UNUSED.add(field);
  if (zero === 'is a word') ALWAYS_SAID.add(field);
  return field;
}

type Loose = 'boolean' | 'number' | 'string' | 'object';

/** The value's type is all that is looked at. */
export function loose(...types: readonly Loose[]) {
  return readBy(
    (value) => (types.includes(typeof value as Loose) ? value : undefined),
    `a ${types.join(' or a ')} (it has no effect here)`,
  );
}

/** Blank as Go writes a field that nobody set. */
function isZero(value: unknown): boolean {
  if (typeof value === 'object' && value !== null) return Object.values(value).every(isZero);
  return [null, undefined, '', '0', '0s', 0, false].includes(value as null);
}

/** Paths of the fields in a configuration that say something and have no effect, in the order of the schema. */
export function unusedFields(section: unknown, given: unknown, path = ''): string[] {
  if (given === undefined || typeof section !== 'object' || section === null) return [];
  if (UNUSED.has(section)) return ALWAYS_SAID.has(section) || !isZero(given) ? [path] : [];
  const inner = section instanceof z.ZodOptional ? section.unwrap() : section;
  if (!(inner instanceof z.ZodObject)) return [];
  return Object.entries(inner.shape).flatMap(([name, field]) =>
    unusedFields(field, (given as Record<string, unknown>)[name], path === '' ? name : `${path}.${name}`),
  );
}

/** Arrays whose length is a matter of the layout, not of the cluster. */
const FIXED: ReadonlySet<MapName> = new Set(['verdicts', 'snat_ports', 'settings', 'self_tests', 'next_hops4', 'next_hops6']);
const SIZED = (Object.keys(MAPS) as MapName[]).filter((name) => !FIXED.has(name));

/** max_entries by map name. */
export const mapSizes = z.strictObject(Object.fromEntries(SIZED.map((name) => [name, integer(1, 2 ** 26).optional()])));
