// Is what `sluice check` finds told in words that lead somewhere? The decisions that need no kernel.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fillFindings, referenceFindings } from '../control/kernel/inspect.ts';
import { memoryMaps } from '../control/kernel/maps.ts';
import { adopt, compare, sync } from '../control/sync.ts';
import { model, OPTIONS, service } from './lib/services.ts';

const web = service('default/web', [{ frontends: ['ClusterIP 10.96.0.10:80'], backends: ['10.244.1.5:8080', '10.244.2.5:8080'] }]);

test('a table that is nearly full is a warning with what to do, never drift', () => {
  const found = fillFindings([
    { name: 'flows4', entries: 90, maxEntries: 100 },
    { name: 'flows6', entries: 89, maxEntries: 100 },
  ]);
  assert.deepEqual(
    found.map(({ kind, where, found: text, repair }) => [kind, where, text, repair]),
    [['warning', 'map flows4', '90 of 100 entries', "--map-size flows4=200 at the agent's next start"]],
  );
});

test('maps that hold the model differ in nothing, and each entry that is deleted, changed or added is named', () => {
  const maps = memoryMaps();
  sync(maps, adopt(maps), model([web]), OPTIONS);
  const told = () => compare(maps, model([web]), OPTIONS).map(({ where, found }) => `${where}: ${found}`);
  assert.deepEqual(told(), []);
  const key = { address: '10.96.0.10', port: 80, protocol: 6 };
  const held = maps.frontends4.get(key)!;
  maps.frontends4.delete(key);
  assert.ok(told().includes('map frontends4 10.96.0.10:80/6: missing'), told().join());
  maps.frontends4.set({ ...key, port: 81 }, held);
  assert.ok(told().includes('map frontends4 10.96.0.10:81/6: not wanted'), told().join());
  maps.frontends4.delete({ ...key, port: 81 });
  maps.frontends4.set(key, { ...held, affinity_seconds: 7 });
  assert.ok(told().includes('map frontends4 10.96.0.10:80/6: other contents'), told().join());
  maps.frontends4.set(key, held);
  maps.addresses4.delete('10.96.0.10');
  assert.ok(told().includes('map addresses4 10.96.0.10: missing'), told().join());
  assert.equal(maps.frontends4.get(key)?.id, held.id, 'comparing writes nothing');
  assert.equal(maps.addresses4.get('10.96.0.10'), undefined);
});

test('a frontend whose slots name nobody is found without an agent', () => {
  const maps = memoryMaps();
  sync(maps, adopt(maps), model([web]), OPTIONS);
  assert.deepEqual(referenceFindings(maps), []);
  const [id] = [...maps.backends4.entries()].find(([, { flags }]) => flags !== 0)!;
  maps.backends4.set(id, { ...maps.backends4.get(id)!, flags: 0 });
  assert.match(referenceFindings(maps)[0]?.found ?? '', new RegExp(`backend ${id}, which is not there`));
});
