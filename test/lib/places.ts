// Who is where in the lab? Names, addresses and networks that the topology, the manifests and the flow tables share.

export type Family = 4 | 6;
export const families: readonly Family[] = [4, 6];

export type NodeName = 'nodeA' | 'nodeB';
export type PodName = 'a1' | 'a2' | 'clientA' | 'b1' | 'b2' | 'clientB';
export type PlaceName = NodeName | PodName | 'outside' | 'stranger';

export interface Place {
  /** Its address by family. */
  readonly 4: string;
  readonly 6: string;
  /** The node it is on, where it is a pod; itself, where it is a node. */
  readonly node?: NodeName;
}

/** a1, a2, b1, b2 are backends; `stranger` is a second address of the client outside. */
export const places: Readonly<Record<PlaceName, Place>> = {
  outside: { 4: '198.51.100.2', 6: '2001:db8:51::2' },
  stranger: { 4: '198.51.100.3', 6: '2001:db8:51::3' },
  nodeA: { 4: '172.18.0.2', 6: 'fd18::2', node: 'nodeA' },
  nodeB: { 4: '172.18.0.3', 6: 'fd18::3', node: 'nodeB' },
  a1: { 4: '10.1.1.11', 6: 'fd01:1::11', node: 'nodeA' },
  a2: { 4: '10.1.1.12', 6: 'fd01:1::12', node: 'nodeA' },
  clientA: { 4: '10.1.1.20', 6: 'fd01:1::20', node: 'nodeA' },
  b1: { 4: '10.1.2.11', 6: 'fd01:2::11', node: 'nodeB' },
  b2: { 4: '10.1.2.12', 6: 'fd01:2::12', node: 'nodeB' },
  clientB: { 4: '10.1.2.20', 6: 'fd01:2::20', node: 'nodeB' },
};

export const nodeNames: readonly NodeName[] = ['nodeA', 'nodeB'];
export const podNames = Object.keys(places).filter((name) => isPod(name as PlaceName)) as PodName[];

/** A network namespace of its own behind a veth of its node. */
export function isPod(name: PlaceName): name is PodName {
  return places[name].node !== undefined && places[name].node !== name;
}

/** An address of nodeA that is not a primary one: NodePorts are not served on it (semantics 8.1). */
export const secondary: Place = { 4: '172.18.0.12', 6: 'fd18::12' };

export const networks = {
  outside: { 4: '198.51.100.0/24', 6: '2001:db8:51::/64' },
  nodes: { 4: '172.18.0.0/24', 6: 'fd18::/64' },
  pods: { 4: '10.1.0.0/16', 6: 'fd01::/16' },
  nodeA: { 4: '10.1.1.0/24', 6: 'fd01:1::/64' },
  nodeB: { 4: '10.1.2.0/24', 6: 'fd01:2::/64' },
  services: { 4: '10.96.0.0/16', 6: 'fd96::/112' },
  /** externalIPs and load balancer VIPs; routed to nodeA. */
  external: { 4: '203.0.113.0/24', 6: '2001:db8:113::/64' },
} as const;

/** Gateways: the router towards the nodes and towards the outside, and each node's shared bridge. */
export const gateways = {
  nodes: { 4: '172.18.0.1', 6: 'fd18::1' },
  outside: { 4: '198.51.100.1', 6: '2001:db8:51::1' },
  nodeA: { 4: '10.1.1.1', 6: 'fd01:1::1' },
  nodeB: { 4: '10.1.2.1', 6: 'fd01:2::1' },
} as const;

/** What Kubernetes calls the nodes in the manifests. */
export const nodeObjects: Readonly<Record<NodeName, string>> = { nodeA: 'node-a', nodeB: 'node-b' };

/** MAC of a place's own device; `outer` is that of the other end of its veth pair. */
export function mac(name: PlaceName, end: 'own' | 'outer' = 'own'): string {
  const bytes = places[name][4].split('.').map((octet) => Number(octet).toString(16).padStart(2, '0'));
  return [end === 'own' ? '0a:58' : '0e:58', ...bytes].join(':');
}

/** The host side of a pod's interface, in its node's namespace. */
export function hostDevice(pod: PodName): string {
  return `veth-${pod}`;
}

/** The port that backends serve, on pods and on nodes; a node also serves 22/tcp under its own name. */
export const backendPort = 8080;

/** An address that the program test gives an unreachable route. */
export const unroutable: Place = { 4: '192.0.2.77', 6: '2001:db8:dead::77' };
