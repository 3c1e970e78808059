// Are the flow tables whole? Every verdict is in some row, every row says who answers or why nobody does, and no two are one.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Verdict } from '../control/abi/layout.gen.ts';
import { combinations, documentLines, leftOut, ranOf, rowNames, tableNames, taken, titleOfHooks, withoutRunner } from './flows/runs.ts';
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

// Section 15 is about agents that follow each other, not about packets.
// Section 15 is about agents and proxies that follow each other, not about packets.
test('every row of docs/semantics.md that a flow is about is there', () => {
  const text = readFileSync(new URL('../docs/semantics.md', import.meta.url), 'utf8');
  const there = new Set([...text.matchAll(/^(?:\| |### )(\d+\.\d+) /gm)].map(([, row]) => row));
  assert.deepEqual(
    [...new Set(flows.flatMap(({ rows }) => rows.split(', ')))].filter((row) => !there.has(row) && !row.startsWith('15.')),
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

test('every table runs with every combination of hooks, but for the rows that nobody serves with it', () => {
  for (const hooks of combinations)
    for (const table of taken.wire) {
      const left = [...leftOut(table, hooks).values()].reduce((sum, count) => sum + count, 0);
      assert.equal(ranOf(table, hooks).size + left, rowNames(table).size, `${table} with ${titleOfHooks(hooks)}`);
    }
});

test('a runner that does not take a table has a reason', () => {
  const missing = Object.entries(taken).flatMap(([runner, names]) =>
    tableNames.filter((table) => !names.includes(table)).map((table) => `${table}: ${runner}`),
  );
  assert.deepEqual(Object.keys(withoutRunner).toSorted(), missing.toSorted());
});

test('docs/semantics.md has the table of what runs, and of what cannot', () => {
  const document = readFileSync(new URL('../docs/semantics.md', import.meta.url), 'utf8');
  const [, section] = /<!-- runs -->\n(.*?)<!-- \/runs -->/s.exec(document)!;
  assert.equal(section, `${[...documentLines()].join('\n')}\n`);
});
