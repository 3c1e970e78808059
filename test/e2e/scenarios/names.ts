// Names: the cluster's DNS behind a ClusterIP of ours, and Services reached by the names it gives them.
import assert from 'node:assert/strict';
import { askNames, startDns } from '../../lib/names.ts';
import { families, type PlaceName, places } from '../../lib/places.ts';
import { clusterIP, type Scenario } from '../../lib/stage.ts';

export const scenarios: readonly Scenario[] = [
  {
    name: 'CoreDNS behind the kube-dns ClusterIP: pods resolve Services, headless ones and external names, and reach them by name',
    seconds: 40,
    async run({ cluster, namespace, service, pod, endpoints }) {
      const web = await service('web', { ipFamilyPolicy: 'RequireDualStack' });
      await service('pods', { clusterIP: 'None', selector: { 'app.kubernetes.io/name': 'web' }, ipFamilyPolicy: 'RequireDualStack' });
      await service('elsewhere', { type: 'ExternalName', externalName: `web.${namespace}.svc.cluster.local` });
      const backends = ['a1', 'b1'] as const;
      for (const place of backends) await pod('web', place);
      await endpoints('web', { a1: 'ready', b1: 'ready' });
      await endpoints('pods', { a1: 'ready', b1: 'ready' });
      const dns = await startDns(cluster, 'b2');
      try {
        const name = `web.${namespace}.svc.cluster.local`;
        const addresses = (list: readonly PlaceName[]) => list.flatMap((place) => families.map((family) => places[place][family])).sort();
        const vips = families.map((family) => clusterIP(web, { family }).address).sort();
        // Pods of either node, and a node's own process; over UDP and TCP, IPv4 and IPv6.
        for (const [from, nameserver, tcp] of [
          ['clientA', 4, false],
          ['clientB', 6, false],
          ['clientA', 6, true],
          ['nodeB', 4, true],
        ] as const) {
          const answers = await askNames(cluster, from, { namespace, nameserver, tcp }, [
            { what: 'addresses', name },
            { what: 'addresses', name: 'web' },
            { what: 'addresses', name: `pods.${namespace}` },
            { what: 'cname', name: `elsewhere.${namespace}.svc.cluster.local` },
            { what: 'addresses', name: 'elsewhere' },
            { what: 'addresses', name: `nobody.${namespace}.svc.cluster.local.` },
            { what: 'addresses', name: 'kubernetes.default.svc' },
          ]);
          assert.deepEqual(answers, [vips, vips, addresses(backends), [name], vips, ['ENOTFOUND'], ['10.96.0.1']], `from ${from}`);
        }
        const met = new Set<string>();
        for (let round = 0; round < 10 && met.size < 2; round++) {
          const question = { what: 'connect', name: round % 2 ? 'elsewhere' : 'web', port: 80 } as const;
          const answers = await askNames(
            cluster,
            'clientA',
            { namespace, nameserver: 4 },
            Array.from({ length: 8 }, () => question),
          );
          for (const [backend] of answers) met.add(backend!);
        }
        assert.deepEqual([...met].sort(), backends);
      } finally {
        await dns.close();
      }
    },
  },
];
