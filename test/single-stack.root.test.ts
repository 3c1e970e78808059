// A node of one family in a cluster of two (14.9): Services of both come, and the family that the node has is served as ever.

import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { type Agent, agentArguments, startAgent } from './lib/agent.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { endpoint, node, service, slice } from './lib/objects.ts';
import { askPage, pageURL } from './lib/pages.ts';
import { type Family, families, places } from './lib/places.ts';
import { plainLane } from './lib/topology.ts';
import { ask, serve } from './lib/wire.ts';

const MAIN = fileURLToPath(new URL('../control/main.ts', import.meta.url));
const clusterIP = { 4: '10.96.0.10', 6: 'fd96::10' } as const;
const [NODE_PORT, HEALTH_PORT] = [30_080, 31_999];

/** Takes a family from node A, as a node that never had it. */
const without: Readonly<Record<Family, string>> = {
  4: 'ip -4 route flush table main; ip -4 address flush scope global',
  6: 'for one in /proc/sys/net/ipv6/conf/*/disable_ipv6; do echo 1 > $one; done',
};

for (const family of families)
  describe(`a node with IPv${family} alone`, () => {
    const other: Family = family === 4 ? 6 : 4;
    let lab: Lab;
    let agent: Agent;
    before(async () => {
      lab = openLab(plainLane);
      await lab.run('nodeA', 'sh', ['-c', without[other]]);
      const manifests = join(lab.directory, 'manifests');
      mkdirSync(manifests);
      const web = service('lab/web', {
        ...{ type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: HEALTH_PORT },
        ...{ clusterIP: clusterIP[family], clusterIPs: [clusterIP[family], clusterIP[other]], ports: [{ port: 80, nodePort: NODE_PORT }] },
        ...{ ipFamilies: [`IPv${family}`, `IPv${other}`], ipFamilyPolicy: 'RequireDualStack' },
      });
      const slices = families.map((one) =>
        slice('lab/web', `web-${one}`, [
          // The pods of a node of one family have one address.
          ...(one === family ? [endpoint(places.a1[one], { nodeName: 'node-a' })] : []),
          endpoint(places.b1[one], { nodeName: 'node-b' }),
        ]),
      );
      const nodes = [node('node-a', [places.nodeA[family]]), node('node-b', [places.nodeB[4], places.nodeB[6]])];
      writeFileSync(join(manifests, 'all.yaml'), [web, ...slices, ...nodes].map((one) => JSON.stringify(one)).join('\n---\n'));
      await serve(lab, 'a1', 'a1', ['8080/tcp']);
      await serve(lab, 'b1', 'b1', ['8080/tcp']);
      agent = await startAgent(lab, 'nodeA', manifests);
    });
    after(() => lab?.close());

    const sluice = (...words: string[]) =>
      lab.run('nodeA', process.execPath, [
        ...['--disable-warning=ExperimentalWarning', MAIN, ...words],
        ...agentArguments(lab, 'nodeA').slice(0, words[0] === 'check' ? 6 : 4),
      ]);
    const code = async (port: number, path: string) => (await askPage(lab, 'outside', pageURL('nodeA', port, path, family))).code;

    it('serves what it has: a ClusterIP to its pods and itself, a node port to the world', async () => {
      for (const from of ['clientA', 'nodeA'] as const) {
        const [answer] = await ask(lab, from, 'tcp', clusterIP[family], 80);
        assert.match(answer!.name ?? '', /^[ab]1$/, `from ${from}: ${JSON.stringify(answer)}`);
      }
      const [answer] = await ask(lab, 'outside', 'tcp', places.nodeA[family], NODE_PORT);
      assert.deepEqual([answer!.name, answer!.name && answer!.seen], ['a1', places.outside[family]], JSON.stringify(answer));
    });

    it('is well: pages and the health check answer, nothing is a Problem, nothing drifts', async () => {
      for (const path of ['/healthz', '/livez', '/readyz']) assert.equal(await code(10_256, path), 200, path);
      assert.equal(await code(HEALTH_PORT, '/'), 200);
      assert.match(await sluice('status'), new RegExp(`^node +node-a, .*${places.nodeA[family]}$`, 'm'));
      assert.match(await sluice('check'), /^clean$/m);
      assert.deepEqual(
        agent.lines.filter((line) => 'reason' in line),
        [],
      );
    });
  });
