// The file the agent leaves for the command line: whole or not used.

import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { readSnapshot, type Snapshot, writeSnapshot } from '../control/observe/snapshot.ts';

let directory: string;
let path: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-snapshot-'));
  path = join(directory, 'snapshot');
});
after(() => rmSync(directory, { recursive: true }));

const example: Snapshot = {
  writtenAt: 1_790_000_000_000,
  names: new Map([
    [7, { service: 'default/web', port: 'http' }],
    [4_294_967_295, { service: 'default/constructor', port: '' }],
  ]),
  status: { problems: [{ object: 'Service default/web', message: '\x1b]0;x\x07' }], big: 2 ** 40 },
};

describe('snapshot', () => {
  it('is read back as it was written, for root alone, with nothing left beside it', () => {
    writeSnapshot(path, example);
    const { snapshot, warning } = readSnapshot(path);
    assert.equal(warning, undefined);
    assert.deepEqual(snapshot, example);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(readdirSync(directory), ['snapshot']);
  });

  it('a missing one is a warning', () => {
    const { snapshot, warning } = readSnapshot(join(directory, 'nothing'));
    assert.equal(snapshot, undefined);
    assert.match(warning ?? '', /there is none/);
  });

  it('one that is cut anywhere is a warning', () => {
    writeSnapshot(path, example);
    const bytes = readFileSync(path);
    for (let length = 0; length < bytes.length; length++) {
      writeFileSync(path, bytes.subarray(0, length));
      const { snapshot, warning } = readSnapshot(path);
      assert.equal(snapshot, undefined, `cut to ${length} bytes`);
      assert.match(warning ?? '', /is not used/);
    }
  });

  it('one changed bit is a warning', () => {
    writeSnapshot(path, example);
    const bytes = readFileSync(path);
    fc.assert(
      fc.property(fc.nat(bytes.length * 8 - 1), (bit) => {
        const changed = Buffer.from(bytes);
        changed[bit >> 3] = (changed[bit >> 3] ?? 0) ^ (1 << (bit & 7));
        writeFileSync(path, changed);
        assert.equal(readSnapshot(path).snapshot, undefined);
      }),
    );
  });

  it('a failed write keeps the old one', () => {
    writeSnapshot(path, example);
    const failing = { ...example, status: () => undefined };
    Object.defineProperty(failing, 'names', {
      get: () => {
        throw new Error('no names');
      },
    });
    assert.throws(() => writeSnapshot(path, failing));
    assert.throws(() => writeSnapshot(join(directory, 'missing', 'snapshot'), example), /ENOENT/);
    assert.deepEqual(readSnapshot(path).snapshot, example);
  });
});
