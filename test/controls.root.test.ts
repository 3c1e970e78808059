// Would the suite notice? Each fault that it is there to find is made on purpose, and the test that must fail has to.
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { compile } from '../control/compile/compile.ts';
import { openPlan } from '../control/compile/plan.ts';
import { apply } from '../control/kernel/apply.ts';
import { difference } from '../control/kernel/diff.ts';
import { readHeld } from '../control/kernel/held.ts';
import { masquerade, policy } from './flows/tables.ts';
import { checkedMaps } from './lib/checked-maps.ts';
import { expand } from './lib/flow.ts';
import { openLab } from './lib/netns.ts';
import { openProgramRunner } from './lib/program.ts';
import { plainLane } from './lib/topology.ts';
import { modelOf, readObjects } from './lib/world.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const manifests = join(root, 'test/flows/manifests');
const object = join(root, 'build/bpf/tc.o');
const lab = openLab(plainLane);
after(() => lab.close());

/** What the program runner says about the first row that does not hold; undefined: all of them do. */
async function firstFailure(options: { object: string; manifests: string }): Promise<string | undefined> {
  const runner = await openProgramRunner(lab, { ...options, masqueradeAll: false });
  try {
    for (const flow of expand((words) => [...masquerade(words), ...policy(words)]))
      try {
        await runner.check(flow);
      } catch (error) {
        return (error as Error).message;
      }
    return undefined;
  } finally {
    await runner.close();
  }
}

test('without a fault there is none to find', async () => {
  assert.equal(await firstFailure({ object, manifests }), undefined);
});

/** The calls that keep checksums right, as they stand in the source. */
const repairs = ['nat.h', 'forward.h'].flatMap((file) =>
  [...readFileSync(join(root, 'bpf', file), 'utf8').matchAll(/ctx_change_l[34]_checksum\(/g)].map(({ index }) => ({ file, index })),
);

test('there are checksum lines to remove', () => assert.ok(repairs.length >= 4));

for (const [place, { file, index }] of repairs.entries())
  test(`a checksum line removed from ${file} (${place + 1}) is noticed`, async () => {
    const copy = join(lab.directory, `without-${place}`);
    cpSync(join(root, 'bpf'), join(copy, 'bpf'), { recursive: true });
    cpSync(join(root, 'Makefile'), join(copy, 'Makefile'));
    const text = readFileSync(join(root, 'bpf', file), 'utf8');
    writeFileSync(join(copy, 'bpf', file), `${text.slice(0, index)}0 && ${text.slice(index)}`);
    await execa('make', ['-s', '-C', copy, 'build/bpf/tc.o']);
    assert.match((await firstFailure({ object: join(copy, 'build/bpf/tc.o'), manifests })) ?? 'nothing', /checksums of the/);
  });

test('one backend forgotten is noticed', async () => {
  const copy = join(lab.directory, 'forgetful');
  cpSync(manifests, copy, { recursive: true });
  const file = join(copy, 'policies.yaml');
  const text = readFileSync(file, 'utf8');
  const forgetful = text.replace(/^ {2}- \{ addresses: \[.10\.1\.2\.12.\].*\n/m, '');
  assert.ok(forgetful !== text, 'the line to forget is there');
  writeFileSync(file, forgetful);
  assert.match((await firstFailure({ object, manifests: copy })) ?? 'nothing', /every backend comes up/);
});

test('writes in the reverse order are noticed', () => {
  const planned = () => {
    const { maps } = checkedMaps({ slots: 1 << 18 }, () => 0, 0);
    const held = readHeld(maps);
    const model = modelOf(readObjects(manifests));
    const few = { ...model, services: new Map([...model.services].slice(0, 4)) };
    const plan = compile(few, openPlan(held, 0), { nodePortAddresses: { primary: true, ranges: [] } }, 0);
    return { maps, held, changes: difference(held, plan) };
  };
  const right = planned();
  apply(right.maps, right.held, right.changes);
  const wrong = planned();
  assert.throws(() => apply(wrong.maps, wrong.held, [...wrong.changes].reverse()), { code: 'ERR_ASSERTION' });
});
