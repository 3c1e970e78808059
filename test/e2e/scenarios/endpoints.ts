// Which endpoints serve: none, ready, not ready, terminating, made by hand, replaced, or the client itself.
import assert from 'node:assert/strict';
import { families, type PlaceName, places } from '../../lib/places.ts';
import { clusterIP, nodePort, type Scenario, type Stage } from '../../lib/stage.ts';

/** The last pods of a Service terminate, and nobody else is ready: they serve on until they are gone. */
function terminating(policy: 'internalTrafficPolicy' | 'externalTrafficPolicy', value: 'Cluster' | 'Local'): Scenario {
  const internal = policy === 'internalTrafficPolicy';
  return {
    name: `terminating endpoints serve where no other is ready: ${policy} ${value}`,
    seconds: 20,
    refusals: ['REJECT_NO_ENDPOINTS', ...(value === 'Local' ? (['DROP_NO_LOCAL_BACKEND'] as const) : [])],
    async run({ cluster, service, pod, endpoints, reaches, refused, silent }) {
      const web = await service('web', { type: internal ? 'ClusterIP' : 'NodePort', [policy]: value });
      const target = internal ? clusterIP(web) : nodePort(web, places.nodeA[4]);
      const from = internal ? 'clientA' : 'outside';
      const keys = { a1: await pod('web', 'a1'), a2: await pod('web', 'a2'), b1: await pod('web', 'b1') };
      await endpoints('web', { a1: 'ready', a2: 'ready', b1: 'ready' });
      await reaches(from, target, value === 'Local' ? ['a1', 'a2'] : ['a1', 'a2', 'b1']);

      // While some other is ready, one that terminates gets nothing new. With a Local policy the others are those of this node.
      await cluster.kubelet.terminate(keys.a1);
      await endpoints('web', { a1: 'terminating', a2: 'ready', b1: 'ready' });
      await reaches(from, target, value === 'Local' ? ['a2'] : ['a2', 'b1']);

      for (const key of [keys.a2, keys.b1]) await cluster.kubelet.terminate(key);
      await endpoints('web', { a1: 'terminating', a2: 'terminating', b1: 'terminating' });
      await reaches(from, target, value === 'Local' ? ['a1', 'a2'] : ['a1', 'a2', 'b1']);

      // One that fails its probe while it terminates serves no more.
      await cluster.kubelet.setReady(keys.a1, false);
      await endpoints('web', { a1: 'gone', a2: 'terminating', b1: 'terminating' });
      await reaches(from, target, value === 'Local' ? ['a2'] : ['a2', 'b1']);

      for (const key of [keys.a1, keys.a2]) await cluster.kubelet.remove(key);
      await endpoints('web', { b1: 'terminating' });
      if (value === 'Local') await silent(from, target);
      else await reaches(from, target, ['b1']);
      await cluster.kubelet.remove(keys.b1);
      await endpoints('web', {});
      await refused(from, target);
    },
  };
}

/** A client keeps its port while the only pod of a UDP Service is replaced, again and again: each datagram goes where a pod is now. */
function udpCycle(
  by: string,
  from: PlaceName,
  target: (web: Awaited<ReturnType<Stage['service']>>) => ReturnType<typeof clusterIP>,
): Scenario {
  return {
    name: `UDP from one fixed source port follows the pods, one replaced by the next: ${by}`,
    seconds: 20,
    refusals: ['REJECT_NO_ENDPOINTS'],
    async run({ cluster, service, pod, endpoints, ask, refused }) {
      const ports = [{ protocol: 'UDP', port: 80, targetPort: 8080 }];
      const web = await service('web', { type: 'NodePort', ports });
      await endpoints('web', {});
      await refused(from, target(web));
      for (const place of ['b1', 'a1', 'b1', 'b2'] as const) {
        const key = await pod('web', place, { ready: false });
        await endpoints('web', { [place]: 'not ready' });
        await cluster.kubelet.setReady(key, true);
        await endpoints('web', { [place]: 'ready' });
        for (const unconnected of [false, true]) {
          const answers = await ask(from, target(web), { sourcePort: 33_033, times: 3, unconnected, timeoutMs: 1000 });
          assert.deepEqual(
            answers.map(({ name, error }) => name ?? error),
            [place, place, place],
          );
        }
        await cluster.kubelet.remove(key);
        await endpoints('web', {});
      }
    },
  };
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'no endpoints: refused to pods, nodes and the outside, and served once there is one',
    seconds: 15,
    refusals: ['REJECT_NO_ENDPOINTS'],
    async run({ cluster, service, pod, endpoints, reaches, refused }) {
      const web = await service('web', { type: 'NodePort', ipFamilyPolicy: 'RequireDualStack' });
      await endpoints('web', {});
      const places4 = ['clientA', 'clientB', 'nodeA', 'nodeB'] as const;
      for (const family of families) {
        for (const from of places4) await refused(from, clusterIP(web, { family }));
        for (const from of [...places4, 'outside'] as const) await refused(from, nodePort(web, places.nodeA[family]));
      }
      const key = await pod('web', 'b2');
      await endpoints('web', { b2: 'ready' });
      await reaches('clientA', clusterIP(web), ['b2']);
      await reaches('outside', nodePort(web, places.nodeA[6]), ['b2']);
      await cluster.kubelet.setReady(key, false);
      await endpoints('web', { b2: 'not ready' });
      await refused('clientA', clusterIP(web));
    },
  },
  ...(['internalTrafficPolicy', 'externalTrafficPolicy'] as const).flatMap((policy) => [
    terminating(policy, 'Cluster'),
    terminating(policy, 'Local'),
  ]),
  udpCycle('ClusterIP from a pod', 'clientA', (web) => clusterIP(web)),
  udpCycle('node port from outside', 'outside', (web) => nodePort(web, places.nodeA[4])),
  {
    name: 'hairpin: a pod reaches itself through its Service, and so does a node',
    seconds: 15,
    async run({ service, pod, endpoints, reaches }) {
      // TCP is translated at the pod's socket, UDP packet by packet.
      const ports = ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: 80, targetPort: 8080 }));
      const web = await service('web', { type: 'NodePort', ipFamilyPolicy: 'RequireDualStack', ports });
      await pod('web', 'a1');
      await endpoints('web', { a1: 'ready' });
      for (const family of families)
        for (const port of ['tcp', 'udp'])
          for (const target of [clusterIP(web, { family, port }), nodePort(web, places.nodeA[family], port)])
            await reaches('a1', target, ['a1']);
      const host = await service('host', { type: 'NodePort' });
      await pod('host', 'nodeA');
      await endpoints('host', { nodeA: 'ready' });
      for (const from of ['nodeA', 'a1', 'nodeB', 'outside'] as const) {
        if (from !== 'outside') await reaches(from, clusterIP(host), ['nodeA']);
        await reaches(from, nodePort(host, places.nodeA[4]), ['nodeA']);
      }
    },
  },
  {
    name: 'publishNotReadyAddresses: pods that are not ready serve, until it is taken back',
    seconds: 15,
    refusals: ['REJECT_NO_ENDPOINTS'],
    async run({ cluster, service, pod, endpoints, reaches, refused }) {
      const web = await service('web', { publishNotReadyAddresses: true });
      const keys = [await pod('web', 'a1', { ready: false }), await pod('web', 'b1', { ready: false })];
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      await reaches('clientA', clusterIP(web), ['a1', 'b1']);
      await cluster.kubelet.terminate(keys[0]!);
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      await reaches('clientA', clusterIP(web), ['a1', 'b1']);
      await service('web', { publishNotReadyAddresses: false });
      await endpoints('web', { a1: 'gone', b1: 'not ready' });
      await refused('clientA', clusterIP(web));
    },
  },
  {
    name: 'no selector: several slices made by hand are one Service, with ports of different numbers and protocols',
    seconds: 15,
    refusals: ['REJECT_NO_ENDPOINTS', 'REJECT_UNOWNED_PORT'],
    async run({ service, slice, settled, reaches, refused, cluster, namespace }) {
      const ports = [
        { name: 'web', port: 80, protocol: 'TCP' },
        { name: 'names', port: 80, protocol: 'UDP' },
        { name: 'ssh', port: 2222, protocol: 'TCP' },
      ];
      const web = await service('web', { selector: null, ports });
      const endpoint = (place: PlaceName) => ({ addresses: [places[place][4]] });
      const slicePort = (name: string, port: number, protocol = 'TCP') => ({ name, port, protocol });
      await settled();
      await refused('clientA', clusterIP(web, { port: 'web' }));
      await slice('web', 'first', {
        ports: [slicePort('web', 8080), slicePort('names', 8080, 'UDP')],
        endpoints: [endpoint('a1'), endpoint('b1')],
      });
      await slice('web', 'second', { ports: [slicePort('web', 22)], endpoints: [endpoint('nodeB')] });
      await slice('web', 'third', { ports: [slicePort('ssh', 22)], endpoints: [endpoint('nodeA')] });
      await slice('web', 'fourth', { ports: [slicePort('unknown', 8080)], endpoints: [endpoint('a2')] });
      await settled();
      await reaches('clientA', clusterIP(web, { port: 'web' }), ['a1', 'b1', 'nodeB']);
      await reaches('clientB', clusterIP(web, { port: 'names' }), ['a1', 'b1']);
      await reaches('nodeA', clusterIP(web, { port: 'ssh' }), ['nodeA']);
      await cluster.client.delete('EndpointSlice', `${namespace}/first`);
      await settled();
      await reaches('clientA', clusterIP(web, { port: 'web' }), ['nodeB']);
      await refused('clientA', clusterIP(web, { port: 'names' }));
    },
  },
];
