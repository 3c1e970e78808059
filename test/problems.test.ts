// Problems are told once when they appear and once when they go, in whatever parts they are given.

import assert from 'node:assert/strict';
import { it } from 'node:test';
import type { Problem } from '../control/model/model.ts';
import { problemSet } from '../control/observe/problems.ts';

const problem = (name: string): Problem => ({ object: `Service default/${name}`, reason: 'VIPConflict', message: 'x' });

it('a Problem is told when it appears and when it goes, however often it is given', () => {
  const set = problemSet();
  const [a, b] = [problem('a'), problem('b')];
  const model = [a, b];
  assert.deepEqual(set.replace(model, [problem('a')]), { appeared: [problem('a'), b], gone: [] });
  assert.deepEqual(set.replace(model, [problem('a')]), { appeared: [], gone: [] }, 'an equal one is the same one');
  assert.deepEqual(set.replace(model, []), { appeared: [], gone: [] });
  assert.deepEqual(set.replace([b], [problem('c')]), { appeared: [problem('c')], gone: [a] });
  assert.deepEqual(set.current(), [b, problem('c')]);
  assert.deepEqual(set.replace([], []), { appeared: [], gone: [b, problem('c')] });
});
