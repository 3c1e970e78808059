// What does one line of a watch, or one item of a list, say? It is read into the compact record at once, so that nothing of the
// text outlives it (1.15).

import type { Problem } from '../../model/model.ts';
import { member, memberAt } from '../fields.ts';
import type { KubeObject } from '../objects.ts';
import { parseObjects } from '../parse.ts';
import { BrokenLine } from './lines.ts';
import type { Resource } from './resources.ts';

/** What is kept of one object: itself, or why it is none. */
export interface Kept {
  /** `namespace/name`, or the name. */
  readonly key: string;
  readonly object: KubeObject | undefined;
  readonly problems: readonly Problem[];
}

/** ERROR events carry a Status in place of an object. */
export interface Failure {
  readonly code: number | undefined;
  readonly message: string;
}

export type WatchEvent =
  | { readonly type: 'put' | 'remove'; readonly version: string | undefined; readonly kept: Kept }
  | { readonly type: 'bookmark'; readonly version: string; readonly endsInitial: boolean }
  | { readonly type: 'error'; readonly failure: Failure }
  | { readonly type: 'unknown' };

const INITIAL_END = 'k8s.io/initial-events-end';

function versionOf(value: unknown): string | undefined {
  const version = memberAt(value, 'metadata', 'resourceVersion');
  return typeof version === 'string' && version !== '' ? version : undefined;
}

/** Undefined where the value has no name: it is no object. */
export function keep(value: unknown, resource: Resource): Kept | undefined {
  const metadata = member(value, 'metadata');
  const name = member(metadata, 'name');
  const namespace = member(metadata, 'namespace');
  if (typeof value !== 'object' || typeof name !== 'string') return undefined;
  // Items of a list have no kind of their own.
  const { objects, problems } = parseObjects({ ...value, kind: resource.kind, apiVersion: resource.apiVersion });
  return { key: typeof namespace === 'string' ? `${namespace}/${name}` : name, object: objects[0], problems };
}

/** One line of a watch. Throws a BrokenLine where it is none. */
export function readEvent(line: string, resource: Resource): WatchEvent {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    throw new BrokenLine(`a line of ${line.length} characters is no JSON: ${(error as Error).message}`);
  }
  const type = member(value, 'type');
  const object = member(value, 'object');
  switch (type) {
    case 'ADDED':
    case 'MODIFIED':
    case 'DELETED': {
      const kept = keep(object, resource);
      if (kept === undefined) throw new BrokenLine(`an event ${type} has no object with a name`);
      return { type: type === 'DELETED' ? 'remove' : 'put', version: versionOf(object), kept };
    }
    case 'BOOKMARK': {
      const version = versionOf(object);
      if (version === undefined) throw new BrokenLine('a bookmark has no resourceVersion');
      return { type: 'bookmark', version, endsInitial: memberAt(object, 'metadata', 'annotations', INITIAL_END) === 'true' };
    }
    case 'ERROR': {
      const code = member(object, 'code');
      const message = member(object, 'message');
      return {
        type: 'error',
        failure: { code: typeof code === 'number' ? code : undefined, message: typeof message === 'string' ? message : 'no reason given' },
      };
    }
    default:
      return { type: 'unknown' };
  }
}

export interface Page {
  readonly kept: readonly Kept[];
  readonly version: string | undefined;
  /** Where the next page begins; undefined: this is the last. */
  readonly next: string | undefined;
}

/** One page of a list. Throws a BrokenLine where it is none. */
export function readPage(value: unknown, resource: Resource): Page {
  const items = member(value, 'items');
  // Go writes an empty list as null.
  if (items !== undefined && !Array.isArray(items)) throw new BrokenLine('the answer is no list');
  if (typeof value !== 'object' || value === null || member(value, 'metadata') === undefined) throw new BrokenLine('the answer is no list');
  const next = memberAt(value, 'metadata', 'continue');
  return {
    kept: (items ?? []).map((item: unknown) => keep(item, resource)).filter((kept: Kept | undefined) => kept !== undefined),
    version: versionOf(value),
    next: typeof next === 'string' && next !== '' ? next : undefined,
  };
}
