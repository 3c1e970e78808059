// The kubelet's part in a cluster of the lab: Node and Pod objects and their status. The processes are the lab's own: a Pod says which place it is.
import type { KubeClient } from './kube-client.ts';
import type { Raw } from './objects.ts';
import { families, isPod, type NodeName, networks, nodeObjects, type PlaceName, places } from './places.ts';

const condition = (type: string, status: boolean) => ({
  type,
  status: status ? 'True' : 'False',
  lastTransitionTime: new Date().toISOString(),
});

/** Makes a Node, or makes it anew: addresses, pod ranges, ready. A node has a zone where one is given. */
export async function registerNode(client: KubeClient, node: NodeName, zone?: string): Promise<void> {
  const name = nodeObjects[node];
  const podCIDRs = families.map((family) => networks[node][family]);
  await client.apply({
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name,
      labels: {
        'kubernetes.io/hostname': name,
        'kubernetes.io/os': 'linux',
        ...(zone === undefined ? {} : { 'topology.kubernetes.io/zone': zone }),
      },
    },
    spec: { podCIDR: podCIDRs[0], podCIDRs },
  });
  const size = { cpu: '2', memory: '8Gi', pods: '110' };
  await client.patch(
    'Node',
    name,
    {
      status: {
        capacity: size,
        allocatable: size,
        addresses: [
          ...families.map((family) => ({ type: 'InternalIP', address: places[node][family] })),
          { type: 'Hostname', address: name },
        ],
        conditions: [condition('Ready', true)],
      },
    },
    'status',
  );
}

export interface PodWords {
  /** `namespace/name`. */
  readonly key: string;
  /** Where its process is: a pod of the lab, or a node for one on the host's network. */
  readonly place: PlaceName;
  readonly labels?: Readonly<Record<string, string>>;
  /** Named ports, for Services whose targetPort is a name. */
  readonly ports?: readonly { readonly name: string; readonly containerPort: number; readonly protocol?: 'TCP' | 'UDP' }[];
  /** More of its spec: `hostname`, `subdomain`. */
  readonly spec?: Raw;
  readonly ready?: boolean;
}

function statusOf(place: PlaceName, ready: boolean): Raw {
  const node = places[place].node!;
  return {
    phase: 'Running',
    hostIP: places[node][4],
    hostIPs: families.map((family) => ({ ip: places[node][family] })),
    podIP: places[place][4],
    podIPs: families.map((family) => ({ ip: places[place][family] })),
    startTime: new Date().toISOString(),
    conditions: [
      ...['PodScheduled', 'Initialized'].map((type) => condition(type, true)),
      ...['ContainersReady', 'Ready'].map((type) => condition(type, ready)),
    ],
  };
}

export interface Kubelet {
  /** The Pod is there and runs; ready unless it says otherwise. */
  run(pod: PodWords): Promise<void>;
  /** Its readiness probe passes or fails. */
  setReady(key: string, ready: boolean): Promise<void>;
  /** It is asked to stop: terminating from now on, as ready as it was. */
  terminate(key: string): Promise<void>;
  /** Its process is gone, and so is the Pod. */
  remove(key: string): Promise<void>;
}

/** Plays the kubelets of all nodes. */
export function openKubelet(client: KubeClient): Kubelet {
  const where = new Map<string, PlaceName>();
  return {
    async run({ key, place, labels = {}, ports = [], spec = {}, ready = true }) {
      const [namespace, name] = key.split('/') as [string, string];
      const node = places[place].node;
      if (node === undefined) throw new Error(`${place} is on no node`);
      where.set(key, place);
      await client.create({
        apiVersion: 'v1',
        kind: 'Pod',
        metadata: { namespace, name, labels },
        spec: {
          nodeName: nodeObjects[node],
          hostNetwork: !isPod(place),
          // The lab's process that this stands for has no image.
          containers: [{ name: 'peer', image: 'lab/peer', ports }],
          automountServiceAccountToken: false,
          ...spec,
        },
      });
      await client.patch('Pod', key, { status: statusOf(place, ready) }, 'status');
    },
    async setReady(key, ready) {
      const place = where.get(key);
      if (place === undefined) throw new Error(`${key} does not run`);
      await client.patch('Pod', key, { status: { conditions: statusOf(place, ready).conditions } }, 'status');
    },
    // The server sets deletionTimestamp, and keeps the Pod for the kubelet to remove.
    terminate: (key) => client.delete('Pod', key, { gracePeriodSeconds: '600' }),
    async remove(key) {
      where.delete(key);
      await client.delete('Pod', key, { gracePeriodSeconds: '0' });
    },
  };
}
