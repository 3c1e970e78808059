// Do the compiled entries say what each row of the flow tables says? Runner `plan`: no packet, no kernel.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { affinity } from './flows/affinity.ts';
import { masquerade, masqueradeAll } from './flows/masquerade.ts';
import { policy } from './flows/policy.ts';
import { precedence } from './flows/precedence.ts';
import { callsEverywhere, rangesEverywhere } from './flows/ranges.ts';
import { shapes } from './flows/shapes.ts';
import { sockets } from './flows/sockets.ts';
import { type Case, expand, titleOf } from './lib/flow.ts';
import { openPlanRunner } from './lib/walk.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const runner = openPlanRunner(manifests, false);
const masquerading = openPlanRunner(manifests, true);
const guarding = openPlanRunner(manifests, false, true);

/** A walk knows no bytes: packets that are not plain are for the other runners. */
const plain = (flow: Case): boolean => flow.shape === undefined;

for (const table of [policy, masquerade, precedence, affinity, shapes, sockets])
  for (const flow of expand(table).filter(plain)) test(`plan: ${titleOf(flow)}`, () => runner.check(flow));

for (const flow of expand(masqueradeAll).filter(plain)) test(`plan: ${titleOf(flow)}`, () => masquerading.check(flow));

for (const flow of [rangesEverywhere, callsEverywhere].flatMap(expand)) test(`plan: ${titleOf(flow)}`, () => guarding.check(flow));

test('plan: a row that is wrong is noticed', () => {
  const flow = expand(policy).find(({ reaches }) => Object.keys(reaches ?? {}).length > 1)!;
  const [first] = Object.keys(flow.reaches!);
  assert.throws(() => runner.check({ ...flow, reaches: { [first!]: flow.from } }), assert.AssertionError);
  assert.throws(() => runner.check({ ...flow, port: 1 }), /neither a verdict nor anybody/);
});
