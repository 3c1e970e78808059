// What did we change on this host that no pin remembers? A file beside the agent's state, written before each change, so that
// `cleanup` undoes exactly that, also after a crash.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { z } from 'zod';

const FILE = 'ledger.json';

const shape = z.object({
  /** Ports that we added to ip_local_reserved_ports, in its own spelling. */
  reservedPorts: z.string(),
  /** ifindex of the devices whose clsact is ours. */
  clsact: z.array(z.number()),
});

export type LedgerEntries = z.infer<typeof shape>;

const EMPTY: LedgerEntries = { reservedPorts: '', clsact: [] };

export interface Ledger {
  entries(): LedgerEntries;
  /** Replaces members; on disk when it returns. */
  write(changes: Partial<LedgerEntries>): void;
  /** Removes the file. */
  remove(): void;
}

/** Opens the ledger of a state directory; an absent file is an empty ledger. Throws where the file is not a ledger. */
export function openLedger(stateDirectory: string): Ledger {
  const path = `${stateDirectory}/${FILE}`;
  let entries = read(path);
  return {
    entries: () => entries,
    write(changes) {
      const next = { ...entries, ...changes };
      if (JSON.stringify(next) === JSON.stringify(entries)) return;
      mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
      writeFileSync(`${path}.new`, JSON.stringify(next), { mode: 0o600, flush: true });
      renameSync(`${path}.new`, path);
      entries = next;
    },
    remove() {
      rmSync(path, { force: true });
      entries = EMPTY;
    },
  };
}

function read(path: string): LedgerEntries {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return EMPTY;
    throw error;
  }
  try {
    return shape.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error(`${path} is damaged: it lists what must be undone on this host (reserved ports, clsact). Look at it, then remove it`, {
      cause,
    });
  }
}
