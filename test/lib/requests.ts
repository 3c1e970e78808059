// What the agent asks of the kernel, each by itself: run under some capabilities, this file tries every request once and prints what the
// kernel said, so that a test can tell which capability is for what. What a request builds on was made before, with every capability.

import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdirSync } from 'node:fs';
import { loadNative } from '../../control/kernel/addon.ts';
import { openDeviceHooks } from '../../control/kernel/attach.ts';
import { attachSocketPrograms, SOCKET_PROGRAMS } from '../../control/kernel/cgroup.ts';
import { openLedger } from '../../control/kernel/ledger.ts';
import { pinsOf, shapeOf } from '../../control/kernel/pins.ts';
import { objectPath } from '../../control/kernel/preconditions.ts';
import { AF_BOTH, destroyRequest, ESTABLISHED, IPPROTO_UDP, socketsIn, socketsRequest } from '../../control/kernel/sockdiag.ts';
import { reservePorts } from '../../control/kernel/sysctl.ts';

/** What the test made: pinned programs by name below `pins`, a veth, a cgroup, an empty directory for state. */
export interface Prepared {
  readonly pins: string;
  readonly ifindex: number;
  readonly cgroup: string;
  readonly state: string;
}

/** `done`, or the code of the refusal. */
export type Outcome = string;

export const REQUESTS = [
  'load tc.o and its maps',
  'load xdp.o',
  'load sock.o',
  'pin a map',
  'read and write a map',
  'run a program once',
  'attach at a device',
  'attach XDP',
  'attach at the cgroup',
  'reserve ports',
  'destroy a socket',
] as const;
export type Request = (typeof REQUESTS)[number];

const NETLINK_ROUTE = 0;
const NETLINK_SOCK_DIAG = 4;
const BPF_XDP = 37;
const XDP_FLAGS_DRV_MODE = 1 << 2;

const native = loadNative();

function outcome(error: unknown): Outcome {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error);
}

async function destroyOwnSocket(): Promise<void> {
  const socket = createSocket('udp4');
  socket.on('error', () => {});
  socket.connect(9, '127.0.0.1');
  await once(socket, 'connect');
  const diag = native.netlinkOpen(NETLINK_SOCK_DIAG, 0);
  try {
    const [found] = [...socketsIn(native.netlinkRequest(diag, socketsRequest(AF_BOTH[0], IPPROTO_UDP, ESTABLISHED)))];
    native.netlinkRequest(diag, destroyRequest(found!, IPPROTO_UDP));
  } finally {
    native.closeFd(diag);
    socket.close();
  }
}

function attempts({ pins, ifindex, cgroup, state }: Prepared): Record<Request, () => unknown> {
  const pinned = (name: string): number => {
    const descriptor = native.openPin(`${pins}/${name}`);
    if (descriptor === undefined) throw new Error(`${pins}/${name} is not there`);
    return descriptor;
  };
  const own = pinsOf(`${pins}/own`, shapeOf({}), 1);
  mkdirSync(state, { recursive: true });
  const ledger = openLedger(state);
  return {
    'load tc.o and its maps': () => native.load(objectPath('tc'), {}).close(),
    'load xdp.o': () => native.load(objectPath('xdp'), {}).close(),
    'load sock.o': () => native.load(objectPath('sock'), {}).close(),
    'pin a map': () => native.pin(pinned('settings'), `${pins}/again`),
    'read and write a map': () => {
      const key = new Uint8Array(4);
      native.mapUpdate(pinned('settings'), key, native.mapLookup(pinned('settings'), key)!, 0);
    },
    'run a program once': () => native.testRun(pinned('probe_clock'), new Uint8Array(64), {}),
    'attach at a device': async () => {
      const programs = { ingress: pinned('nic_ingress'), egress: pinned('nic_egress') };
      const hooks = openDeviceHooks(native, own, ledger, native.netlinkOpen(NETLINK_ROUTE, 0));
      for (const error of (await hooks.apply([{ ifindex, programs }])).values()) throw error;
      await hooks.apply([]);
    },
    'attach XDP': () => native.closeFd(native.linkCreate(pinned('nic_xdp'), ifindex, BPF_XDP, XDP_FLAGS_DRV_MODE)),
    'attach at the cgroup': () =>
      attachSocketPrograms(
        native,
        own.cgroupLinks,
        cgroup,
        Object.fromEntries(Object.keys(SOCKET_PROGRAMS).map((name) => [name, pinned(name)])),
      ),
    'reserve ports': () => {
      reservePorts(ledger, { first: 20000, last: 20001 });
      reservePorts(ledger, undefined);
    },
    'destroy a socket': destroyOwnSocket,
  };
}

if (process.argv[2] !== undefined) {
  const outcomes: Partial<Record<Request, Outcome>> = {};
  for (const [request, attempt] of Object.entries(attempts(JSON.parse(process.argv[2]) as Prepared)))
    try {
      await attempt();
      outcomes[request as Request] = 'done';
    } catch (error) {
      outcomes[request as Request] = outcome(error);
    }
  console.log(JSON.stringify(outcomes));
}
