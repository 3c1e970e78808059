// What does the agent leave on disk for the command line? The names behind the numbers in the maps and its last status,
// so that `dump` and `status` speak of Services while the agent is dead. Nothing is served from it: losing it loses names only.

import { createHash } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, rmSync, writeSync } from 'node:fs';
import { Packr } from 'msgpackr';

/** First bytes of the file; the digit is the version of what follows. */
const MAGIC = Buffer.from('sluice snapshot 1\n');
const DIGEST_LENGTH = 32;

/** Whose number a frontend id is. */
export interface PortName {
  /** `namespace/name`. */
  readonly service: string;
  /** The Service port's name; empty where it has none. */
  readonly port: string;
}

export interface Snapshot {
  /** When it was written, ms since the epoch. */
  readonly writtenAt: number;
  /** By frontend id. */
  readonly names: ReadonlyMap<number, PortName>;
  /** The agent's last status, as it would have answered. */
  readonly status: unknown;
}

// Records make the many alike rows of a status small; each file is one message and carries its own record definitions.
const packr = new Packr({ useRecords: true, int64AsType: 'number' });

function digest(body: Uint8Array): Buffer {
  return createHash('sha256').update(body).digest();
}

/** Writes the file whole or not at all: beside it first, then renamed. Mode 0600. Throws what the file system throws. */
export function writeSnapshot(path: string, snapshot: Snapshot): void {
  const body = packr.pack({
    writtenAt: snapshot.writtenAt,
    names: [...snapshot.names].map(([id, name]) => [id, name.service, name.port]),
    status: snapshot.status,
  });
  const beside = `${path}.new`;
  try {
    const file = openSync(beside, 'w', 0o600);
    try {
      for (const part of [MAGIC, digest(body), body]) {
        for (let done = 0; done < part.length; ) done += writeSync(file, part, done);
      }
      // Without it a power cut may leave the new name on an empty file.
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, path);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  }
}

type NameRow = [id: number, service: string, port: string];

function isNameRow(row: unknown): row is NameRow {
  return Array.isArray(row) && row.length === 3 && Number.isInteger(row[0]) && typeof row[1] === 'string' && typeof row[2] === 'string';
}

function decode(bytes: Buffer): Snapshot | string {
  if (!bytes.subarray(0, MAGIC.length).equals(MAGIC)) return 'it is no snapshot of this version';
  const body = bytes.subarray(MAGIC.length + DIGEST_LENGTH);
  if (!bytes.subarray(MAGIC.length, MAGIC.length + DIGEST_LENGTH).equals(digest(body))) return 'it is damaged';
  const value: unknown = packr.unpack(body);
  if (typeof value !== 'object' || value === null || !('names' in value) || !('writtenAt' in value)) return 'it holds something else';
  if (!Array.isArray(value.names) || !value.names.every(isNameRow) || typeof value.writtenAt !== 'number') return 'it holds something else';
  const names = new Map(value.names.map(([id, service, port]) => [id, { service, port }]));
  return { writtenAt: value.writtenAt, names, status: 'status' in value ? value.status : undefined };
}

/** Reads the file. Missing, damaged or of another version is not an error: `warning` says so in a sentence. */
export function readSnapshot(path: string): { snapshot: Snapshot | undefined; warning: string | undefined } {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    const missing = error instanceof Error && 'code' in error && error.code === 'ENOENT';
    const why = missing ? 'there is none' : error instanceof Error ? error.message : String(error);
    return { snapshot: undefined, warning: `no snapshot at ${path} (${why}): Services are shown by number` };
  }
  let decoded: Snapshot | string;
  try {
    decoded = decode(bytes);
  } catch (error) {
    decoded = error instanceof Error ? error.message : String(error);
  }
  if (typeof decoded === 'string')
    return { snapshot: undefined, warning: `the snapshot ${path} is not used (${decoded}): Services are shown by number` };
  return { snapshot: decoded, warning: undefined };
}
