// What does the API server say, now and as it changes? A Source over its list and watch. Its outage changes nothing that is known and
// ends nothing; what was unknown at the start is waited for.

import type { Problem } from '../../model/model.ts';
import type { Source } from '../objects.ts';
import { objectStore } from '../store.ts';
import type { Api } from './api.ts';
import { openReflector, type Reflector, type ReflectorStatus, type Shelf, TIMINGS, type Timings } from './reflector.ts';
import { type Resource, resourcesOf } from './resources.ts';

export interface KubeStatus {
  /** Who we are to it. */
  readonly identity: string;
  readonly servers: readonly string[];
  /** The one in use. */
  readonly server: string;
  readonly resources: readonly ReflectorStatus[];
}

/** A Source with what `status` shows of it. */
export interface Kube extends Source {
  readonly api: Api;
  status(): KubeStatus;
}

export interface KubeParts {
  readonly api: Api;
  readonly nodeName: string;
  readonly serviceProxyName: string | undefined;
  /** Tests have less patience. */
  readonly timings?: Timings;
  readonly random?: () => number;
}

/** One Problem an outage, not one a resource. */
function troublesOf(reflectors: readonly Reflector[]): Problem[] {
  const troubles = reflectors.map(({ trouble }) => trouble).filter((trouble) => trouble !== undefined);
  const unreachable = troubles.find(({ reason }) => reason === 'ApiServerUnreachable');
  const others = troubles.filter(({ reason }) => reason !== 'ApiServerUnreachable');
  if (unreachable === undefined) return others;
  const { field: _, ...whole } = unreachable;
  return [whole, ...others];
}

/** Follows the API server until closed. */
export function openKube({ api, nodeName, serviceProxyName, timings = TIMINGS, random = Math.random }: KubeParts): Kube {
  const store = objectStore();
  /** Of objects that are none. */
  const problems = new Map<string, readonly Problem[]>();
  const callbacks: (() => void)[] = [];
  const reflectors: Reflector[] = [];

  const shelfOf = ({ kind }: Resource): Shelf => {
    const keys = new Set<string>();
    const shelf: Shelf = {
      held: (key) => store.held(kind, key),
      put({ key, object, problems: about }) {
        keys.add(key);
        if (object === undefined) store.remove(kind, key);
        else store.put(object);
        if (about.length > 0) problems.set(`${kind} ${key}`, about);
        else problems.delete(`${kind} ${key}`);
      },
      remove(key) {
        keys.delete(key);
        store.remove(kind, key);
        problems.delete(`${kind} ${key}`);
      },
      replace(all) {
        for (const key of [...keys]) if (!all.has(key)) shelf.remove(key);
        for (const kept of all.values()) shelf.put(kept);
      },
    };
    return shelf;
  };

  for (const resource of resourcesOf(nodeName, serviceProxyName)) {
    reflectors.push(
      openReflector({
        resource,
        api,
        shelf: shelfOf(resource),
        onChange() {
          for (const callback of callbacks) callback();
        },
        onAnswer() {
          for (const reflector of reflectors) reflector.nudge();
        },
        timings,
        random,
      }),
    );
  }

  return {
    api,
    get synced() {
      return reflectors.every((reflector) => reflector.synced);
    },
    objects: () => store.snapshot([...troublesOf(reflectors), ...[...problems.values()].flat()]),
    onChange(callback) {
      callbacks.push(callback);
    },
    status: () => ({
      identity: api.identity.from,
      servers: api.identity.servers,
      server: api.server,
      resources: reflectors.map((reflector) => reflector.status()),
    }),
    close() {
      for (const reflector of reflectors) reflector.close();
      void api.close();
    },
  };
}
