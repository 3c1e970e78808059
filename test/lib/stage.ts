// What a scenario can do in a cluster: make objects in a namespace of its own, and ask. Every expectation is one of what clients see; those of
// silence or refusal are asked only after the maps hold what the objects mean, for before that they would pass for nothing.
import assert from 'node:assert/strict';
import { setTimeout as pause } from 'node:timers/promises';
import { verdictCounts, verdictsBetween } from './agent.ts';
import type { Cluster } from './cluster.ts';
import type { FlowProtocol, VerdictName } from './flow.ts';
import type { Stored } from './kube-client.ts';
import type { Raw } from './objects.ts';
import { backendPort, type Family, nodeNames, nodeObjects, type PlaceName, places } from './places.ts';
import { type Answer, type AskOptions, ask } from './wire.ts';

export interface ServicePort {
  readonly name?: string;
  readonly port: number;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
  readonly nodePort?: number;
}

export interface StoredService extends Stored {
  readonly spec: {
    readonly clusterIPs: readonly string[];
    readonly ipFamilies: readonly ('IPv4' | 'IPv6')[];
    readonly ports: readonly ServicePort[];
    readonly healthCheckNodePort?: number;
  };
}

interface Conditions {
  readonly ready: boolean;
  readonly serving: boolean;
  readonly terminating: boolean;
}

interface StoredSlice extends Stored {
  readonly addressType: string;
  readonly endpoints: readonly { readonly addresses: readonly string[]; readonly conditions: Conditions }[] | null;
}

/** What a slice says of an endpoint. */
export type EndpointState = 'ready' | 'not ready' | 'terminating' | 'gone';

/** Where a question goes. */
export interface Target {
  readonly address: string;
  readonly port: number;
  readonly protocol?: FlowProtocol;
}

export interface Stage {
  readonly cluster: Cluster;
  readonly namespace: string;
  /** Makes a Service, or makes it what is said now. Without more it selects the pods labelled with its name and leads port 80 to them. */
  service(name: string, spec?: Raw, metadata?: Raw): Promise<StoredService>;
  /** Runs a Pod of a Service, `app: SERVICE`, named after its place. */
  pod(
    service: string,
    place: PlaceName,
    more?: { readonly ready?: boolean; readonly name?: string; readonly labels?: Raw },
  ): Promise<string>;
  /** A slice made by hand. */
  slice(service: string, name: string, more: Raw): Promise<void>;
  /** Resolves when the slices of a Service say this of the pods at these places and name no other, and every node's maps hold it. */
  endpoints(service: string, states: Partial<Record<PlaceName, EndpointState>>): Promise<void>;
  /** Resolves when every node's maps hold what the objects mean. */
  settled(): Promise<void>;
  /** Resolves once something holds. The scenario's own time ends the waiting. */
  until(holds: () => Promise<boolean>): Promise<void>;
  ask(from: PlaceName, target: Target, options?: AskOptions): Promise<Answer[]>;
  /** Asks until each of the backends has answered, and no other does. */
  reaches(from: PlaceName, target: Target, backends: readonly PlaceName[]): Promise<void>;
  /** Port unreachable or a reset: nobody is there, and says so at once. */
  refused(from: PlaceName, target: Target): Promise<void>;
  /** Nothing comes back. */
  silent(from: PlaceName, target: Target): Promise<void>;
}

/** One scenario: what is shown, how long it may take, and how. */
export interface Scenario {
  readonly name: string;
  readonly seconds: number;
  /** Verdicts of dropping or rejecting that belong to what is shown. Every other one that moves fails it. */
  readonly refusals?: readonly VerdictName[];
  readonly run: (stage: Stage) => Promise<void>;
}

/** `80` of a Service, by family. */
export function clusterIP({ spec }: StoredService, { family = 4, port }: { family?: Family; port?: string } = {}): Target {
  const address = spec.clusterIPs.find((one) => one.includes(':') === (family === 6));
  const found = spec.ports.find(({ name }) => port === undefined || name === port);
  assert.ok(address !== undefined && found, 'the Service has that family and port');
  return { address, port: found.port, protocol: found.protocol === 'UDP' ? 'udp' : 'tcp' };
}

/** The node port of a Service at an address. */
export function nodePort({ spec }: StoredService, address: string, port?: string): Target {
  const found = spec.ports.find(({ name }) => port === undefined || name === port);
  assert.ok(found?.nodePort, 'the Service has a node port');
  return { address, port: found.nodePort, protocol: found.protocol === 'UDP' ? 'udp' : 'tcp' };
}

const appOf = (name: string) => ({ 'app.kubernetes.io/name': name });

const placeOf = (address: string) =>
  Object.entries(places).find(([, place]) => place[4] === address || place[6] === address)?.[0] ?? address;

function stateOf({ ready, serving, terminating }: Conditions): EndpointState {
  if (ready) return 'ready';
  return terminating ? (serving ? 'terminating' : 'gone') : 'not ready';
}

async function counts(cluster: Cluster): Promise<Map<VerdictName, number>[]> {
  return nodeNames.map((node) => verdictCounts(cluster.maps(node)));
}

/** Plays a scenario in a namespace of its own and removes what it made; the signal ends what waits. Rejects where something was not as it says. */
export async function play(cluster: Cluster, namespace: string, { run, refusals = [] }: Scenario, signal: AbortSignal): Promise<void> {
  const { client, kubelet, lab } = cluster;
  const pods: string[] = [];
  const before = await counts(cluster);

  /** What the slices of each of its families say, one line a family. */
  async function states(service: string): Promise<string[]> {
    const { spec } = (await client.get('Service', `${namespace}/${service}`)) as StoredService;
    const slices = (await client.list('EndpointSlice', namespace, {
      labelSelector: `kubernetes.io/service-name=${service}`,
    })) as StoredSlice[];
    return spec.ipFamilies.map((family) => {
      const endpoints = slices.flatMap((one) => (one.addressType === family ? (one.endpoints ?? []) : []));
      return endpoints
        .map(({ addresses, conditions }) => `${placeOf(addresses[0]!)} ${stateOf(conditions)}`)
        .sort()
        .join(', ');
    });
  }

  const stage: Stage = {
    cluster,
    namespace,
    async service(name, spec = {}, metadata = {}) {
      const usual = spec.type === 'ExternalName' ? {} : { selector: appOf(name), ports: [{ port: 80, targetPort: backendPort }] };
      return (await client.apply({
        apiVersion: 'v1',
        kind: 'Service',
        metadata: { namespace, name, ...metadata },
        spec: { ...usual, ...spec },
      })) as StoredService;
    },
    async pod(service, place, { ready = true, name = `${service}-${place.toLowerCase()}`, labels = {} } = {}) {
      const key = `${namespace}/${name}`;
      await kubelet.run({ key, place, ready, labels: { ...appOf(service), ...(labels as Record<string, string>) } });
      pods.push(key);
      return key;
    },
    async slice(service, name, more) {
      const { metadata, ...rest } = more;
      await client.apply({
        apiVersion: 'discovery.k8s.io/v1',
        kind: 'EndpointSlice',
        metadata: { namespace, name, labels: { 'kubernetes.io/service-name': service }, ...(metadata as Raw | undefined) },
        addressType: 'IPv4',
        ...rest,
      });
    },
    async endpoints(service, wanted) {
      const line = Object.entries(wanted)
        .map(([place, state]) => `${place} ${state}`)
        .sort()
        .join(', ');
      await stage.until(async () => (await states(service)).every((one) => one === line));
      await cluster.settled();
    },
    settled: () => cluster.settled(),
    async until(holds) {
      while (!(await holds())) await pause(20, undefined, { signal });
    },
    ask: (from, { address, port, protocol = 'tcp' }, options) => ask(lab, from, protocol, address, port, options),
    async reaches(from, target, backends) {
      const wanted = [...backends].sort();
      const met = new Set<string>();
      const what = () => `${from} to ${target.address}:${target.port}/${target.protocol ?? 'tcp'} reached ${[...met]}, not ${wanted}`;
      // Eight even choices leave one of four backends out once in ten rounds; forty rounds leave no doubt.
      for (let round = 0; round < 40 && (round === 0 || met.size < wanted.length); round++) {
        for (const { name, error } of await stage.ask(from, target, { times: 8, timeoutMs: 1000 })) met.add(name ?? error!);
        assert.ok(
          [...met].every((name) => (wanted as string[]).includes(name)),
          what(),
        );
      }
      assert.equal(met.size, wanted.length, what());
    },
    async refused(from, target) {
      const [answer] = await stage.ask(from, target, { timeoutMs: 2000 });
      assert.equal(answer?.error, 'ECONNREFUSED', `${from} to ${target.address}:${target.port}: ${JSON.stringify(answer)}`);
    },
    async silent(from, target) {
      const [answer] = await stage.ask(from, target, { timeoutMs: 300 });
      assert.equal(answer?.error, 'ETIMEDOUT', `${from} to ${target.address}:${target.port}: ${JSON.stringify(answer)}`);
    },
  };

  await client.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: namespace } });
  try {
    await run(stage);
    await cluster.settled();
    const after = await counts(cluster);
    for (const [index, node] of nodeNames.entries()) {
      const moved = [...verdictsBetween(before[index]!, after[index]!).keys()];
      const strange = moved.filter((verdict) => /^(DROP|REJECT)/.test(verdict) && !refusals.includes(verdict));
      assert.deepEqual(strange, [], `${nodeObjects[node]} dropped or rejected packets for another reason than this scenario has`);
    }
  } finally {
    await client.call('DELETE', `/api/v1/namespaces/${namespace}/services`);
    await client.call('DELETE', `/apis/discovery.k8s.io/v1/namespaces/${namespace}/endpointslices`);
    for (const pod of pods) await kubelet.remove(pod).catch(() => {});
    await client.delete('Namespace', namespace);
    await cluster.settled();
  }
}
