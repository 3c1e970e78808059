// What is asked of the API server? The four resources with the part of each that can matter to this node: what another proxy
// serves, what is headless and other nodes never travel (1.1–1.3, 14.6).

import { HEADLESS } from '../fields.ts';
import type { Kind } from '../objects.ts';
import { SERVICE_PROXY_NAME } from '../service.ts';

export interface Resource {
  readonly kind: Kind;
  readonly apiVersion: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  /** A field selector that older servers refuse; then it is left out, and the Model skips what it would have. */
  readonly fieldSelector?: string;
  /** The server may not have it, or not show it to us, and then there is none (4.4). */
  readonly optional: boolean;
}

/** The resources of one node. */
export function resourcesOf(nodeName: string, serviceProxyName: string | undefined): Resource[] {
  // Services for a proxy of our name are those of no name and those of ours, which no selector can say.
  const ours = serviceProxyName === undefined ? [`!${SERVICE_PROXY_NAME}`] : [];
  const labels = (...all: string[]): Record<string, string> => (all.length > 0 ? { labelSelector: all.join(',') } : {});
  return [
    {
      kind: 'Service',
      apiVersion: 'v1',
      path: '/api/v1/services',
      query: labels(`!${HEADLESS}`, ...ours),
      // Kubernetes 1.32 and later.
      fieldSelector: 'spec.clusterIP!=None',
      optional: false,
    },
    {
      kind: 'EndpointSlice',
      apiVersion: 'discovery.k8s.io/v1',
      path: '/apis/discovery.k8s.io/v1/endpointslices',
      query: labels(`!${HEADLESS}`, ...ours),
      optional: false,
    },
    {
      kind: 'Node',
      apiVersion: 'v1',
      path: '/api/v1/nodes',
      query: { fieldSelector: `metadata.name=${nodeName}` },
      optional: false,
    },
    // Kubernetes 1.33 and later.
    {
      kind: 'ServiceCIDR',
      apiVersion: 'networking.k8s.io/v1',
      path: '/apis/networking.k8s.io/v1/servicecidrs',
      query: {},
      optional: true,
    },
  ];
}
