// Models in a few words: Services, their ports and a node, with what a test does not care about filled in.

import type { Backend, Family, Frontend, Model, ModelService, NodeFacts, ServicePort } from '../../control/model/model.ts';

/** A node at 192.0.2.10 and 2001:db8::10. */
export const NODE: NodeFacts = {
  name: 'node-a',
  zone: undefined,
  primaryAddresses: ['192.0.2.10', '2001:db8::10'],
  localAddresses: ['192.0.2.10', '2001:db8::10', '10.244.1.1'],
  podCIDRs: [],
};

/** Where NodePorts are served unless a test says otherwise. */
export const OPTIONS = { nodePortAddresses: { primary: true, ranges: [] } } as const;

/** `10.0.0.1:80`, `[fd00::1]:80`, in front of it `local` or `gone` (exists, does not serve) where that is so. */
export function backend(text: string): Backend {
  const words = text.split(' ');
  const place = words.pop()!;
  const colon = place.lastIndexOf(':');
  const address = place.slice(0, colon).replace(/[[\]]/g, '');
  return { address, port: Number(place.slice(colon + 1)), local: words.includes('local'), serving: !words.includes('gone') };
}

/** `ClusterIP 10.96.0.1:80`, `NodePort 0.0.0.0:30080`. */
export function frontend(text: string): Frontend {
  const [kind, place] = text.split(' ') as [Frontend['kind'], string];
  const { address, port } = backend(place);
  return { kind, address, port };
}

/** What a test says of a Service port; backends as `backend` reads them, frontends as `frontend` does. */
export interface PortWords
  extends Partial<
    Pick<
      ServicePort,
      'protocol' | 'internalLocal' | 'externalLocal' | 'affinitySeconds' | 'sourceRanges' | 'sourceRangesEverywhere' | 'selfAllowed'
    >
  > {
  readonly name?: string;
  readonly family?: Family;
  readonly frontends: readonly string[];
  readonly backends: readonly string[];
  readonly draining?: readonly string[];
}

/** A Service as the Model has it. L is what is local of C. */
export function service(key: string, ports: readonly PortWords[], created = 0): ModelService {
  const [namespace = '', name = ''] = key.split('/');
  return {
    key,
    created,
    healthCheck: undefined,
    problems: [],
    ports: ports.map((words) => {
      const { name: portName = '', family = 4, protocol = 'TCP', internalLocal = false, externalLocal = false } = words;
      const cluster = words.backends.map(backend);
      const isLocal = internalLocal || externalLocal;
      return {
        key: `${key}:${portName}/${protocol}/${family}`,
        ...{ namespace, service: name, portName, protocol, family, internalLocal, externalLocal, cluster },
        frontends: words.frontends.map(frontend),
        hasEndpoints: cluster.length > 0,
        local: isLocal ? cluster.filter(({ local }) => local) : [],
        draining: (words.draining ?? []).map(backend),
        affinitySeconds: words.affinitySeconds ?? 0,
        sourceRanges: words.sourceRanges ?? [],
        sourceRangesEverywhere: words.sourceRangesEverywhere ?? false,
        selfAllowed: words.selfAllowed ?? false,
      };
    }),
  };
}

/** A Model of these Services on a node. */
export function model(services: Iterable<ModelService>, node: NodeFacts = NODE): Model {
  return {
    services: new Map([...services].map((one) => [one.key, one])),
    node,
    serviceCIDRs: ['10.96.0.0/16', 'fd96::/112'],
    problems: [],
  };
}
