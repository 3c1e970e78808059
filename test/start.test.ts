// For what does a start wait?

import assert from 'node:assert/strict';
import { it } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { synced } from '../control/agent/start.ts';
import type { Source } from '../control/source/objects.ts';
import { testSource } from './lib/source.ts';

/** A source that has not read everything until it is told to have. */
function unread() {
  let [done, tell] = [false, () => {}];
  const source: Source = {
    ...testSource(),
    get synced() {
      return done;
    },
    onChange(callback) {
      tell = callback;
    },
  };
  const read = () => {
    done = true;
    tell();
  };
  return { source, read };
}

async function isOver(waiting: Promise<void>): Promise<boolean> {
  return Promise.race([waiting.then(() => true), nextTurn(false)]);
}

it('for its source, or until it is given up: also when that was while the kernel verified the programs', async () => {
  const { source, read } = unread();
  const stop = new AbortController();
  const [waiting, other] = [synced(source, stop.signal), synced(unread().source, stop.signal)];
  assert.deepEqual([await isOver(waiting), await isOver(other)], [false, false]);
  stop.abort();
  assert.deepEqual([await isOver(other), await isOver(synced(source, stop.signal))], [true, true]);
  const once = synced(source, new AbortController().signal);
  read();
  assert.equal(await isOver(once), true);
});
