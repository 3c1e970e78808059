// A Source that a test moves: objects are put and removed by hand, and callbacks come at once, as from a watch.

import type { Kind, Objects, Source } from '../../control/source/objects.ts';
import { parseObjects } from '../../control/source/parse.ts';
import { objectStore } from '../../control/source/store.ts';
import type { Raw } from './objects.ts';

export interface TestSource extends Source {
  put(...manifests: readonly Raw[]): void;
  remove(kind: Kind, key: string): void;
  sync(): void;
}

/** An empty source that is synced unless `synced` is false. */
export function testSource(synced = true): TestSource {
  const store = objectStore();
  const callbacks: (() => void)[] = [];
  let isSynced = synced;
  let objects: Objects = store.snapshot([]);
  const publish = () => {
    objects = store.snapshot([]);
    for (const callback of callbacks) callback();
  };
  return {
    get synced() {
      return isSynced;
    },
    objects: () => objects,
    onChange: (callback) => callbacks.push(callback),
    close: () => callbacks.splice(0),
    put(...manifests) {
      for (const manifest of manifests) for (const object of parseObjects(manifest).objects) store.put(object);
      publish();
    },
    remove(kind, key) {
      store.remove(kind, key);
      publish();
    },
    sync() {
      isSynced = true;
      publish();
    },
  };
}
