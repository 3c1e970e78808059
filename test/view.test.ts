// What the datapath is told of the cluster: right after every change, and the identical value where nothing of it changed.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { followView } from '../control/agent/view.ts';
import type { NodeFacts } from '../control/model/model.ts';
import { model, NODE, service } from './lib/services.ts';

const nodePort = (key: string, ...ports: number[]) =>
  service(
    key,
    ports.map((port) => ({ name: `p${port}`, frontends: [`NodePort 0.0.0.0:${port}`], backends: [] })),
  );
const clusterIP = (key: string) => service(key, [{ frontends: ['ClusterIP 10.96.0.1:80'], backends: [] }]);

describe('the view of the cluster', () => {
  it('has the node ports of the Services there are', () => {
    const view = followView({ detectLocal: { mode: 'PodInterfaces' } });
    const steps: [string[], number[]][] = [
      [
        ['a 30001 30002', 'b 30003'],
        [30001, 30002, 30003],
      ],
      [
        ['a 30001', 'b 30003 30004'],
        [30001, 30003, 30004],
      ],
      [
        ['b 30004', 'c 30001'],
        [30001, 30004],
      ],
      [['c 30001', 'd 30001'], [30001]],
      [['d 30001'], [30001]],
      [[], []],
    ];
    for (const [words, expected] of steps) {
      const services = words.map((text) => {
        const [name, ...ports] = text.split(' ');
        return nodePort(`default/${name}`, ...ports.map(Number));
      });
      assert.deepEqual([...view(model(services, NODE)).nodePorts].sort(), expected);
    }
  });

  it('is the identical value while nothing of it changes', () => {
    const view = followView({ detectLocal: { mode: 'NodeCIDR' } });
    const first = view(model([nodePort('default/a', 30001), clusterIP('default/b')], NODE));
    const { serviceCIDRs } = model([], NODE);
    const alike = (services: ReturnType<typeof service>[], node: NodeFacts = NODE) =>
      view({ ...model(services, node), serviceCIDRs: first.serviceCIDRs });
    assert.deepEqual(serviceCIDRs, first.serviceCIDRs);
    assert.equal(alike([nodePort('default/a', 30001), clusterIP('default/c')]), first);
    assert.notEqual(alike([nodePort('default/a', 30002)]), first);
    const moved = alike([nodePort('default/a', 30001)], { ...NODE, podCIDRs: ['10.244.1.0/24'] });
    assert.deepEqual([moved.localPrefixes, [...moved.nodePorts]], [['10.244.1.0/24'], [30001]]);
  });
});
