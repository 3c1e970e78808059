// How does text leave the process? In bounded pieces, waiting for the reader; a reader that has left is not an error.

import { once } from 'node:events';
import type { Writable } from 'node:stream';

const PIECE = 64 * 1024;

function isGone(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'EPIPE' || error.code === 'ERR_STREAM_DESTROYED');
}

/** Writes lines, each ended by a newline. Resolves when all are written or the reader is gone (`| head`). Other write errors are thrown. */
export async function writeLines(out: Writable, lines: Iterable<string>): Promise<void> {
  let failure: unknown;
  const onError = (error: unknown) => {
    failure ??= error;
  };
  out.on('error', onError);
  try {
    let piece = '';
    const flush = async () => {
      if (piece === '' || failure !== undefined) return;
      const full = !out.write(piece);
      piece = '';
      // once() rejects on 'error', which onError has then seen as well.
      if (full && !out.destroyed) await once(out, 'drain').catch(onError);
    };
    for (const text of lines) {
      piece += `${text}\n`;
      if (piece.length >= PIECE) await flush();
      if (failure !== undefined) break;
    }
    await flush();
    // An error of the last write is told one turn later.
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    // The listener stays when the reader is gone: a late EPIPE must not end the process.
    if (failure === undefined) out.off('error', onError);
  }
  if (failure !== undefined && !isGone(failure)) throw failure;
}
