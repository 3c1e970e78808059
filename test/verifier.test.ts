// Does docs/verifier.md stay what `make test-kernels` found, and is a program that grew named?

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { type Counts, growth, mergeCounts, parseTable, replaceTable } from './kernels/table.ts';

const text = [
  '# Title',
  '',
  'Prose.',
  '',
  '| program | 5.10 | 6.1 |',
  '| --- | ---: | ---: |',
  '| tc a | 1,000 | 2,000 |',
  '| tc b | 3 |  |',
  '',
];
const old = parseTable(text.join('\n'));
const counts = (rows: Record<string, Record<string, number>>): Counts =>
  new Map(Object.entries(rows).map(([program, row]) => [program, new Map(Object.entries(row))]));

test('a table is read, and written as it was', () => {
  assert.deepEqual(old, counts({ 'tc a': { '5.10': 1000, '6.1': 2000 }, 'tc b': { '5.10': 3 } }));
  assert.equal(replaceTable(text.join('\n'), old), text.join('\n'));
  const committed = readFileSync(new URL('../docs/verifier.md', import.meta.url), 'utf8');
  assert.equal(replaceTable(committed, parseTable(committed)), committed);
});

test('new counts go beside those of kernels that were not asked; programs that are gone go, and columns are in the order of versions', () => {
  const merged = mergeCounts(old, counts({ 'tc a': { '6.18': 5, '5.10': 1001 } }));
  assert.deepEqual(merged, counts({ 'tc a': { '5.10': 1001, '6.1': 2000, '6.18': 5 } }));
  assert.match(
    replaceTable(text.join('\n'), merged),
    /^Prose\.\n\n\| program \| 5\.10 \| 6\.1 \| 6\.18 \|\n.*\n\| tc a \| 1,001 \| 2,000 \| 5 \|\n$/m,
  );
});

test('over a quarter more is growth; a quarter, less, and what is new is not', () => {
  const now = counts({ 'tc a': { '5.10': 1250, '6.1': 2501, '6.18': 9000 }, 'tc b': { '5.10': 1 }, 'tc c': { '5.10': 9000 } });
  assert.deepEqual(growth(old, now), ['tc a on 6.1: 2000 before, 2501 now, 25 % more']);
});
