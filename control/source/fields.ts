// How is untyped YAML or JSON read safely? Own properties only, numbers checked before they are used, and every complaint a
// Problem with the path of its field. It knows no kind of object.

import { type AddressKind, addressKind, parseAddress } from '../address.ts';
import type { Address, Problem } from '../model/model.ts';

/** Problems kept of one object; what exceeds them is counted in one more. */
const PROBLEMS_SHOWN = 16;

/** The complaints about one object. */
export interface Complaints {
  /** Takes note of one; `field` is its path, `reason` a CamelCase word, `message` a sentence. */
  add(field: string, reason: string, message: string): void;
  readonly count: number;
  problems(): readonly Problem[];
}

export function complaintsAbout(object: string, origin: string | undefined): Complaints {
  const kept: Problem[] = [];
  let count = 0;
  const problem = (field: string | undefined, reason: string, message: string): Problem => ({
    object,
    ...(origin === undefined ? {} : { origin }),
    ...(field === undefined ? {} : { field }),
    reason,
    message,
  });
  return {
    add(field, reason, message) {
      count++;
      if (kept.length < PROBLEMS_SHOWN) kept.push(problem(field, reason, message));
    },
    get count() {
      return count;
    },
    problems() {
      if (count <= kept.length) return kept;
      return [...kept, problem(undefined, 'MoreProblems', `${count - kept.length} more problems of this object are not listed`)];
    },
  };
}

/** A value as it was given, short enough for a sentence. */
export function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  let text: string;
  try {
    text = JSON.stringify(value) ?? typeof value;
  } catch {
    text = typeof value;
  }
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** An own member of a mapping; undefined where the value is no mapping, has no such member, or the member is null. */
export function member(value: unknown, name: string): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || !Object.hasOwn(value, name)) return undefined;
  return (value as Record<string, unknown>)[name] ?? undefined;
}

/** A member reached through several mappings. */
export function memberAt(value: unknown, ...names: string[]): unknown {
  return names.reduce(member, value);
}

/** A string member; anything else than a string is a complaint and undefined. */
export function stringMember(value: unknown, name: string, path: string, complaints: Complaints): string | undefined {
  const found = member(value, name);
  if (found === undefined || typeof found === 'string') return found;
  complaints.add(path, 'InvalidValue', `${shown(found)} is not a string and is ignored`);
  return undefined;
}

/** A boolean member; anything else than a boolean is a complaint and the default. */
export function booleanMember(value: unknown, name: string, fallback: boolean, path: string, complaints: Complaints): boolean {
  const found = member(value, name);
  if (found === undefined) return fallback;
  if (typeof found === 'boolean') return found;
  complaints.add(path, 'InvalidValue', `${shown(found)} is neither true nor false; ${fallback} is used`);
  return fallback;
}

/** A list member; absent is empty, anything else than a list is a complaint and empty. */
export function listMember(value: unknown, name: string, path: string, complaints: Complaints): readonly unknown[] {
  const found = member(value, name);
  if (found === undefined) return [];
  if (Array.isArray(found)) return found;
  complaints.add(path, 'InvalidValue', `${shown(found)} is not a list and is ignored`);
  return [];
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
