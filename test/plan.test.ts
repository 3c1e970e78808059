// Do the compiled entries say what each row of the flow tables says? Runner `plan`: no packet, no kernel.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { policy } from './flows/policy.ts';
import { casesFor, type Setting } from './flows/runs.ts';
import { expand, titleOf } from './lib/flow.ts';
import { openPlanRunner } from './lib/walk.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const runner = openPlanRunner(manifests, false);
const masquerading = openPlanRunner(manifests, true);
const guarding = openPlanRunner(manifests, false, true);

for (const [setting, asked] of Object.entries({ none: runner, masqueradeAll: masquerading, rangesEverywhere: guarding }))
  for (const flow of casesFor('plan', setting as Setting)) test(`plan: ${titleOf(flow)}`, () => asked.check(flow));

test('plan: a row that is wrong is noticed', () => {
  const flow = expand(policy).find(({ reaches }) => Object.keys(reaches ?? {}).length > 1)!;
  const [first] = Object.keys(flow.reaches!);
  assert.throws(() => runner.check({ ...flow, reaches: { [first!]: flow.from } }), assert.AssertionError);
  assert.throws(() => runner.check({ ...flow, port: 1 }), /neither a verdict nor anybody/);
});
