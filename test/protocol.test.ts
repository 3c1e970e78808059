// The socket between agent and command line: one question, one answer, whatever a peer sends.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import fc from 'fast-check';
import { ask, encodeFrame, FRAME_LIMIT, readFrame, serve } from '../control/observe/protocol.ts';

let directory: string;
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'sluice-protocol-'));
});
after(() => rmSync(directory, { recursive: true }));

/** Two connected sockets. */
async function pair(): Promise<{ left: Socket; right: Socket; close: () => void }> {
  const path = join(directory, `pair-${Math.random().toString(36).slice(2)}`);
  const server = createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
  const left = connect({ path, allowHalfOpen: true });
  const right = await accepted;
  const close = () => {
    left.destroy();
    right.destroy();
    server.close();
  };
  return { left, right, close };
}

/** What a reader makes of some bytes. */
async function reading(bytes: Uint8Array, limit?: number, patienceMs?: number, ends = true): Promise<unknown> {
  const { left, right, close } = await pair();
  try {
    const answer = readFrame(right, limit, patienceMs);
    left.write(bytes);
    if (ends) left.end();
    return await answer;
  } finally {
    close();
  }
}

describe('protocol', () => {
  it('carries a question and its answer, and the socket is for root alone', async () => {
    const path = join(directory, 'agent.sock');
    writeFileSync(path, 'left by a dead agent');
    const server = await serve(path, ({ ask: what }) => ({ what, problems: [{ object: 'Service a/b', message: 'é\x1b[31m' }] }));
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(await ask(path, { ask: 'status' }), { what: 'status', problems: [{ object: 'Service a/b', message: 'é\x1b[31m' }] });
    await server.close();
    assert.equal(await ask(path, { ask: 'status' }), undefined);
  });

  it('an agent whose answer throws says so and goes on', async () => {
    const path = join(directory, 'throws.sock');
    let asked = 0;
    const server = await serve(path, () => {
      if (asked++ === 0) throw new Error('not now');
      return 'now';
    });
    await assert.rejects(ask(path, { ask: 'status' }), /not now/);
    assert.equal(await ask(path, { ask: 'status' }), 'now');
    await server.close();
  });

  it('refuses unknown questions and outlives clients that send nonsense or leave', async () => {
    const path = join(directory, 'hostile.sock');
    const server = await serve(path, () => 'alive');
    const frames = [
      encodeFrame({ ask: 'shutdown' }),
      encodeFrame(null),
      Buffer.from([255, 255, 255, 255, 1]),
      Buffer.from([0, 0, 0, 1, 0xc1]),
      Buffer.alloc(0),
    ];
    for (const frame of frames) {
      const client = connect({ path, allowHalfOpen: true });
      await new Promise((resolve) => client.once('connect', resolve));
      client.end(frame);
      const reply = await readFrame(client);
      assert.ok(typeof reply === 'object' && reply !== null && 'error' in reply, 'answered with an error');
      client.destroy();
    }
    assert.equal(await ask(path, { ask: 'status' }), 'alive');
    await server.close();
  });

  it('reads a frame however it is cut', async () => {
    const value = { text: 'x'.repeat(1000), list: [1, 2, 3] };
    const bytes = encodeFrame(value);
    const { left, right, close } = await pair();
    const answer = readFrame(right);
    for (const byte of bytes) left.write(Buffer.from([byte]));
    assert.deepEqual(await answer, value);
    close();
  });

  it('refuses a length over the limit before it comes', async () => {
    const header = Buffer.alloc(4);
    header.writeUInt32BE(FRAME_LIMIT + 1);
    await assert.rejects(reading(header, FRAME_LIMIT, 5000, false), /over the limit/);
  });

  it('refuses a frame cut short, bytes after it, and silence', async () => {
    const frame = encodeFrame({ ask: 'status' });
    await assert.rejects(reading(frame.subarray(0, -1)), /ended before/);
    await assert.rejects(reading(Buffer.concat([frame, Buffer.from([1])])), /after the end/);
    await assert.rejects(reading(frame.subarray(0, 3), undefined, 20, false), /within 20 ms/);
  });

  it('any bytes are a value or an error, never a crash', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 64 }), async (body) => {
        const header = Buffer.alloc(4);
        header.writeUInt32BE(body.length);
        await reading(Buffer.concat([header, body])).catch((error: unknown) => assert.ok(error instanceof Error));
      }),
      { numRuns: 50 },
    );
  });
});
