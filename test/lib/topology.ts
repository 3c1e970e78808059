// How is a lane wired? Steps as data: what to run in which namespace, in order. Nothing here touches the machine.
import { fileURLToPath } from 'node:url';
import {
  type Family,
  families,
  gateways,
  hostDevice,
  mac,
  type NodeName,
  networks,
  nodeNames,
  type PodName,
  places,
  podNames,
  secondary,
} from './places.ts';

const pass = fileURLToPath(new URL('../../build/test/pass.o', import.meta.url));

/** What real nodes have and labs forget. */
export interface Lane {
  readonly name: string;
  /** Pods on veths with a host route each, or on a shared bridge. */
  readonly wiring: 'routed' | 'bridge';
  /** Pods of the other node behind a VXLAN device; else routed between the nodes. */
  readonly tunnel: boolean;
  readonly rpFilter: 0 | 1 | 2;
  readonly bridgeNetfilter: 0 | 1;
  /** FORWARD policy DROP, an INVALID drop, a CNI's accepts and MASQUERADE. */
  readonly netfilter: boolean;
  /** Transmit checksum offload, as real pods have it; off shows wrong checksums. */
  readonly offload: boolean;
  /** The way between the nodes' pods: a link of its own with this MTU; 0: the uplink. */
  readonly backendMtu: number;
  readonly defaultRoute: boolean;
  /** The nodes' uplinks, and node A's end of the link of backendMtu, can send frames of XDP: a program at their other ends. It needs offload off. */
  readonly xdp: boolean;
}

export const plainLane: Lane = {
  name: 'routed veths, offload off',
  wiring: 'routed',
  tunnel: false,
  rpFilter: 0,
  bridgeNetfilter: 0,
  netfilter: false,
  offload: false,
  backendMtu: 0,
  defaultRoute: true,
  xdp: false,
};

/** Every address that node A may give a request in this lane. */
export function masqueradeAddresses(lane: Lane, family: Family): string[] {
  const more = [...(lane.tunnel ? [tunnels.nodeA] : []), ...(lane.backendMtu ? [links.nodeA] : [])];
  return [places.nodeA, ...more, ...(lane.wiring === 'bridge' ? [gateways.nodeA] : [])].map((address) => address[family]);
}

/** One command in one namespace; `netns:PLACE` in its input stands for that place's namespace. */
export interface Step {
  readonly in: string;
  readonly run: readonly string[];
  readonly input?: readonly string[];
}

const other = (node: NodeName): NodeName => (node === 'nodeA' ? 'nodeB' : 'nodeA');
const podsOf = (node: NodeName) => podNames.filter((pod) => places[pod].node === node);
const full = (family: Family) => (family === 4 ? 32 : 128);
const lengthOf = (prefix: string) => prefix.split('/')[1]!;
const links = { nodeA: { 4: '10.200.0.1', 6: 'fd20::1' }, nodeB: { 4: '10.200.0.2', 6: 'fd20::2' } } as const;
const tunnels = { nodeA: { 4: '10.1.1.0', 6: 'fd01:1::ffff' }, nodeB: { 4: '10.1.2.0', 6: 'fd01:2::ffff' } } as const;
const tunnelMac = (node: NodeName) => (node === 'nodeA' ? '0c:58:00:00:00:01' : '0c:58:00:00:00:02');
/** Where routed pods send everything: never answered for, the pod has its neighbour entry. */
const podGateway = { 4: '169.254.1.1', 6: 'fe80::ffff' } as const;

function ip(place: string, ...input: string[]): Step {
  return { in: place, run: ['ip', '-batch', '-'], input };
}

function sysctl(place: string, ...values: string[]): Step {
  return { in: place, run: ['sysctl', '-qw', ...values] };
}

/** accept_dad: an address is usable at once. rp_filter is inherited from the machine otherwise. */
function quiet(place: string, rpFilter: number): Step {
  return sysctl(
    place,
    'net.ipv6.conf.all.accept_dad=0',
    'net.ipv6.conf.default.accept_dad=0',
    'net.ipv6.conf.default.router_solicitations=0',
    `net.ipv4.conf.all.rp_filter=${rpFilter}`,
    `net.ipv4.conf.default.rp_filter=${rpFilter}`,
    'net.ipv4.conf.all.send_redirects=0',
    'net.ipv4.conf.default.send_redirects=0',
  );
}

const forwarding = (place: string) => sysctl(place, 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1');
const addresses = (device: string, address: { 4: string; 6: string }, length: { 4: string | number; 6: string | number }) =>
  families.map((family) => `address add ${address[family]}/${length[family]} dev ${device}${family === 6 ? ' nodad' : ''}`);
/** A further address that the kernel does not choose as a source by itself. */
const further = (device: string, address: { 4: string; 6: string }, length: { 4: string | number; 6: string | number }) =>
  addresses(device, address, length).map((line) => (line.endsWith('nodad') ? `${line} preferred_lft 0` : line));
const route = (prefix: { 4: string; 6: string }, via: { 4: string; 6: string }, more = '') =>
  families.map((family) => `route add ${prefix[family]} via ${via[family]}${more}`);
const lengths = (network: { 4: string; 6: string }) => ({ 4: lengthOf(network[4]), 6: lengthOf(network[6]) });
const anywhere = { 4: '0.0.0.0/0', 6: '::/0' };

function routerSteps(lane: Lane): Step[] {
  const podRoutes = nodeNames.filter((node) => node === 'nodeA' || !lane.tunnel).flatMap((node) => route(networks[node], places[node]));
  return [
    ip(
      'router',
      'link set lo up',
      'link add sw0 type bridge',
      'link add out0 type veth peer name eth0 netns netns:outside',
      ...nodeNames.map(
        (node) => `link add ${node} address ${mac(node, 'outer')} type veth peer name eth0 address ${mac(node)} netns netns:${node}`,
      ),
      ...nodeNames.map((node) => `link set ${node} master sw0 up`),
      'link set sw0 up',
      'link set out0 up',
      ...addresses('sw0', gateways.nodes, lengths(networks.nodes)),
      ...addresses('out0', gateways.outside, lengths(networks.outside)),
      ...podRoutes,
      ...route(networks.services, places.nodeA),
      ...route(networks.external, places.nodeA),
    ),
    ip(
      'outside',
      'link set lo up',
      'link set eth0 up',
      ...addresses('eth0', places.outside, lengths(networks.outside)),
      ...further('eth0', places.stranger, { 4: 32, 6: 128 }),
      ...route(anywhere, gateways.outside),
    ),
  ];
}

function uplinkSteps(lane: Lane, node: NodeName): Step[] {
  // Without a default route node A knows the outside alone; node B, a client without an agent at first, the Services besides.
  const known = node === 'nodeA' ? [networks.outside] : [networks.outside, networks.services, networks.external];
  return [
    ip(
      node,
      'link set lo up',
      'link set eth0 up',
      ...addresses('eth0', places[node], lengths(networks.nodes)),
      ...(node === 'nodeA' ? further('eth0', secondary, lengths(networks.nodes)) : []),
      ...(lane.defaultRoute ? [anywhere] : known).flatMap((network) => route(network, gateways.nodes)),
    ),
  ];
}

/** The way from this node to the other node's pods. */
function betweenSteps(lane: Lane, node: NodeName): Step[] {
  const peer = other(node);
  if (lane.tunnel)
    return [
      ip(
        node,
        `link add vxlan0 mtu 1450 address ${tunnelMac(node)} type vxlan id 42 local ${places[node][4]} remote ${places[peer][4]} dstport 4789 nolearning`,
        'link set vxlan0 up',
        ...addresses('vxlan0', tunnels[node], { 4: 32, 6: 128 }),
        ...families.map((family) => `neighbour add ${tunnels[peer][family]} lladdr ${tunnelMac(peer)} dev vxlan0 nud permanent`),
        ...route(networks[peer], tunnels[peer], ' dev vxlan0 onlink'),
      ),
    ];
  if (lane.backendMtu === 0) return [ip(node, ...route(networks[peer], places[peer]))];
  const add =
    node === 'nodeA' ? [`link add eth1 mtu ${lane.backendMtu} type veth peer name eth1 mtu ${lane.backendMtu} netns netns:nodeB`] : [];
  return [
    ip(node, ...add, 'link set eth1 up', ...addresses('eth1', links[node], { 4: 30, 6: 64 })),
    ip(node, ...families.map((family) => `route add ${networks[peer][family]} via ${links[peer][family]} dev eth1`)),
  ];
}

function podSteps(lane: Lane, node: NodeName, pod: PodName): Step[] {
  const device = hostDevice(pod);
  const mtu = lane.tunnel ? 1450 : 1500;
  const routed = lane.wiring === 'routed';
  const gateway = routed ? podGateway : gateways[node];
  return [
    quiet(pod, 0),
    ip(
      node,
      `link add ${device} mtu ${mtu} address ${mac(pod, 'outer')} type veth peer name eth0 mtu ${mtu} address ${mac(pod)} netns netns:${pod}`,
      `link set ${device} ${routed ? '' : 'master cni0 '}up`,
      ...(routed ? families.map((family) => `route add ${places[pod][family]}/${full(family)} dev ${device}`) : []),
    ),
    ip(
      pod,
      'link set lo up',
      'link set eth0 up',
      ...addresses('eth0', places[pod], routed ? { 4: 32, 6: 128 } : lengths(networks[node])),
      ...(routed ? families.map((family) => `neighbour add ${gateway[family]} lladdr ${mac(pod, 'outer')} dev eth0 nud permanent`) : []),
      ...route(anywhere, gateway, ' dev eth0 onlink'),
    ),
  ];
}

/** What other software has on a node: a CNI's rules beside a closed firewall. */
function netfilterSteps(node: NodeName): Step[] {
  return families.flatMap((family) => {
    const tables = family === 4 ? 'iptables-restore' : 'ip6tables-restore';
    const rules = [
      '*filter',
      ':FORWARD DROP [0:0]',
      '-A FORWARD -m conntrack --ctstate INVALID -j DROP',
      `-A FORWARD -s ${networks.pods[family]} -j ACCEPT`,
      `-A FORWARD -d ${networks.pods[family]} -j ACCEPT`,
      'COMMIT',
      '*nat',
      `-A POSTROUTING -s ${networks[node][family]} ! -d ${networks.pods[family]} -j MASQUERADE`,
      'COMMIT',
    ];
    return [{ in: node, run: [tables], input: rules }];
  });
}

function nodeSteps(lane: Lane, node: NodeName): Step[] {
  // Without a bridge there is nothing to set, and on many machines no such setting.
  const bridge = [
    ip(node, 'link add cni0 type bridge', 'link set cni0 up', ...addresses('cni0', gateways[node], lengths(networks[node]))),
    sysctl(node, ...['iptables', 'ip6tables'].map((table) => `net.bridge.bridge-nf-call-${table}=${lane.bridgeNetfilter}`)),
  ];
  return [
    ...uplinkSteps(lane, node),
    ...(lane.wiring === 'bridge' ? bridge : []),
    ...podsOf(node).flatMap((pod) => podSteps(lane, node, pod)),
    ...(lane.netfilter ? netfilterSteps(node) : []),
  ];
}

function offloadSteps(lane: Lane): Step[] {
  const off = (place: string, device: string): Step => ({ in: place, run: ['ethtool', '-K', device, 'tx', 'off'] });
  return [
    off('outside', 'eth0'),
    off('router', 'out0'),
    ...nodeNames.flatMap((node) => [off(node, 'eth0'), off('router', node), ...(lane.backendMtu === 0 ? [] : [off(node, 'eth1')])]),
    ...podNames.flatMap((pod) => [off(pod, 'eth0'), off(places[pod].node!, hostDevice(pod))]),
  ];
}

/**
 * All packets of these devices in one queue: the processor that polls a veth with XDP changes, and with it the queue behind. Not those
 * that are polled: between XDP and tc there is no queue then, in which a packet could be overtaken by one that XDP sends.
 */
function oneQueue(place: string, ...devices: string[]): Step {
  const files = devices.map((device) => `echo 1 >/sys/class/net/${device}/queues/rx-0/rps_cpus`);
  return { in: place, run: ['unshare', '--mount', 'sh', '-ec', ['mount -t sysfs sysfs /sys', ...files].join('\n')] };
}

/** A longer frame does not fit into the page that a program at a veth gets: the kernel refuses it at both ends. */
const XDP_MTU_MOST = 3000;

/** The link between the nodes can send frames of XDP too: a program at its other end. */
function secondNicSteps(): Step[] {
  return [
    { in: 'nodeB', run: ['ip', 'link', 'set', 'eth1', 'xdpdrv', 'object', pass, 'section', 'xdp'] },
    ...nodeNames.map((node) => ({ in: node, run: ['ethtool', '-K', 'eth1', 'gro', 'on'] })),
  ];
}

/** GRO keeps a veth's ring of frames alive where its program comes or goes: without it, what waits in the ring is lost. */
function xdpSteps(lane: Lane): Step[] {
  return [
    ...(lane.backendMtu > 0 && lane.backendMtu <= XDP_MTU_MOST ? secondNicSteps() : []),
    ...nodeNames.flatMap((node) => [
      { in: 'router', run: ['ip', 'link', 'set', node, 'xdpdrv', 'object', pass, 'section', 'xdp'] },
      { in: 'router', run: ['ethtool', '-K', node, 'gro', 'on'] },
      { in: node, run: ['ethtool', '-K', 'eth0', 'gro', 'on'] },
      oneQueue(node, ...podsOf(node).map(hostDevice)),
    ]),
    ...podNames.map((pod) => oneQueue(pod, 'eth0')),
    oneQueue('outside', 'eth0'),
    oneQueue('router', 'out0'),
  ];
}

/** Every step from bare namespaces to the wired lane. */
export function namespaceSteps(lane: Lane): Step[] {
  return [
    quiet('router', 0),
    quiet('outside', 0),
    ...nodeNames.map((node) => quiet(node, lane.rpFilter)),
    ...['router', ...nodeNames].map(forwarding),
    ...routerSteps(lane),
    ...nodeNames.flatMap((node) => nodeSteps(lane, node)),
    ...nodeNames.flatMap((node) => betweenSteps(lane, node)),
    ...(lane.offload ? [] : offloadSteps(lane)),
    ...(lane.xdp ? xdpSteps(lane) : []),
  ];
}
