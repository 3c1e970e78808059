// Which configuration counts now? The file is read again when it changes and on SIGHUP. What may change while the agent runs does; what
// may not is named, and counts from the next start on; of a file that is wrong nothing counts, and the configuration from before stays.

import { unwatchFile, watchFile } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { type Config, ConfigError } from '../config.ts';
import type { Problem } from '../model/model.ts';
import type { Log } from '../observe/log.ts';

/** How often the file is looked at: a mounted ConfigMap is replaced by links, of which no watch tells. */
const LOOK_MS = 1_000;

/** Fields that count at once. */
type Live = 'xdp' | 'socketExceptions' | 'resetGoneBackends';
const LIVE: ReadonlySet<string> = new Set<Live>(['xdp', 'socketExceptions', 'resetGoneBackends']);

export interface Followed {
  readonly file: string;
  /** Reads it again, flags merged in. Throws ConfigError. */
  readonly read: () => Config;
  /** What counts at the start. */
  readonly config: Config;
  readonly log: Log;
  /** The live fields, when one of them changed. */
  readonly onChange: (config: Pick<Config, Live>) => void;
  /** problems() changed. */
  readonly onProblems: () => void;
}

export interface Reload {
  problems(): readonly Problem[];
  close(): void;
}

/** Follows the file until closed. */
export function followConfig({ file, read, config, log, onChange, onProblems }: Followed): Reload {
  let current = config;
  let problems: readonly Problem[] = [];

  function look(): void {
    let next: Config;
    try {
      next = read();
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      problems = error.faults.map(({ field, given, allowed }) => ({
        object: 'Agent',
        origin: file,
        field,
        reason: 'BadConfig',
        message: `given ${given}; allowed: ${allowed}; the configuration from before counts`,
      }));
      onProblems();
      return;
    }
    if (problems.length > 0) {
      problems = [];
      onProblems();
    }
    const changed = (Object.keys(next) as (keyof Config)[]).filter((field) => !isDeepStrictEqual(next[field], current[field]));
    const fixed = changed.filter((field) => !LIVE.has(field));
    if (fixed.length > 0) log.warn({ file, fields: fixed }, 'these fields changed and count when the agent is started again');
    const live = changed.filter((field) => LIVE.has(field));
    current = next;
    if (live.length === 0) return;
    onChange(next);
    log.info({ file, ...Object.fromEntries(live.map((field) => [field, next[field]])) }, 'configuration changed');
  }

  watchFile(file, { interval: LOOK_MS, persistent: false }, look);
  process.on('SIGHUP', look);
  // What was written while the agent started is not told of.
  queueMicrotask(look);
  return {
    problems: () => problems,
    close() {
      unwatchFile(file, look);
      process.off('SIGHUP', look);
    },
  };
}
