// Packets that are not plain: what is not yet translated gets a named verdict and never half a translation.
import type { Flow, Shape, Table } from '../lib/flow.ts';

const nic = (shape: Shape, name: string, to: string, rest: Partial<Flow>): Flow => ({
  rows: '0.3',
  at: 'nic',
  from: 'outside',
  shape,
  name,
  to,
  ...rest,
});

export const shapes: Table = ({ family, protocol, clusterIP, nodePort, host }) => [
  nic('options', 'options and extension headers are read past', nodePort('here'), { reaches: { a1: 'outside' } }),
  nic('VLAN tag', 'a tagged frame belongs to another device', nodePort('here'), { verdict: 'PASS_NOT_IP' }),
  nic('malformed', 'headers that do not parse are for the stack to judge', nodePort('here'), { verdict: 'PASS_MALFORMED' }),
  nic('last hop', 'what we send ourselves lives one hop less', nodePort('remote'), { verdict: 'REJECT_TTL_EXPIRED' }),
  nic('too big', 'what we send ourselves fits the way', nodePort('remote'), { verdict: 'REJECT_TOO_BIG' }),
  nic('icmp error', 'an ICMP error about a translated flow', nodePort('remote'), { verdict: 'DROP_ICMP_ERROR' }),
  ...(protocol === 'udp'
    ? [
        nic('fragment', 'a fragment for a frontend', nodePort('here'), { verdict: 'DROP_FRAGMENT' }),
        nic('fragment', 'a fragment for the node itself', host('nodeA', 22), { verdict: 'PASS_NOT_OURS' }),
        ...(family === 4 ? [nic('no checksum', 'a datagram without a checksum', nodePort('here'), { reaches: { a1: 'outside' } })] : []),
      ]
    : [
        nic('gone backend', 'a connection to a backend that is gone, elsewhere', nodePort('remote'), {
          rows: '9.4',
          verdict: 'REJECT_GONE_BACKEND',
        }),
        nic('gone backend', 'a connection to a backend that is gone, here', nodePort('here'), {
          rows: '9.4',
          verdict: 'REJECT_GONE_BACKEND',
        }),
        {
          name: 'a connection of a pod to a backend that is gone',
          rows: '9.4',
          at: 'pod',
          from: 'clientA',
          shape: 'gone backend',
          to: clusterIP('remote'),
          verdict: 'REJECT_GONE_BACKEND',
        } as const,
        {
          name: 'TCP without SYN that no flow knows',
          rows: '6.4',
          at: 'pod',
          from: 'clientA',
          shape: 'no SYN',
          to: clusterIP('web'),
          verdict: 'PASS_NO_FLOW',
        } as const,
      ]),
];
