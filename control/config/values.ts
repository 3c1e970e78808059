// What may stand in a field of the configuration? Each kind of value with the sentence that tells people what is allowed.

import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { MAPS, type MapName } from '../abi/layout.gen.ts';
import { parsePrefix } from '../address.ts';

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

const UNIT_SECONDS: Readonly<Record<string, number>> = { h: 3600, m: 60, s: 1, ms: 1e-3, us: 1e-6, µs: 1e-6, ns: 1e-9 };
// The datapath's clock is 32 bits of jiffies, at most 1,000 a second; half of that can be told from the future.
const SECONDS_MOST = 480 * 3600;

/** Seconds of a duration as Go writes it (`24h0m0s`), rounded up. */
export const seconds = readBy((value) => {
  if (typeof value !== 'string' || !/^(\d+(\.\d+)?(h|ms|m|s|us|µs|ns))+$/.test(value)) return undefined;
  let sum = 0;
  for (const [, number, unit] of value.matchAll(/(\d+(?:\.\d+)?)(h|ms|m|s|us|µs|ns)/g)) sum += Number(number) * UNIT_SECONDS[unit!]!;
  const whole = Math.ceil(sum);
  return whole >= 1 && whole <= SECONDS_MOST ? whole : undefined;
}, 'a duration such as 24h0m0s, from 1s to 480h');

/** Arrays whose length is a matter of the layout, not of the cluster. */
const FIXED: ReadonlySet<MapName> = new Set(['verdicts', 'snat_ports', 'settings', 'self_tests']);
const SIZED = (Object.keys(MAPS) as MapName[]).filter((name) => !FIXED.has(name));

/** max_entries by map name. */
export const mapSizes = z.strictObject(Object.fromEntries(SIZED.map((name) => [name, integer(1, 2 ** 26).optional()])));
