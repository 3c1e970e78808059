// Who is not served when a hook is switched off? The committed answer, for `status` and the documentation. Design 5, "Three hooks".

import type { DatapathOptions } from './options.ts';

export interface Unserved {
  readonly who: string;
  readonly why: string;
}

interface Row extends Unserved {
  readonly applies: (hooks: DatapathOptions['hooks']) => boolean;
}

const ROWS: readonly Row[] = [
  {
    who: 'pods without a host-side interface (ipvlan, macvlan, SR-IOV), UDP',
    why: 'their packets pass no device of this namespace, and the socket hook serves pods for TCP only',
    applies: () => true,
  },
  {
    who: 'pods without a host-side interface (ipvlan, macvlan, SR-IOV), TCP',
    why: 'their packets pass no device of this namespace, and the socket hook does not serve pods',
    applies: ({ socket }) => socket !== 'on',
  },
  {
    who: "the node's own processes, to a Service whose backend is on this node",
    why: 'without the socket hook they are translated where their packet leaves by a NIC, and this one leaves by none',
    applies: ({ socket }) => socket === 'off',
  },
  {
    who: 'NodePorts on 127.0.0.0/8 and ::1',
    why: 'the loopback device has no program: only the socket hook serves them',
    applies: ({ socket }) => socket === 'off',
  },
  {
    who: "clients outside the node, and pods' UDP",
    why: 'without the tc hook no packet is looked at: the socket hook serves processes of this node only',
    applies: ({ tc }) => !tc,
  },
  {
    who: 'what the socket hook leaves to the packets: VIPs with source ranges, masqueradeAll, sockets bound to an address',
    why: 'without the tc hook nobody looks at the packets',
    applies: ({ tc, socket }) => !tc && socket !== 'off',
  },
];

/** The rows that hold with these hooks. */
export function unservedWith(hooks: DatapathOptions['hooks']): Unserved[] {
  return ROWS.filter((row) => row.applies(hooks)).map(({ who, why }) => ({ who, why }));
}
