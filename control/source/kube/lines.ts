// How does a stream of bytes become lines? A watch sends one JSON value a line; the pieces that arrive end anywhere.

/** Longer lines are no Kubernetes object: etcd takes 1.5 MB, and an object is not read twice as large. */
const LINE_BYTES_MOST = 16 * 1024 * 1024;
const NEWLINE = 10;

/** A line, or a whole answer, that is not what the API promises. The message is a sentence. */
export class BrokenLine extends Error {}

export interface Lines {
  /** Hands every line that ends in this piece to `each`. Throws a BrokenLine where one has no end, and what `each` throws. */
  push(piece: Uint8Array, each: (line: string) => void): void;
}

/** Lines from now on. Empty ones are left out. */
export function splitLines(): Lines {
  let begun: Buffer[] = [];
  let begunBytes = 0;
  return {
    push(piece, each) {
      const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
      let from = 0;
      for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
        const last = bytes.subarray(from, end);
        from = end + 1;
        const line = begun.length === 0 ? last.toString('utf8') : Buffer.concat([...begun, last]).toString('utf8');
        begun = [];
        begunBytes = 0;
        if (line.trim() !== '') each(line);
      }
      if (from === bytes.length) return;
      // A copy: the piece belongs to whoever read it from the socket.
      begun.push(Buffer.from(bytes.subarray(from)));
      begunBytes += bytes.length - from;
      if (begunBytes > LINE_BYTES_MOST) throw new BrokenLine(`a line of more than ${LINE_BYTES_MOST} bytes`);
    },
  };
}
