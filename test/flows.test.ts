// Are the flow tables whole? Every verdict is in some row, every row says who answers or why nobody does, and no two are one.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Verdict } from '../control/abi/layout.gen.ts';
import { tables, unnamed } from './flows/tables.ts';
import { expand, titleOf, verdictOf } from './lib/flow.ts';
import type { PlaceName } from './lib/places.ts';

const flows = tables.flatMap(expand);
const verdictsOf = (flow: (typeof flows)[number]) =>
  flow.reaches ? Object.keys(flow.reaches).map((backend) => verdictOf(flow, backend as PlaceName)) : [verdictOf(flow)];

test('every verdict is in some flow, or is listed with the reason why it cannot be', () => {
  const named = new Set(flows.flatMap(verdictsOf));
  const words = Object.keys(Verdict);
  assert.deepEqual(
    [...named].filter((verdict) => !words.includes(verdict)),
    [],
    'rows name only verdicts of the page',
  );
  assert.deepEqual(
    words.filter((word) => !named.has(word) && !(word in unnamed)),
    [],
    'in no row and not listed',
  );
  assert.deepEqual(
    Object.keys(unnamed).filter((word) => named.has(word)),
    [],
    'listed and yet in a row',
  );
});

test('a row is one sentence: no two have one title', () => {
  const titles = flows.map(titleOf);
  assert.deepEqual(
    titles.filter((title, index) => titles.indexOf(title) !== index),
    [],
  );
});

test('the tables cover 0.1, 0.2 and 0.3 in both families and both protocols', () => {
  for (const row of ['0.1', '0.2', '0.3'])
    for (const family of [4, 6])
      for (const protocol of ['tcp', 'udp'])
        assert.ok(
          flows.some((flow) => flow.rows.split(', ').includes(row) && flow.family === family && flow.protocol === protocol),
          `${row} ${family} ${protocol}`,
        );
});
