// Every history of test/scenarios, each with its own tenth of refused writes.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { play, readScenario } from './lib/scenario.ts';

const SEED = Number(process.env.SEED ?? Date.now() % 2 ** 31);
console.log(`scenario seed: ${SEED} (SEED=${SEED} repeats it)`);

const directory = new URL('./scenarios/', import.meta.url);

for (const file of readdirSync(directory).sort()) {
  const scenario = readScenario(readFileSync(new URL(file, directory), 'utf8'));
  test(`scenario ${file}: ${scenario.title}`, () => play(scenario, SEED));
}

test('a scenario whose maps are not as it expects fails', () => {
  const wrong = readScenario('turn\nexpect then\n-- then --\n== frontends\nFRONTEND\nsomething\n');
  assert.throws(() => play(wrong, SEED), assert.AssertionError);
});
