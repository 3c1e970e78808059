// Which file's definition of an object counts? Every file claims the objects it defines; one of several wins, and the choice
// depends on nothing but names.

import type { Problem } from '../model/model.ts';
import type { KubeObject } from './objects.ts';
import type { ObjectStore } from './store.ts';

export interface Claims {
  /** Replaces all that a file claims. `present` false: the file is away and may come back; it yields to any other. */
  replace(file: string, objects: readonly KubeObject[], present: boolean): void;
  /** One for each definition that does not count. */
  problems(): Problem[];
}

interface Claim {
  readonly file: string;
  readonly object: KubeObject;
  readonly present: boolean;
}

function identityOf(object: KubeObject): string {
  return `${object.kind} ${object.key}`;
}

/** Files that are there before files that are away, then by name; in one file the first definition (the sort is stable). */
function compareClaims(a: Claim, b: Claim): number {
  if (a.present !== b.present) return a.present ? -1 : 1;
  return a.file < b.file ? -1 : a.file > b.file ? 1 : 0;
}

/** Claims whose winners are written to the store. Costs what the file holds, however many other files there are. */
export function claimsOn(store: ObjectStore): Claims {
  const claimed = new Map<string, Claim[]>();
  const disputed = new Set<string>();
  const identitiesOf = new Map<string, ReadonlySet<string>>();

  const settle = (identity: string, fallen: KubeObject | undefined): void => {
    const claims = claimed.get(identity)!.sort(compareClaims);
    if (claims[0] !== undefined) store.put(claims[0].object);
    else {
      claimed.delete(identity);
      if (fallen !== undefined) store.remove(fallen.kind, fallen.key);
    }
    if (claims.length > 1) disputed.add(identity);
    else disputed.delete(identity);
  };

  return {
    replace(file, objects, present) {
      const touched = new Map<string, KubeObject | undefined>();
      for (const identity of identitiesOf.get(file) ?? []) {
        const claims = claimed.get(identity)!;
        touched.set(identity, claims.find((claim) => claim.file === file)?.object);
        claimed.set(
          identity,
          claims.filter((claim) => claim.file !== file),
        );
      }
      for (const object of objects) {
        const identity = identityOf(object);
        const claims = claimed.get(identity) ?? [];
        claims.push({ file, object, present });
        claimed.set(identity, claims);
        if (!touched.has(identity)) touched.set(identity, undefined);
      }
      identitiesOf.set(file, new Set(objects.map(identityOf)));
      if (objects.length === 0) identitiesOf.delete(file);
      for (const [identity, fallen] of touched) settle(identity, fallen);
    },
    problems() {
      return [...disputed].sort().flatMap((identity) => {
        const [winner, ...others] = claimed.get(identity)!;
        const message = `it is defined in ${JSON.stringify(winner!.file)} already; this definition is ignored`;
        return others
          .filter(({ present }) => present)
          .map(({ file }): Problem => ({ object: identity, origin: file, reason: 'DefinedTwice', message }));
      });
    },
  };
}
