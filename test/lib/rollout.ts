// Manifests of one Service whose backends come and go, written as a controller would: whole files, one after the other.
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import type { Agent } from './agent.ts';
import { families, isPod, type NodeName, networks, nodeNames, nodeObjects, type PlaceName, places } from './places.ts';

export interface Endpoint {
  readonly place: PlaceName;
  /** Absent: 8080. */
  readonly port?: number;
  readonly ready?: boolean;
  readonly serving?: boolean;
  readonly terminating?: boolean;
}

export const rolling = { clusterIP: { 4: '10.96.0.80', 6: 'fd96::80' }, nodePort: 30080, port: 80 } as const;

function nodeObject(name: NodeName) {
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: { name: nodeObjects[name] },
    spec: { podCIDRs: families.map((family) => networks[name][family]) },
    status: { addresses: families.map((family) => ({ type: 'InternalIP', address: places[name][family] })) },
  };
}

function slices(endpoints: readonly Endpoint[]) {
  const ports = [...new Set(endpoints.map(({ port }) => port ?? 8080))];
  return families.flatMap((family) =>
    ports.map((port) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `rolling-${family}-${port}`, namespace: 'lab', labels: { 'kubernetes.io/service-name': 'rolling' } },
      addressType: `IPv${family}`,
      ports: ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port })),
      endpoints: endpoints
        .filter((endpoint) => (endpoint.port ?? 8080) === port)
        .map(({ place, ready = true, serving = true, terminating = false }) => ({
          addresses: [places[place][family]],
          nodeName: nodeObjects[isPod(place) ? places[place].node! : (place as NodeName)],
          conditions: { ready, serving, terminating },
        })),
    })),
  );
}

const service = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'rolling', namespace: 'lab' },
  spec: {
    type: 'NodePort',
    clusterIP: rolling.clusterIP[4],
    clusterIPs: families.map((family) => rolling.clusterIP[family]),
    ipFamilies: ['IPv4', 'IPv6'],
    ipFamilyPolicy: 'RequireDualStack',
    ports: ['TCP', 'UDP'].map((protocol) => ({ name: protocol.toLowerCase(), protocol, port: rolling.port, nodePort: rolling.nodePort })),
  },
};

export interface Rollout {
  readonly directory: string;
  /** Writes the endpoints and resolves when every agent has applied them. */
  write(endpoints: readonly Endpoint[]): Promise<void>;
  /** Who has to apply what is written. */
  readonly agents: Agent[];
}

/** A directory of manifests with these endpoints, not yet followed by any agent. */
export function openRollout(directory: string, endpoints: readonly Endpoint[]): Rollout {
  mkdirSync(directory, { recursive: true });
  const put = (file: string, objects: readonly unknown[]) => {
    writeFileSync(join(directory, `.${file}`), objects.map((object) => stringify(object)).join('---\n'));
    renameSync(join(directory, `.${file}`), join(directory, file));
  };
  put('cluster.yaml', [...nodeNames.map(nodeObject), service]);
  put('endpoints.yaml', slices(endpoints));
  const agents: Agent[] = [];
  return {
    directory,
    agents,
    async write(next) {
      const from = agents.map(({ lines }) => lines.length);
      put('endpoints.yaml', slices(next));
      await Promise.all(agents.map((agent, index) => agent.said('applied', from[index])));
    },
  };
}
