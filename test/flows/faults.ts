// What can go wrong on the way of a new connection, each with a name of its own. Only the program runner can bring them about.
import type { Fault, Flow, Table } from '../lib/flow.ts';

const faults: readonly { fault: Fault; verdict: string }[] = [
  { fault: 'every masquerade port is taken', verdict: 'DROP_NO_SNAT_PORT' },
  { fault: 'the egress device has no address', verdict: 'DROP_NO_SNAT_ADDRESS' },
  { fault: 'the table of flows is full', verdict: 'DROP_TABLE_FULL' },
  { fault: 'there is no way to the backend', verdict: 'DROP_NO_ROUTE' },
  { fault: 'the slots name no backend', verdict: 'DROP_STALE_SLOT' },
];

/** Who comes after us gets what we do not take: untouched, and what we would refuse besides. */
const yielding: Table = ({ nodePort, clusterIP, host }) => {
  const row = { rows: '15.3, 15.7', fault: 'we yield' } as const;
  return [
    { ...row, name: 'yielding: a client outside', at: 'nic', from: 'outside', to: nodePort('remote'), verdict: 'PASS_YIELDED' },
    { ...row, name: 'yielding: a pod', at: 'pod', from: 'clientA', to: clusterIP('here'), verdict: 'PASS_YIELDED' },
    { ...row, name: 'yielding: no endpoints', at: 'pod', from: 'clientA', to: clusterIP('empty'), verdict: 'PASS_YIELDED' },
    { ...row, name: 'yielding: a port that nobody owns', at: 'pod', from: 'clientA', to: clusterIP('here', 81), verdict: 'PASS_YIELDED' },
    { ...row, name: 'yielding: no Service', at: 'pod', from: 'clientA', to: host('unassigned', 80), verdict: 'PASS_NOT_OURS' },
  ];
};

/** What another proxy translated lives on in netfilter; what begins is ours. */
const besideOthers: Table = ({ nodePort, host, protocol }) => {
  const row = { rows: '15.5', at: 'nic', from: 'outside', to: nodePort('here'), fault: 'others had connections' } as const;
  const gone = { ...row, to: host('unassigned', 80) };
  const flows: Flow[] = [
    { ...row, name: 'beside others: a new flow', reaches: { a1: 'outside' } },
    { ...gone, name: 'beside others: a new flow to a Service that is gone', verdict: 'DROP_UNASSIGNED' },
  ];
  if (protocol !== 'tcp') return flows;
  return [
    ...flows,
    { ...row, name: 'beside others: TCP in its middle', shape: 'no SYN', verdict: 'PASS_NO_FLOW' },
    { ...gone, name: 'beside others: TCP in its middle to a Service that is gone', shape: 'no SYN', verdict: 'PASS_NO_FLOW' },
    {
      ...{ ...gone, at: 'pod', from: 'clientA', shape: 'no SYN', verdict: 'PASS_NO_FLOW' },
      name: 'beside others: TCP in its middle from a pod to a Service that is gone',
    },
  ];
};

const broken: Table = ({ nodePort }) =>
  faults.map(({ fault, verdict }) => ({
    name: fault,
    rows: '9.9, 9.10',
    at: 'nic',
    from: 'outside',
    to: nodePort('remote'),
    fault,
    verdict,
  }));

export const faulty: Table = (words) => [...broken(words), ...yielding(words), ...besideOthers(words)];
