// What is an IP address, as text and as numbers? One parser, one canonical spelling (RFC 5952) and the questions asked
// about addresses and prefixes. It accepts what Kubernetes' sloppy parser accepts (semantics 1.13); it knows no Service.

import type { Address, Family, Prefix } from './model/model.ts';

/** What an address may be used for; `unicast` is the only kind an endpoint or a VIP can have. */
export type AddressKind = 'unicast' | 'unspecified' | 'loopback' | 'link-local' | 'multicast' | 'broadcast' | 'reserved';

export const UNSPECIFIED: Readonly<Record<Family, Address>> = { 4: '0.0.0.0', 6: '::' };

const ZERO = 48;
const NINE = 57;
const DOT = 46;

/** The 32-bit number of a dotted quad, leading zeros allowed; -1 where the text is none. */
function parseQuad(text: string): number {
  let value = 0;
  let octet = -1;
  let octets = 0;
  for (let i = 0; i <= text.length; i++) {
    const code = i < text.length ? text.charCodeAt(i) : DOT;
    if (code >= ZERO && code <= NINE) {
      octet = (octet < 0 ? 0 : octet * 10) + code - ZERO;
      if (octet > 255) return -1;
    } else if (code === DOT && octet >= 0 && octets < 4) {
      value = value * 256 + octet;
      octet = -1;
      octets++;
    } else {
      return -1;
    }
  }
  return octets === 4 ? value : -1;
}

/** The 32-bit number of IPv4 text; -1 where it is none. */
export function quadOf(address: Address): number {
  return parseQuad(address);
}

function digits(octet: number): number {
  return octet > 99 ? 3 : octet > 9 ? 2 : 1;
}

/** Is this text of the number without leading zeros? */
function isCanonicalQuad(text: string, value: number): boolean {
  return text.length === 3 + digits(value >>> 24) + digits((value >>> 16) & 255) + digits((value >>> 8) & 255) + digits(value & 255);
}

/** Dotted quad of a 32-bit number. */
export function quadText(value: number): Address {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

/** The 16-bit groups of colon-separated hexadecimal text; a dotted quad at the end counts as two. */
function parseGroups(text: string): number[] | undefined {
  if (text === '') return [];
  const groups: number[] = [];
  const parts = text.split(':');
  for (const [index, part] of parts.entries()) {
    if (index === parts.length - 1 && part.includes('.')) {
      const quad = parseQuad(part);
      if (quad < 0) return undefined;
      groups.push(quad >>> 16, quad & 0xffff);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return undefined;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

/** The eight groups of IPv6 text without a zone. */
function parseIPv6(text: string): number[] | undefined {
  const gap = text.indexOf('::');
  if (gap < 0) {
    const groups = parseGroups(text);
    return groups?.length === 8 ? groups : undefined;
  }
  const left = text.slice(0, gap);
  const head = left.includes('.') ? undefined : parseGroups(left);
  const tail = parseGroups(text.slice(gap + 2));
  if (head === undefined || tail === undefined || head.length + tail.length > 7) return undefined;
  return [...head, ...new Array<number>(8 - head.length - tail.length).fill(0), ...tail];
}

function isMapped(groups: readonly number[]): boolean {
  return groups[5] === 0xffff && groups.slice(0, 5).every((group) => group === 0);
}

/** RFC 5952 text of eight groups: lower case, the first longest run of two or more zero groups shortened. */
function groupsText(groups: readonly number[]): Address {
  let start = -1;
  let length = 1;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === 0) end++;
    if (end - i > length) {
      start = i;
      length = end - i;
    }
    i = Math.max(i, end - 1);
  }
  const hex = (part: readonly number[]): string => part.map((group) => group.toString(16)).join(':');
  return start < 0 ? hex(groups) : `${hex(groups.slice(0, start))}::${hex(groups.slice(start + length))}`;
}

/** Canonical text of an address; IPv4-mapped IPv6 becomes IPv4. Undefined where the text is no address. */
export function parseAddress(text: string): Address | undefined {
  const quad = parseQuad(text);
  // The text itself where it can be: a copy of each would cost a big cluster megabytes.
  if (quad >= 0) return isCanonicalQuad(text, quad) ? text : quadText(quad);
  // 45: the longest spelling, eight groups with a dotted quad at the end.
  if (text.length > 45) return undefined;
  const groups = parseIPv6(text);
  if (groups === undefined) return undefined;
  return isMapped(groups) ? quadText(groups[6]! * 0x10000 + groups[7]!) : groupsText(groups);
}

/** Family of canonical text. */
export function familyOf(address: Address | Prefix): Family {
  return address.includes(':') ? 6 : 4;
}

/** The 4 or 16 bytes of an address, network order. Throws on text that is no address. */
export function addressBytes(address: Address): Uint8Array {
  const quad = parseQuad(address);
  if (quad >= 0) return Uint8Array.of(quad >>> 24, (quad >>> 16) & 255, (quad >>> 8) & 255, quad & 255);
  const groups = parseIPv6(address);
  if (groups === undefined) throw new Error(`not an IP address: ${JSON.stringify(address)}`);
  return Uint8Array.from(groups.flatMap((group) => [group >>> 8, group & 255]));
}

/** Canonical text of 4 or 16 bytes in network order; an IPv4-mapped address is shown as IPv4. */
export function addressText(bytes: Uint8Array): Address {
  if (bytes.length === 4) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  const groups = Array.from({ length: 8 }, (_, i) => bytes[2 * i]! * 256 + bytes[2 * i + 1]!);
  return isMapped(groups) ? quadText(groups[6]! * 0x10000 + groups[7]!) : groupsText(groups);
}

/** Keeps the first `length` bits. */
function masked(bytes: Uint8Array, length: number): Uint8Array {
  return bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i))));
}

/**
 * Canonical text of a network, host bits cleared: `10.0.0.5/8` → `10.0.0.0/8`. Blanks around it are allowed, and an IPv4-mapped
 * network of at least 96 bits becomes IPv4 (1.13). Undefined where the text is none; an address alone is none.
 */
export function parsePrefix(text: string): Prefix | undefined {
  const parts = /^\s*([0-9a-fA-F.:]+)\/(\d{1,3})\s*$/.exec(text);
  if (parts === null) return undefined;
  const address = parseAddress(parts[1]!);
  if (address === undefined) return undefined;
  const mapped = familyOf(address) === 4 && parts[1]!.includes(':');
  const length = Number(parts[2]) - (mapped ? 96 : 0);
  const bytes = addressBytes(address);
  if (length < 0 || length > bytes.length * 8) return undefined;
  return `${addressText(masked(bytes, length))}/${length}`;
}

/** Network address, its bytes and the number of bits of a canonical prefix. */
export function prefixParts(prefix: Prefix): { address: Address; bytes: Uint8Array; length: number } {
  const slash = prefix.indexOf('/');
  const address = prefix.slice(0, slash);
  return { address, bytes: addressBytes(address), length: Number(prefix.slice(slash + 1)) };
}

/** The first `length` of 32 bits set, as a signed number. */
function mask32(length: number): number {
  return length === 0 ? 0 : -1 << (32 - length);
}

function insideBytes(network: Uint8Array, length: number, bytes: Uint8Array): boolean {
  const whole = length >> 3;
  for (let i = 0; i < whole; i++) if (network[i] !== bytes[i]) return false;
  const mask = 0xff00 >> (length & 7);
  return ((bytes[whole] ?? 0) & mask & 255) === (network[whole] ?? 0);
}

/** A question asked often, prepared once: is an address inside one of the prefixes? */
export function insideOf(prefixes: readonly Prefix[]): (address: Address) => boolean {
  const networks = prefixes.map(prefixParts);
  const quads = networks
    .filter(({ bytes }) => bytes.length === 4)
    .map(({ address, length }) => ({ network: parseQuad(address) | 0, mask: mask32(length) }));
  const others = networks.filter(({ bytes }) => bytes.length !== 4);
  return (address) => {
    const quad = parseQuad(address);
    if (quad >= 0) return quads.some(({ network, mask }) => (quad & mask) === network);
    if (others.length === 0) return false;
    const bytes = addressBytes(address);
    return others.some((network) => insideBytes(network.bytes, network.length, bytes));
  };
}

/** Text whose order is the order of the addresses, IPv4 before IPv6. */
export function addressOrder(address: Address): string {
  const bytes = addressBytes(address);
  return `${bytes.length < 16 ? 4 : 6}${Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')}`;
}

/** Is the address inside the prefix? */
export function contains(prefix: Prefix, address: Address): boolean {
  return insideOf([prefix])(address);
}

/** What a canonical address is for. */
export function addressKind(address: Address): AddressKind {
  const quad = parseQuad(address);
  if (quad >= 0) {
    const first = quad >>> 24;
    if (quad === 0) return 'unspecified';
    if (first === 0) return 'reserved';
    if (first === 127) return 'loopback';
    if (quad >>> 16 === 0xa9fe) return 'link-local';
    if (quad === 0xffffffff) return 'broadcast';
    // Linux and Kubernetes: 240.0.0.0/4 is routed as any other network, and there are clusters in it.
    return first >= 224 && first < 240 ? 'multicast' : 'unicast';
  }
  if (address === '::') return 'unspecified';
  if (address === '::1') return 'loopback';
  const first = Number.parseInt(address, 16);
  if (first >>> 8 === 0xff) return 'multicast';
  return (first & 0xffc0) === 0xfe80 ? 'link-local' : 'unicast';
}
