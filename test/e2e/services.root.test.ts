// Does a real cluster's traffic go where its objects say? The scenarios of Services, each with its own limit of seconds, in one cluster: the real API
// server and endpointslice controller, two nodes served by sluice, a process for every pod.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { type Cluster, openCluster } from '../lib/cluster.ts';
import { play } from '../lib/stage.ts';
import { scenarios as endpoints } from './scenarios/endpoints.ts';
import { scenarios as names } from './scenarios/names.ts';
import { scenarios as policies } from './scenarios/policies.ts';
import { scenarios as types } from './scenarios/types.ts';

let cluster: Cluster;
before(async () => {
  cluster = await openCluster();
});
after(() => cluster?.close());

for (const [index, scenario] of [...names, ...types, ...endpoints, ...policies].entries())
  test(scenario.name, { timeout: scenario.seconds * 1000 }, ({ signal }) =>
    cluster.telling(() => play(cluster, `scenario-${index}`, scenario, signal)),
  );

test('no agent complained', () => {
  for (const [node, { lines }] of cluster.agents) {
    const errors = lines.filter(({ level }) => level === 'error' || level === 'fatal');
    assert.deepEqual(errors, [], node);
  }
});
