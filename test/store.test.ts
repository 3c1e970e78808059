// Snapshots of a source: immutable, ordered, and sharing everything that did not change.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseObjects } from '../control/source/parse.ts';
import { type ObjectStore, objectStore } from '../control/source/store.ts';
import { type Raw, service, slice } from './lib/objects.ts';

function put(store: ObjectStore, ...manifests: Raw[]): void {
  for (const manifest of manifests) for (const object of parseObjects(manifest).objects) store.put(object);
}

describe('a snapshot', () => {
  it('is the identical one while nothing changes, also when an equal object is put again', () => {
    const store = objectStore();
    put(store, service('web'), slice('web', 'a', ['10.0.0.1']));
    const first = store.snapshot([]);
    put(store, service('web'), slice('web', 'a', ['10.0.0.1']));
    store.remove('Node', 'nobody');
    assert.equal(store.snapshot([]), first);
  });

  it('counts the changes of Services and slices, and not what an equal object brings', () => {
    const store = objectStore();
    put(store, service('web'), service('web'), slice('web', 'a', ['10.0.0.1']), slice('web', 'a', ['10.0.0.2']));
    const first = store.snapshot([]);
    assert.deepEqual(first.changes, { services: 1, slices: 2 });
    store.remove('Service', 'default/web');
    store.remove('Service', 'default/web');
    store.remove('EndpointSlice', 'default/nobody');
    assert.deepEqual(store.snapshot([]).changes, { services: 2, slices: 2 });
    assert.deepEqual(first.changes, { services: 1, slices: 2 });
  });

  it('does not change afterwards', () => {
    const store = objectStore();
    put(store, service('web'), slice('web', 'a', ['10.0.0.1']));
    const first = store.snapshot([]);
    put(store, service('web', { clusterIP: '10.96.0.99' }), slice('web', 'b', ['10.0.0.2']));
    store.remove('EndpointSlice', 'default/a');
    assert.deepEqual(first.services.get('default/web')?.clusterIPs, ['10.96.0.10']);
    assert.deepEqual(
      first.slices.get('default/web')?.map(({ key }) => key),
      ['default/a'],
    );
  });

  it('shares the object, the list of slices and the kind that were not touched', () => {
    const store = objectStore();
    put(store, service('a'), service('b'), slice('a', 'a', ['10.0.0.1']), slice('b', 'b', ['10.0.0.2']));
    const first = store.snapshot([]);
    put(store, slice('b', 'b', ['10.0.0.3']));
    const second = store.snapshot([]);
    assert.equal(second.services, first.services);
    assert.equal(second.slices.get('default/a'), first.slices.get('default/a'));
    assert.notEqual(second.slices.get('default/b'), first.slices.get('default/b'));
  });

  it('is equal for equal objects, whatever the order they came in', () => {
    const manifests = [service('b'), service('a'), slice('a', 'z', ['10.0.0.1']), slice('a', 'y', ['10.0.0.2']), slice('b', 'x', [])];
    const forwards = objectStore();
    put(forwards, ...manifests);
    const backwards = objectStore();
    put(backwards, ...manifests.toReversed(), service('c'));
    backwards.snapshot([]);
    backwards.remove('Service', 'default/c');
    const [one, other] = [forwards.snapshot([]), backwards.snapshot([])];
    assert.deepEqual([...one.services], [...other.services]);
    assert.deepEqual([...one.slices], [...other.slices]);
  });

  it('follows a slice from one Service to another, and to none', () => {
    const store = objectStore();
    put(store, slice('a', 's', ['10.0.0.1']));
    put(store, slice('b', 's', ['10.0.0.1']));
    assert.deepEqual([...store.snapshot([]).slices.keys()], ['default/b']);
    put(store, slice('b', 's', ['10.0.0.1'], { metadata: { labels: {} } }));
    assert.deepEqual([...store.snapshot([]).slices.keys()], []);
  });

  it('is equal problems, equal snapshot; other problems, another', () => {
    const store = objectStore();
    const problem = { object: 'File a.yaml', reason: 'FileNotParsed', message: 'x' };
    const first = store.snapshot([problem]);
    assert.equal(store.snapshot([{ ...problem }]), first);
    assert.notEqual(store.snapshot([]), first);
  });
});
