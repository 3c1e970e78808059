// How is untyped YAML or JSON read safely? Own properties only, numbers checked before they are used, and every complaint a
// Problem with the path of its field. It knows no kind of object.

import { type AddressKind, addressKind, parseAddress } from '../address.ts';
import { type Complaints, shown } from '../model/complaints.ts';
import type { Address } from '../model/model.ts';

/** A label that says of a Service or a slice: no proxy's business (1.3). */
export const HEADLESS = 'service.kubernetes.io/headless';

/** A field's path, made only where somebody complains: a big cluster has a million fields. */
export type Path = () => string;

const NONE: readonly unknown[] = [];

/** An own member of a mapping; undefined where the value is no mapping, has no such member, or the member is null. */
export function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name] ?? undefined;
}

/** A member reached through several mappings. */
export function memberAt(value: unknown, ...names: string[]): unknown {
  return names.reduce(member, value);
}

/** metadata.uid, or empty: nothing depends on it but where an Event is shown. */
export function readUid(metadata: unknown): string {
  const uid = member(metadata, 'uid');
  return typeof uid === 'string' ? uid : '';
}

/** A string member; anything else than a string is a complaint and undefined. */
export function stringMember(value: unknown, name: string, path: string | Path, complaints: Complaints): string | undefined {
  const found = member(value, name);
  if (found === undefined || typeof found === 'string') return found;
  complaints.add(typeof path === 'string' ? path : path(), 'InvalidValue', `${shown(found)} is not a string and is ignored`);
  return undefined;
}

/** A boolean member; anything else than a boolean is a complaint and the default. */
export function booleanMember(value: unknown, name: string, fallback: boolean, path: string | Path, complaints: Complaints): boolean {
  const found = member(value, name);
  if (found === undefined) return fallback;
  if (typeof found === 'boolean') return found;
  complaints.add(
    typeof path === 'string' ? path : path(),
    'InvalidValue',
    `${shown(found)} is neither true nor false; ${fallback} is used`,
  );
  return fallback;
}

/** A list member; absent is empty, anything else than a list is a complaint and empty. */
export function listMember(value: unknown, name: string, path: string | Path, complaints: Complaints): readonly unknown[] {
  const found = member(value, name);
  if (found === undefined) return NONE;
  if (Array.isArray(found)) return found;
  complaints.add(typeof path === 'string' ? path : path(), 'InvalidValue', `${shown(found)} is not a list and is ignored`);
  return [];
}

/** Texts that come again and again are kept once. */
export interface SharedTexts {
  shared(text: string | undefined): string | undefined;
}

/** Texts remembered at most; then it begins anew. */
const TEXTS = 16_384;

export function sharedTexts(): SharedTexts {
  const known = new Map<string, string>();
  return {
    shared(text) {
      if (text === undefined) return undefined;
      const found = known.get(text);
      if (found !== undefined) return found;
      if (known.size >= TEXTS) known.clear();
      known.set(text, text);
      return text;
    },
  };
}

/** An integer within bounds? The check that stands before every narrowing. */
export function isIntegerWithin(value: unknown, least: number, most: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= least && value <= most;
}

const KIND_PHRASE: Readonly<Record<Exclude<AddressKind, 'unicast'>, string>> = {
  unspecified: 'the unspecified address',
  loopback: 'a loopback address',
  'link-local': 'a link-local address',
  multicast: 'a multicast address',
  broadcast: 'the broadcast address',
  reserved: 'a reserved address',
};

/** Canonical text of an address that a VIP or an endpoint can have, or what is wrong with it as the end of a sentence. */
export function readUnicast(value: unknown): { address: Address } | { wrong: string } {
  const address = typeof value === 'string' ? parseAddress(value) : undefined;
  if (address === undefined) return { wrong: `${shown(value)} is not an IP address` };
  const kind = addressKind(address);
  return kind === 'unicast' ? { address } : { wrong: `${shown(value)} is ${KIND_PHRASE[kind]}` };
}
