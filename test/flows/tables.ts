// All tables, and the verdicts that no row can show. Which runner takes which is in runs.ts.
import type { Table } from '../lib/flow.ts';
import { affinity } from './affinity.ts';
import { faulty } from './faults.ts';
import { masquerade, masqueradeAll } from './masquerade.ts';
import { policy } from './policy.ts';
import { precedence } from './precedence.ts';
import { callsEverywhere, rangesEverywhere } from './ranges.ts';
import { shapes } from './shapes.ts';
import { sockets } from './sockets.ts';

/** Plain packets. */
export const packets: readonly Table[] = [policy, masquerade, precedence, affinity];
export { affinity, callsEverywhere, faulty, masquerade, masqueradeAll, policy, precedence, rangesEverywhere, shapes, sockets };
export const tables: readonly Table[] = [...packets, masqueradeAll, shapes, faulty, sockets, rangesEverywhere, callsEverywhere];

/** Verdicts that no row names, and why. */
export const unnamed: Readonly<Record<string, string>> = {
  VERDICT_CONTINUE: 'not an outcome',
  VERDICT_COUNT: 'not an outcome',
  PASS_TO_TC: 'of the XDP hook; tc then decides as the rows say',
  PASS_OWN: 'of the second hook on the way of every packet that we send; the program runner requires it there',
  PASS_REPLY: 'of the reply of every row that is translated for the stack; the program runner requires it there',
  TRANSLATE_REPLY: 'of the same replies at the egress towards the client',
  FORWARD_REPLY: 'of the reply of every row that is forwarded',
  TRANSLATE_SOCKET_REPLY: 'of the reply of every row at the socket hook; the wire runner requires the frontend as its source',
  PASS_SELF_TEST: "of the agent's own probe, which is no flow",
  DROP_NOT_WRITABLE: 'the kernel refuses no rewrite of a packet that was parsed; the branch is there because a helper can fail',
};
