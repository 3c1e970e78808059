// sluice cleanup: everything we made leaves this node, also after a crash; nothing else is touched.

import type { Command } from 'commander';
import { cleanup } from '../kernel/cleanup.ts';
import { LockedError } from '../kernel/datapath.ts';
import { Refusal } from './exits.ts';
import { writeLines } from './output.ts';
import { printable } from './text.ts';
import { configOf, type Environment, type Options, PLACES, verb } from './verb.ts';

/** Removes everything of an agent with this configuration, and says what it was. */
export async function runCleanup(environment: Environment, options: Options): Promise<void> {
  const config = configOf(options);
  let removed: readonly string[];
  try {
    removed = cleanup(environment.native(), config);
  } catch (error) {
    if (error instanceof LockedError) throw new Refusal('alreadyRunning', error.message);
    throw error;
  }
  await writeLines(
    environment.out,
    removed.length === 0 ? ['nothing of ours was here'] : removed.map((what) => `removed ${printable(what)}`),
  );
}

export function cleanupVerb(environment: Environment): Command {
  return verb('cleanup', {
    summary: 'remove programs, maps, pins and every other trace of the agent from this node; connections through them end',
    flags: PLACES,
    examples: ['sluice cleanup', 'sluice cleanup --pin-directory /sys/fs/bpf/node2 --state-directory /run/node2'],
    exits: ['done', 'failed', 'usage', 'precondition', 'alreadyRunning'],
  }).action((options: Options) => runCleanup(environment, options));
}
