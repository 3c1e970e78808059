// What is a flow? One sentence about one new connection or packet, which the runners plan, program and wire must all answer alike.
import { type Family, families, type NodeName, type PlaceName, places, secondary } from './places.ts';

/** Names of enum verdict in bpf/abi.h. */
export type VerdictName = string;
export type FlowProtocol = 'tcp' | 'udp';

/** What is unusual about the packet. The plan runner, which knows no bytes, leaves these out. */
export type Shape =
  | 'fragment' // the first of two
  | 'icmp error' // about a flow that was translated just before
  | 'no SYN'
  | 'gone backend' // a segment of an established connection whose backend control has found to be gone for good
  | 'VLAN tag'
  | 'malformed' // a header length that cannot be
  | 'options' // IPv4 options or IPv6 extension headers
  | 'no checksum' // UDP over IPv4
  | 'last hop' // TTL or hop limit 1
  | 'too big'; // longer than the way to the backend allows

/** What is wrong around the packet. */
export type Fault =
  | 'every masquerade port is taken'
  | 'the egress device has no address'
  | 'the table of flows is full'
  | 'there is no way to the backend' // its address is one of `unroutable`
  | 'the slots name no backend'
  | 'we yield' // no new flow is taken
  | 'others had connections'; // another proxy translated some before us

export interface Flow {
  /** The sentence. */
  readonly name: string;
  /** The rows of docs/semantics.md it is about. */
  readonly rows: string;
  /** Where node A meets it first: tc ingress of its NIC or of a pod interface, or the socket hook. */
  readonly at: 'nic' | 'pod' | 'socket';
  readonly from: PlaceName;
  /** `10.96.0.10:80/tcp`, `[fd96::10]:80/udp`. */
  readonly to: string;
  /** Who may answer, and whose address each of them sees as the source. Every one of them must come up. */
  readonly reaches?: Partial<Record<PlaceName, PlaceName>>;
  /** Needed where nobody is reached; else it follows from who answers and what he sees. */
  readonly verdict?: VerdictName;
  readonly shape?: Shape;
  readonly fault?: Fault;
  /** Every connection of this client goes to one backend. */
  readonly sticks?: boolean;
}

/** A flow with its family and protocol: one test. */
export interface Case extends Flow {
  readonly family: Family;
  readonly protocol: FlowProtocol;
  readonly address: string;
  readonly port: number;
}

/** Number of a Service in the manifests: it is in all of its addresses. */
export const services = {
  web: 10,
  inside: 11,
  'inside-elsewhere': 12,
  empty: 13,
  local: 14,
  'local-elsewhere': 15,
  remote: 16,
  here: 17,
  ranges: 18,
  'ranges-empty': 19,
  sticky: 20,
  host: 21,
  'host-elsewhere': 22,
  leaving: 23,
  last: 24,
  first: 25,
  second: 26,
  own: 27,
  proxied: 28,
  odd: 29,
  split: 30,
  'local-empty': 32,
  'sticky-local': 33,
  zoned: 34,
} as const;
export type ServiceName = keyof typeof services;

/** What a table may name: the destinations of one family and protocol. */
export interface Words {
  readonly family: Family;
  readonly protocol: FlowProtocol;
  clusterIP(service: ServiceName, port?: number): string;
  nodePort(service: ServiceName, node?: NodeName): string;
  externalIP(service: ServiceName, port?: number): string;
  vip(service: ServiceName, port?: number): string;
  /** A port of a place itself. */
  host(place: PlaceName | 'secondary' | 'loopback' | 'unassigned', port: number): string;
  /** The three kinds whose external policy counts: node port, externalIP, load balancer VIP. */
  readonly externals: readonly { readonly kind: string; to(service: ServiceName): string }[];
}

export type Table = (words: Words) => readonly Flow[];

const loopback = { 4: '127.0.0.1', 6: '::1' };
const unassigned = { 4: '10.96.0.250', 6: 'fd96::250' };

/** The words of one family and protocol. */
export function wordsOf(family: Family, protocol: FlowProtocol): Words {
  const text = (address: string, port: number) => `${family === 6 ? `[${address}]` : address}:${port}/${protocol}`;
  const words: Words = {
    family,
    protocol,
    clusterIP: (service, port = 80) => text(family === 4 ? `10.96.0.${services[service]}` : `fd96::${services[service]}`, port),
    nodePort: (service, node = 'nodeA') => text(places[node][family], service === 'odd' ? 5050 : 30000 + services[service]),
    externalIP: (service, port = 80) => text(family === 4 ? `203.0.113.${services[service]}` : `2001:db8:113::${services[service]}`, port),
    vip: (service, port = 80) => text(family === 4 ? `203.0.113.${100 + services[service]}` : `2001:db8:113::1${services[service]}`, port),
    host(place, port) {
      if (place === 'secondary') return text(secondary[family], port);
      if (place === 'loopback') return text(loopback[family], port);
      if (place === 'unassigned') return text(unassigned[family], port);
      return text(places[place][family], port);
    },
    externals: [
      { kind: 'node port', to: (service) => words.nodePort(service) },
      { kind: 'externalIP', to: (service) => words.externalIP(service) },
      { kind: 'VIP', to: (service) => words.vip(service) },
    ],
  };
  return words;
}

/** A flow's destination, taken apart. */
export function parseDestination(to: string): { address: string; port: number; protocol: FlowProtocol } {
  const parts = /^\[?([0-9a-f.:]+?)\]?:(\d+)\/(tcp|udp)$/.exec(to);
  if (!parts) throw new Error(`not a destination: ${to}`);
  return { address: parts[1]!, port: Number(parts[2]), protocol: parts[3] as FlowProtocol };
}

/** Every flow of a table for both families and protocols. Flows that came out for another protocol than asked are left out. */
export function expand(table: Table): Case[] {
  return families.flatMap((family) =>
    (['tcp', 'udp'] as const).flatMap((protocol) =>
      table(wordsOf(family, protocol)).map((flow) => ({ ...flow, family, ...parseDestination(flow.to) })),
    ),
  );
}

/** The verdict of node A about the request when this backend answers (undefined: nobody does). */
export function verdictOf(flow: Flow, backend?: PlaceName): VerdictName {
  if (flow.verdict) return flow.verdict;
  if (!backend) throw new Error(`${flow.name}: neither a verdict nor anybody who answers`);
  if (flow.at === 'socket') return 'TRANSLATE_SOCKET';
  if (flow.from === backend && flow.at === 'pod') return 'FORWARD_HAIRPIN';
  return flow.reaches?.[backend] === flow.from ? 'TRANSLATE_REQUEST' : 'FORWARD_REQUEST';
}

/** A test's title. */
export function titleOf(flow: Case): string {
  return `${flow.name} (${flow.rows}): ${flow.from} to ${flow.to}`;
}
