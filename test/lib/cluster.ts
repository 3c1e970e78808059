// A whole cluster in the lab: the real control plane, two nodes whose Services sluice serves from it, a process in every pod. And the judge of its end
// state: what the maps of a node hold must be what the API server's objects mean there, compiled from nothing.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { isAgentStatus } from '../../control/agent/status.ts';
import { type Maps, memoryMaps } from '../../control/kernel/maps.ts';
import { buildModel } from '../../control/model/build.ts';
import { nodeFacts } from '../../control/model/node.ts';
import { socketPath } from '../../control/observe/paths.ts';
import { ask } from '../../control/observe/protocol.ts';
import type { KubeStatus } from '../../control/source/kube/kube.ts';
import type { Objects } from '../../control/source/objects.ts';
import { adopt, sync } from '../../control/sync.ts';
import { type Agent, pinnedMaps, startAgent, stateDirectory } from './agent.ts';
import { type ControlPlane, makeServiceAccount, startControlPlane } from './control-plane.ts';
import type { KubeClient } from './kube-client.ts';
import { type Kubelet, openKubelet, registerNode } from './kubelet.ts';
import { meaning } from './meaning.ts';
import { type Lab, openLab } from './netns.ts';
import { objectsOf } from './objects.ts';
import { families, type NodeName, nodeNames, nodeObjects, places, secondary } from './places.ts';
import { type Lane, plainLane } from './topology.ts';
import { serveAll } from './wire.ts';

/** The zone of each node. */
export const zones: Readonly<Record<NodeName, string>> = { nodeA: 'zone-a', nodeB: 'zone-b' };

/** Room for what tests make: maps that are read whole again and again should not be those of a big cluster. */
const sizes = {
  ...Object.fromEntries(['frontends', 'backends', 'addresses'].flatMap((map) => families.map((family) => [`${map}${family}`, 4096]))),
  slots: 65_536,
};

/** What the agent asks the API server for; deploy/ grants it. */
const account = 'kube-system/sluice';
const rules = [
  { apiGroups: [''], resources: ['services', 'nodes'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: ['discovery.k8s.io'], resources: ['endpointslices'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: ['networking.k8s.io'], resources: ['servicecidrs'], verbs: ['get', 'list', 'watch'] },
  { apiGroups: ['events.k8s.io'], resources: ['events'], verbs: ['create', 'patch', 'update'] },
];

/** Everything that Services are made of, as the API server has it now. */
async function readCluster(client: KubeClient): Promise<Objects> {
  const kinds = ['Service', 'EndpointSlice', 'Node', 'ServiceCIDR'] as const;
  const versions = { Service: 'v1', Node: 'v1', EndpointSlice: 'discovery.k8s.io/v1', ServiceCIDR: 'networking.k8s.io/v1' } as const;
  const lists = await Promise.all(
    kinds.map(async (kind) => (await client.list(kind)).map((item) => ({ ...item, kind, apiVersion: versions[kind] }))),
  );
  return objectsOf(...lists.flat());
}

/** What they mean on a node, compiled into maps that nobody held anything in. */
function meaningOf(objects: Objects, node: NodeName): string {
  const localAddresses = families.flatMap((family) => [places[node][family], ...(node === 'nodeA' ? [secondary[family]] : [])]);
  const facts = nodeFacts(objects, nodeObjects[node], { localAddresses, defaultRouteAddresses: localAddresses });
  const model = buildModel(objects, facts, { serviceCIDRs: [], serviceProxyName: undefined, detectLocal: { mode: 'PodInterfaces' } });
  const maps = memoryMaps(sizes);
  sync(maps, adopt(maps), model, { nodePortAddresses: { primary: true, ranges: [] } });
  return meaning(maps);
}

export interface Cluster {
  readonly lab: Lab;
  readonly plane: ControlPlane;
  readonly client: KubeClient;
  readonly kubelet: Kubelet;
  /** By node; whoever restarts one puts it here. */
  readonly agents: Map<NodeName, Agent>;
  startAgent(node: NodeName, flags?: readonly string[]): Promise<Agent>;
  /** The maps that the agents of a node pinned, opened once. */
  maps(node: NodeName): Maps;
  /** How the agent of a node follows the API server. */
  following(node: NodeName): Promise<KubeStatus>;
  /** Resolves when every node's maps hold exactly what the API server's objects mean; rejects with the difference. */
  settled(timeoutMs?: number): Promise<void>;
  /** Runs something; where it fails, what agents and components said last is told with it. */
  telling(run: () => Promise<void>): Promise<void>;
  close(): Promise<void>;
}

/** Opens it; resolves when both agents serve. */
export async function openCluster(lane: Lane = plainLane): Promise<Cluster> {
  const lab = openLab(lane);
  try {
    const plane = await startControlPlane(lab);
    const { client } = plane;
    await makeServiceAccount(plane, account, rules);
    await Promise.all([serveAll(lab), ...nodeNames.map((node) => registerNode(client, node, zones[node]))]);
    const kubeconfig = await plane.kubeconfig(account);
    const agents = new Map<NodeName, Agent>();
    const maps = new Map<NodeName, Maps>();
    const mapSize = Object.entries(sizes)
      .map((size) => size.join('='))
      .join(',');
    const cluster: Cluster = {
      ...{ lab, plane, client, agents },
      kubelet: openKubelet(client),
      async startAgent(node, flags = []) {
        const agent = await startAgent(lab, node, { kubeconfig }, ['--map-size', mapSize, ...flags]);
        agents.set(node, agent);
        return agent;
      },
      async following(node) {
        const status = await ask(socketPath(stateDirectory(lab, node)), { ask: 'status' });
        if (!isAgentStatus(status) || status.source.apiServer === null) throw new Error(`${node} follows no API server`);
        return status.source.apiServer;
      },
      maps(node) {
        const open = maps.get(node) ?? pinnedMaps(lab, node);
        maps.set(node, open);
        return open;
      },
      async settled(timeoutMs = 10_000) {
        const end = performance.now() + timeoutMs;
        for (let wait = 20; ; wait = Math.min(2 * wait, 250)) {
          const objects = await readCluster(client);
          const differing = nodeNames.filter((node) => meaning(cluster.maps(node)) !== meaningOf(objects, node));
          if (differing.length === 0) return;
          if (performance.now() > end)
            for (const node of differing)
              assert.equal(
                meaning(cluster.maps(node)),
                meaningOf(objects, node),
                `${node} does not hold what the API server's objects mean`,
              );
          await pause(wait);
        }
      },
      async telling(run) {
        try {
          await run();
        } catch (error) {
          const told = [...agents].map(([node, { lines }]) => [
            `== agent of ${node}`,
            ...lines.slice(-10).map((line) => JSON.stringify(line)),
          ]);
          const message = error instanceof Error ? error.message : String(error);
          throw new Error([message, ...told.flat(), plane.logs()].join('\n'), { cause: error });
        }
      },
      async close() {
        await plane.close();
        lab.close();
      },
    };
    await Promise.all(nodeNames.map((node) => cluster.startAgent(node)));
    return cluster;
  } catch (error) {
    lab.close();
    throw error;
  }
}
