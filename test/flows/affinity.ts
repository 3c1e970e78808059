// Semantics 5: a client with affinity stays where it was first sent, as far as the policy allows.
import type { Table } from '../lib/flow.ts';

export const affinity: Table = ({ clusterIP, nodePort }) => [
  {
    name: 'affinity from a pod',
    rows: '5.1',
    at: 'pod',
    from: 'clientA',
    to: clusterIP('sticky'),
    reaches: { a1: 'clientA', a2: 'clientA', b1: 'clientA', b2: 'clientA' },
    sticks: true,
  },
  {
    name: 'affinity from outside',
    rows: '5.1, 5.5',
    at: 'nic',
    from: 'outside',
    to: nodePort('sticky'),
    reaches: { a1: 'outside', a2: 'outside', b1: 'nodeA', b2: 'nodeA' },
    sticks: true,
  },
  {
    name: 'affinity under Cluster policy',
    rows: '5.3',
    at: 'pod',
    from: 'clientA',
    to: clusterIP('sticky-local'),
    reaches: { a1: 'clientA', b1: 'clientA' },
    sticks: true,
  },
  {
    name: 'affinity leads to no backend that the policy forbids',
    rows: '5.3',
    at: 'nic',
    from: 'outside',
    to: nodePort('sticky-local'),
    reaches: { a1: 'outside' },
    sticks: true,
  },
];
