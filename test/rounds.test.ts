// Rounds: never two at once, one for all who asked meanwhile, none after the end, and an error reaches who waits.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { openRounds } from '../control/kernel/rounds.ts';

/** Rounds that end when they are told to. */
function gated() {
  const gates: { end(): void; fail(error: Error): void }[] = [];
  let [most, running] = [0, 0];
  const rounds = openRounds(async () => {
    most = Math.max(most, ++running);
    await new Promise<void>((end, fail) => gates.push({ end, fail })).finally(() => running--);
  });
  return { rounds, gates, most: () => most };
}

test('a round begins at once where none is under way; all who ask during one share the next', async () => {
  const { rounds, gates, most } = gated();
  const first = rounds.run();
  assert.equal(gates.length, 1);
  // Told of its end before the next begins: in the moment between the two.
  const between = first.then(() => rounds.run());
  const [second, third] = [rounds.run(), rounds.run()];
  assert.equal(second, third);
  assert.equal(gates.length, 1);
  gates[0]!.end();
  await nextTurn();
  assert.equal(gates.length, 2);
  gates[1]!.end();
  await Promise.all([second, between]);
  assert.deepEqual([gates.length, most()], [2, 1]);
  const fifth = rounds.run();
  assert.equal(gates.length, 3);
  gates[2]!.end();
  await fifth;
});

test('an error reaches who asked for the round, and the next begins all the same', async () => {
  const { rounds, gates } = gated();
  const first = rounds.run();
  const second = rounds.run();
  gates[0]!.fail(new Error('the kernel says no'));
  await assert.rejects(first, /says no/);
  await nextTurn();
  gates[1]!.end();
  await second;
});

test('after the end none begins, and the end waits for the one under way', async () => {
  const { rounds, gates } = gated();
  assert.equal(openRounds(async () => {}).end(), undefined);
  const first = rounds.run();
  const second = rounds.run();
  let over = false;
  const ended = rounds.end()?.then(() => {
    over = true;
  });
  await nextTurn();
  assert.equal(over, false);
  gates[0]!.end();
  await Promise.all([first, second, ended]);
  await rounds.run();
  assert.equal(gates.length, 1);
});
