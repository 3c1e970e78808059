// What can go wrong on the way of a new connection, each with a name of its own. Only the program runner can bring them about.
import type { Fault, Table } from '../lib/flow.ts';

const faults: readonly { fault: Fault; verdict: string }[] = [
  { fault: 'every masquerade port is taken', verdict: 'DROP_NO_SNAT_PORT' },
  { fault: 'the egress device has no address', verdict: 'DROP_NO_SNAT_ADDRESS' },
  { fault: 'the table of flows is full', verdict: 'DROP_TABLE_FULL' },
  { fault: 'there is no way to the backend', verdict: 'DROP_NO_ROUTE' },
  { fault: 'the slots name no backend', verdict: 'DROP_STALE_SLOT' },
];

export const faulty: Table = ({ nodePort }) =>
  faults.map(({ fault, verdict }) => ({
    name: fault,
    rows: '9.9, 9.10',
    at: 'nic',
    from: 'outside',
    to: nodePort('remote'),
    fault,
    verdict,
  }));
