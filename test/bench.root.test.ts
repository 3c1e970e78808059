// Does the benchmark measure what its table says? All of it with few packets: every counted packet took its path, what came out is right, and
// the file has the shape that programs read.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Datapath, VerdictName } from '../bench/datapath.ts';
import type { Driver, Turn } from '../bench/driver.ts';
import { requestsOf, requestTurn, runCounted } from '../bench/flows.ts';
import type { Line, Report } from '../bench/report.ts';

const directory = mkdtempSync(join(tmpdir(), 'sluice-bench-'));
after(() => rmSync(directory, { recursive: true, force: true }));

const file = join(directory, 'packet.json');
const table = execFileSync(process.execPath, [fileURLToPath(new URL('../bench/packet.ts', import.meta.url)), '--smoke', '--out', file], {
  encoding: 'utf8',
  timeout: 60_000,
});
const report = JSON.parse(readFileSync(file, 'utf8')) as Report;

test('bench: every path is measured at its hook, and each thing varied alone', () => {
  const points = (path: string, hook: string) =>
    report.rows
      .filter((row) => row.path === path && row.hook === hook)
      .map(({ family, protocol, flows, services }) => `${family} ${protocol} ${flows} ${services}`);
  const sweep = ['4 TCP 1 10', '4 TCP 100 10', '6 TCP 1 10', '4 UDP 1 10', '4 TCP 1 200', '4 TCP 100 200'];
  const everyNew = ['4 TCP 100 10', '6 TCP 100 10', '4 UDP 100 10', '4 TCP 100 200'];
  assert.deepEqual(points('established, remote backend: request', 'xdp'), sweep);
  assert.deepEqual(points('established, remote backend: reply', 'xdp'), sweep);
  assert.deepEqual(points('established, local backend: request', 'tc'), sweep);
  assert.deepEqual(points('new flow, remote backend', 'xdp'), everyNew);
  assert.deepEqual(points('new flow, local backend', 'tc'), everyNew);
  for (const hook of ['xdp', 'tc']) assert.deepEqual(points('not ours, to a pod', hook), ['4 TCP 1 10', '6 TCP 1 10', '4 TCP 1 200']);
});

test('bench: every row of ours has its ratio to a reference of the same run', () => {
  const paths = new Set(report.rows.map(({ path }) => path));
  const ours = report.rows.filter(({ path }) => !path.startsWith('reference: '));
  assert.equal(ours.length, 36);
  for (const { path, reference, ratio } of ours) {
    assert(reference !== null && paths.has(reference), `${path}: ${reference}`);
    assert.equal(typeof ratio, 'number', path);
  }
});

test('bench: a row has numbers, and the table a line for it', () => {
  const keys = ['path', 'hook', 'family', 'protocol', 'flows', 'services', 'nsMin', 'nsMedian', 'reference', 'ratio'];
  for (const row of report.rows) {
    assert.deepEqual(Object.keys(row), keys);
    for (const name of ['nsMin', 'nsMedian'] satisfies (keyof Line)[]) assert(Number.isInteger(row[name]), `${row.path}: ${name}`);
    assert(table.includes(row.path), row.path);
  }
  const { directNs, serviceNs, ratio } = report.connections;
  for (const number of [directNs, serviceNs, ratio]) assert(number > 0);
  assert(report.machine.cpu !== '' && report.machine.kernel !== '');
});

test('bench: a packet that takes another path ends it', () => {
  const kind = { where: 'remote', family: 4, protocol: 'TCP' } as const;
  const turn: Turn = requestTurn(kind, requestsOf(kind, 1, 1), 'xdp', 'A');
  let forwarded = 0;
  const driver: Driver = {
    run(_program, { frame }, repeat) {
      forwarded += repeat - 1;
      return { grossNs: 1, action: 3, rewritten: 0, frame };
    },
    close() {},
  };
  const verdicts = () =>
    new Map<VerdictName, number>([
      ['FORWARD_REQUEST', forwarded],
      ['PASS_TO_TC', forwarded > 0 ? 1 : 0],
    ]);
  const datapath = { programs: { nic_xdp: 0 }, verdicts } as unknown as Datapath;
  assert.throws(() => runCounted(driver, datapath, 'nic_xdp', turn, 10, 'FORWARD_REQUEST'), /verdicts of 10 packets/);
});
