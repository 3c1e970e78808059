// Do the health pages say what the agent and its source say now? The parts are put together as an agent puts them; only the loop is played.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, it } from 'node:test';
import { pino } from 'pino';
import { type Observation, openObservation } from '../control/agent/observation.ts';
import type { Agent, AgentReport, Applied } from '../control/agent.ts';
import { readConfig } from '../control/config.ts';
import { node } from './lib/objects.ts';
import { testSource } from './lib/source.ts';
import { modelOf } from './lib/world.ts';

const SYNC_PERIOD_MS = 20_000;
const source = testSource();
let report: Partial<AgentReport> = { problems: [] };
let directory: string;
let port: number;
let observation: Observation;

before(async () => {
  const taken = createServer().listen(0, '127.0.0.1');
  await once(taken, 'listening');
  port = (taken.address() as AddressInfo).port;
  taken.close();
  directory = mkdtempSync(join(tmpdir(), 'observation-'));
  writeFileSync(join(directory, 'config.yaml'), `iptables: { syncPeriod: ${SYNC_PERIOD_MS}ms }\n`);
  const flags = { 'healthz-bind-address': `127.0.0.1:${port}`, 'metrics-bind-address': '', 'hostname-override': 'node-a' };
  observation = await openObservation({
    config: readConfig(flags, join(directory, 'config.yaml')),
    chosen: { source, events: undefined, status: () => ({ manifests: null, apiServer: null }) },
    log: pino({ level: 'silent' }),
    version: 'test',
    startedAt: Date.now(),
  });
  const agent: Partial<Agent> = {
    report: () => report as AgentReport,
    problemsChanged() {},
    serviceOf: () => undefined,
    serves: () => true,
  };
  observation.follow(agent as Agent, { maps: {} } as Parameters<Observation['follow']>[1]);
});
after(() => {
  observation?.close();
  rmSync(directory, { recursive: true, force: true });
});

const codes = () =>
  Promise.all(['/healthz', '/livez'].map(async (path) => (await fetch(`http://127.0.0.1:${port}${path}`, { keepalive: false })).status));

it('a change is late after twice the syncPeriod that is written, and not before a turn has succeeded (12.3, 12.5)', async () => {
  report = { problems: [], oldestChangeMs: 10 * SYNC_PERIOD_MS };
  assert.deepEqual(await codes(), [200, 200]);
  const objects = source.objects();
  const turn = { model: modelOf(objects), objects, changed: undefined, written: 0, udpStopped: false, tookMs: 1, full: true };
  observation.applied(turn satisfies Applied);
  report = { problems: [], oldestChangeMs: 2 * SYNC_PERIOD_MS - 1 };
  assert.deepEqual(await codes(), [200, 200]);
  report = { problems: [], oldestChangeMs: 2 * SYNC_PERIOD_MS };
  assert.deepEqual(await codes(), [503, 503]);
  report = { problems: [] };
  assert.deepEqual(await codes(), [200, 200]);
});

it('a Node that never was is no Node that leaves; one that was and is deleted is (12.3, 12.8)', async () => {
  assert.deepEqual(await codes(), [200, 200]);
  source.put(node('node-a', ['192.0.2.1']));
  assert.deepEqual(await codes(), [200, 200]);
  source.remove('Node', 'node-a');
  assert.deepEqual(await codes(), [503, 200]);
  source.put(node('node-a', ['192.0.2.1']));
  assert.deepEqual(await codes(), [200, 200]);
});
