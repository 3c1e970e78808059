// sluice: which verb was asked for, and with which code does it end?

import { realpathSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { Command, CommanderError } from 'commander';
import { agentVerb } from './cli/agent.ts';
import { checkVerb } from './cli/check.ts';
import { cleanupVerb } from './cli/cleanup.ts';
import { dumpVerb } from './cli/dump.ts';
import { EXITS, exitHelp, Refusal } from './cli/exits.ts';
import { explainVerb } from './cli/explain.ts';
import { statusVerb } from './cli/status.ts';
import { printable } from './cli/text.ts';
import type { Environment } from './cli/verb.ts';
import { loadNative } from './kernel/addon.ts';
import { KernelError } from './kernel/maps.ts';
import { openPinnedMaps } from './kernel/pins.ts';

function isForbidden(error: unknown): error is Error {
  return error instanceof Error && 'code' in error && (error.code === 'EACCES' || error.code === 'EPERM');
}

/** A plain Error is a sentence for people. TypeError, RangeError and the like are bugs and keep their stack. */
function textOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const told = error.constructor === Error || error instanceof KernelError;
  return told ? error.message : (error.stack ?? error.message);
}

/** Runs one command line (without node and script) and returns its exit code. Never throws what a user can cause. */
export async function run(words: readonly string[], environment: Environment): Promise<number> {
  const program = new Command('sluice')
    .description('Kubernetes Services on a node, carried by eBPF')
    .addHelpText(
      'after',
      `\nExamples:\n  sluice agent --manifests /etc/sluice/manifests\n  sluice status\n  sluice explain --from 10.244.1.7 --to 10.96.0.10:53/udp\n\n${exitHelp(['done', 'failed', 'usage', 'notRunning', 'precondition', 'alreadyRunning', 'nothingPinned'])}`,
    );
  for (const verb of [agentVerb, dumpVerb, statusVerb, explainVerb, checkVerb, cleanupVerb]) program.addCommand(verb(environment));
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => environment.out.write(text),
      writeErr: (text) => environment.err.write(text),
    });
  }
  try {
    await program.parseAsync(words, { from: 'user' });
    return EXITS.done.code;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXITS.done.code : EXITS.usage.code;
    if (error instanceof Refusal) {
      for (const text of error.message.split('\n')) environment.err.write(`sluice: ${text}\n`);
      return EXITS[error.exit].code;
    }
    if (isForbidden(error)) {
      environment.err.write(`sluice: ${printable(error.message)}: run as root\n`);
      return EXITS.precondition.code;
    }
    environment.err.write(`sluice: ${textOf(error).split('\n').map(printable).join('\n')}\n`);
    return EXITS.failed.code;
  }
}

// The image has a symbolic link to it in its path.
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  // `sluice --help | head`: a reader that has left is not an error.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  process.exitCode = await run(process.argv.slice(2), {
    out: process.stdout,
    err: process.stderr,
    native: loadNative,
    pinnedMaps: (pinDirectory) => openPinnedMaps(loadNative(), pinDirectory),
    monotonicNs: process.hrtime.bigint,
    now: Date.now,
  });
}
