// Which configuration counts when its file changes, when it is wrong, and when it is mended?
import assert from 'node:assert/strict';
import { mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, test } from 'node:test';
import pino from 'pino';
import { followConfig, type Reload } from '../control/agent/reload.ts';
import { readConfig } from '../control/config.ts';
import { until } from './lib/sandbox.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-reload-'));
const file = join(directory, 'config.yaml');
let open: Reload | undefined;
after(() => rmSync(directory, { recursive: true }));
afterEach(() => open?.close());

function follow() {
  const modes: string[] = [];
  const lines: Record<string, unknown>[] = [];
  let told = 0;
  const read = () => readConfig({ 'hostname-override': 'a' }, file);
  open = followConfig({
    file,
    read,
    config: read(),
    log: pino({}, { write: (line: string) => lines.push(JSON.parse(line)) }),
    onChange: ({ xdp }) => modes.push(xdp),
    onProblems: () => told++,
  });
  return { reload: open, modes, lines, told: () => told };
}

function hangUp(text: string): void {
  writeFileSync(file, text);
  process.emit('SIGHUP');
}

test('what may change while the agent runs does, once', () => {
  writeFileSync(file, 'sluice: { xdp: native }\n');
  const { modes } = follow();
  hangUp('sluice: { xdp: off }\n');
  hangUp('sluice: { xdp: off }\n');
  hangUp('{}\n');
  assert.deepEqual(modes, ['off', 'auto']);
});

test('other fields are named, and wait for the next start', () => {
  writeFileSync(file, '{}\n');
  const { modes, lines } = follow();
  hangUp('sluice: { socket: off, snatPorts: 20000-20010 }\nnftables: { masqueradeAll: true }\n');
  assert.deepEqual(modes, []);
  assert.deepEqual(
    lines.map(({ fields }) => fields),
    [['masqueradeAll', 'hooks', 'snatPorts']],
  );
});

test('of a wrong file nothing counts, and it is a Problem until it is right', () => {
  writeFileSync(file, 'sluice: { xdp: native }\n');
  const { reload, modes, told } = follow();
  hangUp('sluice: { xdp: fast, snatPorts: 1-2 }\n');
  assert.deepEqual(modes, []);
  assert.deepEqual(
    reload.problems().map(({ field, reason }) => [field, reason]),
    [
      ['sluice.xdp', 'BadConfig'],
      ['sluice.snatPorts', 'BadConfig'],
    ],
  );
  rmSync(file);
  process.emit('SIGHUP');
  assert.deepEqual(
    reload.problems().map(({ field }) => field),
    ['--config'],
  );
  hangUp('sluice: { xdp: off }\n');
  assert.deepEqual([reload.problems(), modes, told()], [[], ['off'], 3]);
});

test('a file that is replaced is noticed without a signal, as is one that changed before it was followed', async () => {
  writeFileSync(file, '{}\n');
  const { modes } = follow();
  writeFileSync(file, 'sluice: { xdp: native }\n');
  await until('the change of the start', () => modes.includes('native'));
  writeFileSync(`${file}.new`, 'sluice: { xdp: off }\n');
  renameSync(`${file}.new`, file);
  await until('the replacement', () => modes.includes('off'));
});
