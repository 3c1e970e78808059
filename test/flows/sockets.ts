// Semantics 10: what the socket hook does for the node's own processes (TCP and UDP) and for pods (TCP).
import type { Table } from '../lib/flow.ts';

const host: Table = ({ clusterIP, nodePort, externals, host }) => [
  {
    name: 'the node itself to a ClusterIP',
    rows: '3.1, 10.1',
    at: 'socket',
    from: 'nodeA',
    to: clusterIP('web'),
    reaches: { a1: 'nodeA', a2: 'nodeA', b1: 'nodeA', b2: 'nodeA' },
  },
  {
    name: 'the node itself to a ClusterIP of Local policy',
    rows: '0.1',
    at: 'socket',
    from: 'nodeA',
    to: clusterIP('inside'),
    reaches: { a1: 'nodeA' },
  },
  {
    name: 'the node itself to its own backend',
    rows: '3.18',
    at: 'socket',
    from: 'nodeA',
    to: clusterIP('host'),
    reaches: { nodeA: 'nodeA' },
  },
  {
    name: 'the node itself to another node',
    rows: '3.18',
    at: 'socket',
    from: 'nodeA',
    to: clusterIP('host-elsewhere'),
    reaches: { nodeB: 'nodeA' },
  },
  { name: 'the node itself to its node port', rows: '0.1', at: 'socket', from: 'nodeA', to: nodePort('here'), reaches: { a1: 'nodeA' } },
  {
    name: 'the node itself to a node port on loopback',
    rows: '0.2, 8.4',
    at: 'socket',
    from: 'nodeA',
    to: host('loopback', 30017),
    reaches: { a1: 'nodeA' },
  },
  {
    name: 'the node itself to no endpoint',
    rows: '4.3',
    at: 'socket',
    from: 'nodeA',
    to: clusterIP('empty'),
    verdict: 'REJECT_NO_ENDPOINTS',
  },
  {
    name: 'the node itself to a backend by its own address',
    rows: '10.1',
    at: 'socket',
    from: 'nodeA',
    to: host('b1', 8080),
    reaches: { b1: 'nodeA' },
    verdict: 'PASS_SOCKET',
  },
  ...externals.flatMap(
    ({ kind, to }) =>
      [
        {
          name: `${kind}, Local policy, from the node itself: a member of C`,
          rows: '0.1, 0.2',
          at: 'socket',
          from: 'nodeA',
          to: to('local'),
          reaches: { a1: 'nodeA', b1: 'nodeA' },
        },
        {
          name: `${kind}, Local policy, from the node itself, none here: a member of C`,
          rows: '0.1, 3.17',
          at: 'socket',
          from: 'nodeA',
          to: to('local-elsewhere'),
          reaches: { b1: 'nodeA' },
        },
      ] as const,
  ),
];

const pods: Table = ({ protocol, clusterIP, nodePort, vip }) =>
  protocol === 'udp'
    ? []
    : [
        {
          name: 'a pod to a ClusterIP',
          rows: '10.1',
          at: 'socket',
          from: 'clientA',
          to: clusterIP('web'),
          reaches: { a1: 'clientA', a2: 'clientA', b1: 'clientA', b2: 'clientA' },
        },
        {
          name: 'a pod to a node port of its node',
          rows: '0.1',
          at: 'socket',
          from: 'clientA',
          to: nodePort('local-elsewhere'),
          reaches: { b1: 'clientA' },
        },
        { name: 'source ranges need the source', rows: '7.1', at: 'socket', from: 'clientA', to: vip('ranges'), verdict: 'PASS_ABSTAIN' },
        {
          name: 'a pod to no endpoint',
          rows: '4.3',
          at: 'socket',
          from: 'clientA',
          to: clusterIP('empty'),
          verdict: 'REJECT_NO_ENDPOINTS',
        },
        {
          name: 'a pod with affinity',
          rows: '5.4',
          at: 'socket',
          from: 'clientA',
          to: clusterIP('sticky'),
          reaches: { a1: 'clientA', a2: 'clientA', b1: 'clientA', b2: 'clientA' },
          sticks: true,
        },
      ];

export const sockets: Table = (words) => [...host(words), ...pods(words)];
