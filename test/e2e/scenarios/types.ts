// Services whose type, ports or addresses change in place, ports of both protocols, node ports, both families.
import assert from 'node:assert/strict';
import { families, nodeNames, type PlaceName, places, secondary } from '../../lib/places.ts';
import { clusterIP, nodePort, type Scenario, type StoredService } from '../../lib/stage.ts';

const dual = { ipFamilyPolicy: 'RequireDualStack', ipFamilies: ['IPv4', 'IPv6'] } as const;
const external = { type: 'ExternalName', externalName: 'example.org', selector: null, ports: null } as const;

export const scenarios: readonly Scenario[] = [
  {
    name: 'a Service changes its type in place: ExternalName, ClusterIP, NodePort, LoadBalancer and back',
    seconds: 20,
    refusals: ['REJECT_UNOWNED_PORT', 'DROP_UNASSIGNED'],
    async run({ cluster, namespace, service, pod, endpoints, settled, reaches, refused, silent }) {
      const key = `${namespace}/web`;
      await service('web', { type: 'ExternalName', externalName: 'example.org' });
      await pod('web', 'a1');
      await pod('web', 'b1');

      let web: StoredService = await service('web', { type: 'ClusterIP' });
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      await reaches('clientA', clusterIP(web), ['a1', 'b1']);

      web = await service('web', { type: 'NodePort' });
      await settled();
      const port = nodePort(web, places.nodeA[4]);
      await reaches('outside', port, ['a1', 'b1']);
      await reaches('clientB', clusterIP(web), ['a1', 'b1']);

      web = await service('web', { type: 'LoadBalancer', allocateLoadBalancerNodePorts: true });
      await cluster.client.patch('Service', key, { status: { loadBalancer: { ingress: [{ ip: '203.0.113.40' }] } } }, 'status');
      await settled();
      const balancer = { address: '203.0.113.40', port: 80 };
      for (const from of ['outside', 'clientA', 'nodeB'] as const) await reaches(from, balancer, ['a1', 'b1']);

      await service('web', { type: 'ClusterIP' });
      await settled();
      await reaches('clientA', clusterIP(web), ['a1', 'b1']);
      await refused('outside', port);

      await cluster.client.patch('Service', key, { spec: { ...external, clusterIP: '', clusterIPs: null } });
      await settled();
      await silent('clientA', clusterIP(web));
    },
  },
  {
    name: 'one port number is TCP and UDP, and each goes where its own targetPort leads; one of them goes away',
    seconds: 10,
    refusals: ['REJECT_UNOWNED_PORT'],
    async run({ service, pod, endpoints, settled, reaches, refused }) {
      const tcp = { name: 'tcp', protocol: 'TCP', port: 53, targetPort: 8080 };
      const udp = { name: 'udp', protocol: 'UDP', port: 53, targetPort: 8080 };
      const names = await service('names', { type: 'NodePort', ports: [tcp, udp] });
      await pod('names', 'a1');
      await pod('names', 'b1');
      await endpoints('names', { a1: 'ready', b1: 'ready' });
      for (const port of ['tcp', 'udp']) {
        await reaches('clientA', clusterIP(names, { port }), ['a1', 'b1']);
        await reaches('outside', nodePort(names, places.nodeA[4], port), ['a1', 'b1']);
      }
      await service('names', { type: 'NodePort', ports: [tcp] });
      await settled();
      await reaches('clientA', clusterIP(names, { port: 'tcp' }), ['a1', 'b1']);
      await refused('clientA', clusterIP(names, { port: 'udp' }));
    },
  },
  {
    name: 'a node port answers at every primary address of every node, in both families, to everybody',
    seconds: 20,
    async run({ service, pod, endpoints, reaches, refused }) {
      const web = await service('web', { type: 'NodePort', ...dual });
      await pod('web', 'a1');
      await pod('web', 'b1');
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      const clients: readonly PlaceName[] = ['outside', 'clientA', 'clientB', 'nodeA', 'nodeB'];
      for (const node of nodeNames)
        for (const family of families) for (const from of clients) await reaches(from, nodePort(web, places[node][family]), ['a1', 'b1']);
      // An address of the node, but not a primary one: nobody listens there.
      for (const family of families) await refused('outside', nodePort(web, secondary[family]));
    },
  },
  {
    name: 'dual stack: the secondary family is served like the first; alone, or taken away, it leaves the other be',
    seconds: 15,
    refusals: ['DROP_UNASSIGNED'],
    async run({ service, pod, endpoints, settled, reaches, silent }) {
      for (const place of ['a1', 'b1'] as const) await pod('web', place);
      const web = await service('web', { type: 'NodePort', ipFamilyPolicy: 'PreferDualStack', ipFamilies: ['IPv6', 'IPv4'] });
      assert.deepEqual(web.spec.ipFamilies, ['IPv6', 'IPv4']);
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      for (const family of families) {
        await reaches('clientA', clusterIP(web, { family }), ['a1', 'b1']);
        await reaches('outside', nodePort(web, places.nodeB[family]), ['a1', 'b1']);
      }
      const single = { type: 'NodePort', ipFamilyPolicy: 'SingleStack', ipFamilies: ['IPv6'] };
      await service('web', { ...single, clusterIPs: [clusterIP(web, { family: 6 }).address] });
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      await settled();
      await reaches('clientA', clusterIP(web, { family: 6 }), ['a1', 'b1']);
      await silent('clientA', clusterIP(web));
    },
  },
  {
    name: 'labels that give a Service to another proxy, or call it headless, take it away and give it back',
    seconds: 20,
    refusals: ['DROP_UNASSIGNED'],
    async run({ service, pod, endpoints, settled, reaches, silent }) {
      await pod('web', 'b1');
      const web = await service('web');
      await endpoints('web', { b1: 'ready' });
      await reaches('clientA', clusterIP(web), ['b1']);
      for (const label of ['service.kubernetes.io/service-proxy-name', 'service.kubernetes.io/headless']) {
        await service('web', {}, { labels: { [label]: 'other' } });
        await settled();
        await silent('clientA', clusterIP(web));
        await service('web');
        await settled();
        await reaches('clientA', clusterIP(web), ['b1']);
      }
    },
  },
];
