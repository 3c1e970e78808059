// Does the benchmark of the control plane run, and is its file what programs read? All of it small: its figures mean nothing here.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Line, Report } from '../../bench/control/report.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const file = join(directory, 'control.json');
const script = fileURLToPath(new URL('../../bench/control.ts', import.meta.url));
const words = ['--disable-warning=ExperimentalWarning', script, '--smoke', '--apiserver', '--out', file];
const table = execFileSync(process.execPath, words, { encoding: 'utf8', timeout: 240_000, stdio: ['ignore', 'pipe', 'ignore'] });
const report = JSON.parse(readFileSync(file, 'utf8')) as Report;
const rows = (what: RegExp, mode: Line['mode']) => report.rows.filter((row) => what.test(row.what) && row.mode === mode);

test('bench-control: the agent alone, over the real maps and over maps in memory', () => {
  for (const what of [/from nothing$/, /from nothing, CPU/, /endpoint changed, event/, /a second.*median/, /a second.*99th/])
    for (const row of rows(what, 'kernel maps')) assert.ok(row.ms! > 0 && row.least! <= row.ms! && row.ms! <= row.most!, row.what);
  assert.ok(rows(/from nothing$/, 'memory maps')[0]!.ms! > 0);
  assert.deepEqual(
    rows(/endpoint changed, event/, 'kernel maps').map(({ services }) => services),
    [300, 20],
  );
  assert.ok(rows(/anonymous memory/, 'kernel maps')[0]!.rssMiB! > 20);
});

test('bench-control: the agent and kube-proxy on one API server', () => {
  for (const mode of ['sluice', 'kube-proxy nftables'] as const) {
    assert.ok(rows(/^from the start/, mode)[0]!.ms! > 50, 'nothing answers before something is programmed');
    assert.ok(rows(/to the first answer from the new one$/, mode)[0]!.ms! > 0);
    assert.ok(rows(/memory after the changes/, mode)[0]!.rssMiB! > 5);
  }
  assert.ok(rows(/^from the start/, 'sluice')[0]!.ratio! > 0);
  for (const row of report.rows) assert.ok(table.includes(row.what), 'the table has every row');
});
