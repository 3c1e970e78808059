// How do the agent and the command line talk? Over a unix socket that only root may open, in frames of a length and one
// msgpackr value; one question, one answer, then the connection ends.

import { chmodSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { Packr } from 'msgpackr';
import type { Destination, ServiceName } from '../model/account.ts';

/** Longest frame either side accepts, in bytes: a hostile length must not make us allocate. */
export const FRAME_LIMIT = 64 * 1024 * 1024;
/** Questions are small. */
const QUESTION_LIMIT = 64 * 1024;
/** A peer that does not finish its frame in this time is cut off. */
const PATIENCE_MS = 10_000;

const HEADER = 4;

/** What can be asked: how the agent is; what bears upon a connection to a destination; what is not as it must be. */
export type Question =
  | { readonly ask: 'status' }
  | { readonly ask: 'findings' }
  | { readonly ask: 'account'; readonly to: Destination | ServiceName };

type Answer = { readonly answer: unknown } | { readonly error: string };

// Records are off: they would make a frame depend on the frames before it.
const packr = new Packr({ useRecords: false, int64AsType: 'number' });

/** A value as one frame: its length in four bytes, big end first, then msgpack. */
export function encodeFrame(value: unknown): Buffer {
  const body = packr.pack(value);
  const frame = Buffer.allocUnsafe(HEADER + body.length);
  frame.writeUInt32BE(body.length, 0);
  body.copy(frame, HEADER);
  return frame;
}

/** Reads exactly one frame. Rejects on a frame over the limit, on bytes that are no msgpack, on an early end and on silence. */
export function readFrame(socket: Socket, limit: number = FRAME_LIMIT, patienceMs: number = PATIENCE_MS): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const pieces: Buffer[] = [];
    let have = 0;
    let want = -1;
    const finish = (end: () => void) => {
      clearTimeout(timer);
      socket.off('data', onData).off('end', onEnd).off('error', onError).off('close', onEnd);
      end();
    };
    const fail = (message: string) => finish(() => reject(new Error(message)));
    const timer = setTimeout(() => fail(`no whole message within ${patienceMs} ms`), patienceMs);
    const onError = (error: Error) => finish(() => reject(error));
    const onEnd = () => fail('the connection ended before the message did');
    const onData = (piece: Buffer) => {
      pieces.push(piece);
      have += piece.length;
      if (want < 0 && have >= HEADER) {
        want = Buffer.concat(pieces).readUInt32BE(0);
        if (want > limit) return fail(`a message of ${want} bytes is over the limit of ${limit}`);
      }
      if (want < 0 || have < HEADER + want) return;
      if (have > HEADER + want) return fail('bytes after the end of the message');
      const body = Buffer.concat(pieces).subarray(HEADER);
      finish(() => {
        try {
          resolve(packr.unpack(body));
        } catch (error) {
          reject(new Error(`the message is no msgpack: ${error instanceof Error ? error.message : String(error)}`));
        }
      });
    };
    socket.on('data', onData).on('end', onEnd).on('error', onError).on('close', onEnd);
  });
}

function isTarget(value: unknown): value is Destination | ServiceName {
  if (typeof value !== 'object' || value === null) return false;
  if ('service' in value)
    return typeof value.service === 'string' && 'portName' in value && typeof value.portName === 'string' && 'family' in value;
  if (!('address' in value && 'port' in value && 'protocol' in value)) return false;
  return typeof value.address === 'string' && typeof value.port === 'number' && (value.protocol === 'TCP' || value.protocol === 'UDP');
}

function isQuestion(value: unknown): value is Question {
  if (typeof value !== 'object' || value === null || !('ask' in value)) return false;
  return value.ask === 'status' || value.ask === 'findings' || (value.ask === 'account' && 'to' in value && isTarget(value.to));
}

async function converse(socket: Socket, answer: (question: Question) => unknown): Promise<void> {
  let reply: Answer;
  try {
    const question = await readFrame(socket, QUESTION_LIMIT);
    reply = isQuestion(question) ? { answer: await answer(question) } : { error: 'unknown question' };
  } catch (error) {
    reply = { error: error instanceof Error ? error.message : String(error) };
  }
  if (!socket.destroyed) socket.end(encodeFrame(reply));
}

/** Opens the agent's end. A socket file left by a dead agent is replaced: the caller holds the node's lock. Close it to remove the file. */
export function serve(path: string, answer: (question: Question) => unknown): Promise<{ close(): Promise<void> }> {
  rmSync(path, { force: true });
  const open = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    open.add(socket);
    socket.on('close', () => open.delete(socket));
    // A client that leaves in the middle is its own business.
    socket.on('error', () => socket.destroy());
    void converse(socket, answer);
  });
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    // Between bind and chmod nobody else may connect: the mask makes the file 0600 from its first moment.
    const mask = process.umask(0o177);
    try {
      server.listen(path, () => {
        chmodSync(path, 0o600);
        server.off('error', reject);
        resolve({
          close: () =>
            new Promise((closed) => {
              for (const socket of open) socket.destroy();
              server.close(() => closed());
            }),
        });
      });
    } finally {
      process.umask(mask);
    }
  });
}

/** Asks the running agent. Undefined when none listens there; rejects when it answers with an error or with nonsense. */
export async function ask(path: string, question: Question): Promise<unknown> {
  const socket = await new Promise<Socket | undefined>((resolve, reject) => {
    const attempt = connect({ path, allowHalfOpen: true });
    attempt.once('connect', () => resolve(attempt));
    attempt.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') resolve(undefined);
      else reject(error);
    });
  });
  if (socket === undefined) return undefined;
  try {
    socket.write(encodeFrame(question));
    const reply = await readFrame(socket);
    if (typeof reply !== 'object' || reply === null) throw new Error('the agent answered with something else than a record');
    if ('error' in reply) throw new Error(String(reply.error));
    if (!('answer' in reply)) throw new Error('the agent answered with neither an answer nor an error');
    return reply.answer;
  } finally {
    socket.destroy();
  }
}
