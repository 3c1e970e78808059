// Semantics 7.4: sourceRangesEverywhere, with which source ranges guard node ports and external IPs as they guard load balancer addresses.
import type { Table } from '../lib/flow.ts';

/** With sourceRangesEverywhere: true. */
export const rangesEverywhere: Table = ({ nodePort, externalIP, vip, clusterIP }) => [
  ...[
    { kind: 'node port', to: nodePort('ranges'), empty: nodePort('ranges-empty') },
    { kind: 'externalIP', to: externalIP('ranges'), empty: externalIP('ranges-empty') },
    { kind: 'VIP', to: vip('ranges'), empty: vip('ranges-empty') },
  ].flatMap(
    ({ kind, to, empty }) =>
      [
        { name: `everywhere: a ${kind} lets the range in`, rows: '7.4', at: 'nic', from: 'outside', to, reaches: { a1: 'outside' } },
        { name: `everywhere: a ${kind} keeps others out`, rows: '7.4', at: 'nic', from: 'stranger', to, verdict: 'DROP_SOURCE_RANGE' },
        { name: `everywhere: a ${kind} keeps pods out`, rows: '7.4, 7.3', at: 'pod', from: 'clientA', to, verdict: 'DROP_SOURCE_RANGE' },
        {
          name: `everywhere: a ${kind} without endpoints keeps others out`,
          rows: '7.4, 0.3',
          at: 'nic',
          from: 'stranger',
          to: empty,
          verdict: 'DROP_SOURCE_RANGE',
        },
      ] as const,
  ),
  {
    name: 'everywhere: the ClusterIP stays open',
    rows: '7.4',
    at: 'pod',
    from: 'clientA',
    to: clusterIP('ranges'),
    reaches: { a1: 'clientA' },
  },
];

/** Likewise at the socket hook: where the source is not known the call is left to the packets. */
export const callsEverywhere: Table = ({ protocol, nodePort, externalIP, clusterIP }) => [
  {
    name: 'everywhere: the node itself to its node port, outside the range',
    rows: '7.4, 7.2',
    at: 'socket',
    from: 'nodeA',
    to: nodePort('ranges'),
    verdict: 'DROP_SOURCE_RANGE',
  },
  {
    name: 'everywhere: the node itself to the ClusterIP',
    rows: '7.4',
    at: 'socket',
    from: 'nodeA',
    to: clusterIP('ranges'),
    reaches: { a1: 'nodeA' },
  },
  ...(protocol === 'udp'
    ? []
    : [nodePort('ranges'), externalIP('ranges')].map(
        (to) =>
          ({
            name: 'everywhere: a pod, whose source is not known yet',
            rows: '7.4, 7.3',
            at: 'socket',
            from: 'clientA',
            to,
            verdict: 'PASS_ABSTAIN',
          }) as const,
      )),
];
