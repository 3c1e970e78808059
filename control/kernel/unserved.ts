// Who is not served when a hook is switched off? The committed answer, for `status`, the documentation and the flow tables. Design 5,
// "Three hooks". XDP is in no row: tc is complete without it.

import type { DatapathOptions } from './options.ts';

export interface Unserved {
  readonly who: string;
  readonly why: string;
}

/** Who may be left out. */
export type Subject =
  | 'bare pod'
  | 'node to local backend'
  | 'node to own address'
  | 'loopback'
  | 'outside'
  | 'pod'
  | 'left by the socket hook';

interface Row extends Unserved {
  readonly subject: Subject;
  readonly applies: (hooks: DatapathOptions['hooks']) => boolean;
}

const ROWS: readonly Row[] = [
  {
    subject: 'bare pod',
    who: 'pods without a host-side interface (ipvlan, macvlan, SR-IOV), UDP',
    why: 'their packets pass no device of this namespace, and the socket hook serves pods for TCP only',
    applies: () => true,
  },
  {
    subject: 'bare pod',
    who: 'pods without a host-side interface (ipvlan, macvlan, SR-IOV), TCP',
    why: 'their packets pass no device of this namespace, and the socket hook does not serve pods',
    applies: ({ socket }) => socket !== 'on',
  },
  {
    subject: 'node to local backend',
    who: "the node's own processes, to a Service whose backend is on this node",
    why: 'without the socket hook they are translated where their packet leaves by a NIC, and this one leaves by none',
    applies: ({ socket }) => socket === 'off',
  },
  {
    subject: 'node to own address',
    who: "the node's own processes, to NodePorts, externalIPs and VIPs on an address of this node",
    why: 'such a packet goes through the loopback device, which has no program: only the socket hook serves it',
    applies: ({ socket }) => socket === 'off',
  },
  {
    subject: 'loopback',
    who: 'NodePorts on 127.0.0.0/8 and ::1',
    why: 'the loopback device has no program: only the socket hook serves them',
    applies: ({ socket }) => socket === 'off',
  },
  {
    subject: 'outside',
    who: "clients outside the node, and pods' UDP",
    why: 'without the tc hook no packet is looked at: the socket hook serves processes of this node only',
    applies: ({ tc }) => !tc,
  },
  {
    subject: 'pod',
    who: 'pods, TCP',
    why: 'without the tc hook no packet is looked at, and the socket hook does not serve pods',
    applies: ({ tc, socket }) => !tc && socket !== 'on',
  },
  {
    subject: 'left by the socket hook',
    who: 'what the socket hook leaves to the packets: VIPs with source ranges, masqueradeAll, sockets bound to an address',
    why: 'without the tc hook nobody looks at the packets',
    applies: ({ tc, socket }) => !tc && socket !== 'off',
  },
];

/** Why a subject is left out with these hooks; undefined: it is served. */
export function unservedAs(subject: Subject, hooks: DatapathOptions['hooks']): Unserved | undefined {
  const row = ROWS.find((one) => one.subject === subject && one.applies(hooks));
  return row === undefined ? undefined : { who: row.who, why: row.why };
}

/** The rows that hold with these hooks. */
export function unservedWith(hooks: DatapathOptions['hooks']): Unserved[] {
  return ROWS.filter((row) => row.applies(hooks)).map(({ who, why }) => ({ who, why }));
}
