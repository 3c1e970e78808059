// Where policies, affinity and topology lead.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { type NodeName, type PlaceName, places } from '../../lib/places.ts';
import { clusterIP, nodePort, type Scenario, type Stage, type Target } from '../../lib/stage.ts';

/** Who answers so many questions, one after the other. */
async function answering({ ask }: Stage, from: PlaceName, target: Target, times = 16): Promise<Set<string>> {
  return new Set((await ask(from, target, { times })).map(({ name, error }) => name ?? error!));
}

const affine = (timeoutSeconds: number) => ({ sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds } } });

/** A zone or a node prefers its own while all of them have some; else everybody serves. */
function closest(what: string, spec: object, metadata: object): Scenario {
  return {
    name: `topology: ${what}`,
    seconds: 20,
    async run({ cluster, namespace, service, pod, endpoints, settled, reaches, until }) {
      const web = await service('web', { ...spec }, { ...metadata });
      await pod('web', 'a1');
      const key = await pod('web', 'b1');
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      // The controller may write its hints after the endpoints.
      interface Hinted {
        readonly endpoints?: readonly { readonly hints?: object }[];
      }
      await until(async () => {
        const slices = (await cluster.client.list('EndpointSlice', namespace)) as Hinted[];
        return slices.every(({ endpoints }) => endpoints?.every(({ hints }) => hints !== undefined));
      });
      await settled();
      await reaches('clientA', clusterIP(web), ['a1']);
      await reaches('clientB', clusterIP(web), ['b1']);
      await cluster.kubelet.remove(key);
      await endpoints('web', { a1: 'ready' });
      await reaches('clientB', clusterIP(web), ['a1']);
    },
  };
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'session affinity is switched on and off: one backend for each client, then all again',
    seconds: 20,
    async run(stage) {
      const { service, pod, endpoints, settled, reaches } = stage;
      const places2 = ['a1', 'a2', 'b1', 'b2'] as const;
      let web = await service('web', { type: 'NodePort' });
      for (const place of places2) await pod('web', place);
      await endpoints('web', { a1: 'ready', a2: 'ready', b1: 'ready', b2: 'ready' });
      for (const affinity of [false, true, false, true]) {
        web = await service('web', { type: 'NodePort', ...(affinity ? affine(600) : { sessionAffinity: 'None' }) });
        await settled();
        for (const [from, target] of [
          ['clientA', clusterIP(web)],
          ['nodeA', clusterIP(web)],
          ['outside', nodePort(web, places.nodeA[4])],
        ] as const) {
          if (affinity) assert.equal((await answering(stage, from, target)).size, 1, `${from} is led to one backend`);
          else await reaches(from, target, places2);
        }
      }
    },
  },
  {
    name: 'session affinity ends after its time without a new connection, and not before',
    seconds: 40,
    async run(stage) {
      const { service, pod, endpoints } = stage;
      const names = ['kept', 'first', 'second', 'third'] as const;
      const targets = new Map<string, Target>();
      for (const name of names) {
        targets.set(name, clusterIP(await service(name, affine(name === 'kept' ? 600 : 1))));
        for (const place of ['a1', 'a2', 'b1', 'b2'] as const) await pod(name, place);
      }
      for (const name of names) await endpoints(name, { a1: 'ready', a2: 'ready', b1: 'ready', b2: 'ready' });
      // Renewed every 100 ms it outlives its second.
      const renewed = new Set<string>();
      for (let i = 0; i < 20; i++) {
        for (const name of await answering(stage, 'clientA', targets.get('first')!, 1)) renewed.add(name);
        await pause(100);
      }
      assert.equal(renewed.size, 1, `the affinity that is used was kept: ${[...renewed]}`);
      // Three Services that choose one of four anew five times find another one but once in 4^12 runs. The one with the long time is the control.
      const found = new Map(names.map((name) => [name, new Set<string>()]));
      for (let i = 0; i < 5; i++) {
        for (const name of names)
          for (const backend of await answering(stage, 'clientA', targets.get(name)!, 1)) found.get(name)!.add(backend);
        await pause(1200);
      }
      const [kept, ...ended] = names.map((name) => found.get(name)!.size);
      assert.equal(kept, 1, '10 minutes are not over');
      assert.ok(
        ended.some((size) => size > 1),
        'a second was over again and again',
      );
    },
  },
  {
    name: 'internalTrafficPolicy Local: pods and nodes reach the pods of their own node, and none where there is none',
    seconds: 20,
    refusals: ['DROP_NO_LOCAL_BACKEND'],
    async run({ service, pod, endpoints, settled, reaches, silent }) {
      let web = await service('web', { internalTrafficPolicy: 'Local' });
      await pod('web', 'a1');
      await endpoints('web', { a1: 'ready' });
      for (const from of ['clientA', 'nodeA'] as const) await reaches(from, clusterIP(web), ['a1']);
      for (const from of ['clientB', 'nodeB'] as const) await silent(from, clusterIP(web));
      web = await service('web', { internalTrafficPolicy: 'Cluster' });
      await settled();
      for (const from of ['clientA', 'nodeA', 'clientB', 'nodeB'] as const) await reaches(from, clusterIP(web), ['a1']);
    },
  },
  {
    name: 'internalTrafficPolicy Local with pods on the host’s network',
    seconds: 20,
    refusals: ['DROP_NO_LOCAL_BACKEND'],
    async run({ service, pod, endpoints, reaches, silent }) {
      const web = await service('web', { internalTrafficPolicy: 'Local' });
      await pod('web', 'nodeA');
      await endpoints('web', { nodeA: 'ready' });
      for (const from of ['clientA', 'nodeA'] as const) await reaches(from, clusterIP(web), ['nodeA']);
      for (const from of ['clientB', 'nodeB'] as const) await silent(from, clusterIP(web));
    },
  },
  {
    name: 'internalTrafficPolicy Local with a pod on each node: everybody stays at home; node ports do not ask it',
    seconds: 20,
    async run({ service, pod, endpoints, reaches }) {
      const web = await service('web', { type: 'NodePort', internalTrafficPolicy: 'Local' });
      for (const place of ['a1', 'b1'] as const) await pod('web', place);
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      for (const from of ['clientA', 'nodeA'] as const) await reaches(from, clusterIP(web), ['a1']);
      for (const from of ['clientB', 'nodeB'] as const) await reaches(from, clusterIP(web), ['b1']);
      await reaches('outside', nodePort(web, places.nodeA[4]), ['a1', 'b1']);
    },
  },
  {
    name: 'externalTrafficPolicy Local: the client’s address is kept, other nodes stay silent, pods and nodes are not held by it',
    seconds: 20,
    refusals: ['DROP_NO_LOCAL_BACKEND'],
    async run({ service, pod, endpoints, ask, reaches, silent }) {
      const web = await service('web', { type: 'NodePort', externalTrafficPolicy: 'Local' });
      await pod('web', 'a1');
      await endpoints('web', { a1: 'ready' });
      const [answer] = await ask('outside', nodePort(web, places.nodeA[4]));
      assert.deepEqual([answer?.name, answer?.name && answer.seen], ['a1', places.outside[4]]);
      await silent('outside', nodePort(web, places.nodeB[4]));
      for (const from of ['clientB', 'nodeB'] as const) await reaches(from, nodePort(web, places.nodeB[4]), ['a1']);
    },
  },
  {
    name: 'health check node port: a load balancer is told which nodes have an endpoint, as that changes, until the Service is gone',
    seconds: 20,
    async run({ cluster, namespace, service, pod, endpoints, settled, until }) {
      const web = await service('web', { type: 'LoadBalancer', externalTrafficPolicy: 'Local' });
      const port = web.spec.healthCheckNodePort!;
      const told = async (node: NodeName) => {
        const url = `http://${places[node][4]}:${port}/`;
        // 7: nobody listens.
        const words = ['-s', '-o', '/dev/null', '-w', '%{http_code}', '--max-time', '5', url];
        return Number(await cluster.lab.run('outside', 'curl', words, { accept: [7] }));
      };
      /** The pages follow the turn of the agent that wrote the maps. */
      const becomes = (nodeA: number, nodeB: number) =>
        until(async () => (await told('nodeA')) === nodeA && (await told('nodeB')) === nodeB);
      const key = await pod('web', 'a1');
      await endpoints('web', { a1: 'ready' });
      await becomes(200, 503);
      await pod('web', 'b1');
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      await becomes(200, 200);
      await cluster.kubelet.terminate(key);
      await endpoints('web', { a1: 'terminating', b1: 'ready' });
      await becomes(503, 200);
      await cluster.client.delete('Service', `${namespace}/web`);
      await settled();
      await becomes(0, 0);
    },
  },
  closest('trafficDistribution PreferSameZone', { trafficDistribution: 'PreferSameZone' }, {}),
  closest('trafficDistribution PreferSameNode', { trafficDistribution: 'PreferSameNode' }, {}),
  closest('the annotation topology-mode Auto', {}, { annotations: { 'service.kubernetes.io/topology-mode': 'Auto' } }),
];
