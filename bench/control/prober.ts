// When does a Service answer, and who? Asked from a pod, again and again, until the backend that is waited for answers at every address;
// then its parent is told the time. One process for all questions: starting one takes longer than an answer.

import { connect } from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';

/** Wait until `backend` answers at all of them; without one, until nobody does. */
export interface Question {
  readonly addresses: readonly string[];
  readonly port: number;
  readonly backend?: string;
}

export interface Answer {
  /** Clock of all processes of this machine, ms. */
  readonly at: number;
}

/** A SYN that was dropped is sent again after a second: we do not wait for that. */
const PATIENCE_MS = 25;
/** Between two questions to one address. */
const SPACING_MS = 1;

export function now(): number {
  return performance.timeOrigin + performance.now();
}

/** The name that the backend answers with; undefined: nobody answered. */
function askOnce(address: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const end = (name: string | undefined) => {
      clearTimeout(timer);
      // No TIME_WAIT: ports would run out.
      socket.resetAndDestroy();
      resolve(name);
    };
    const timer = setTimeout(() => end(undefined), PATIENCE_MS);
    socket.on('connect', () => socket.write('x\n'));
    socket.on('data', (text) => end(String(text).split(' ')[1]));
    socket.on('error', () => end(undefined));
  });
}

async function waitFor(address: string, { port, backend }: Question): Promise<void> {
  while ((await askOnce(address, port)) !== backend) await pause(SPACING_MS);
}

if (process.send !== undefined) {
  process.on('message', async (question: Question) => {
    await Promise.all(question.addresses.map((address) => waitFor(address, question)));
    process.send!({ at: now() } satisfies Answer);
  });
  process.on('disconnect', () => process.exit());
  process.send({ at: now() } satisfies Answer);
}
