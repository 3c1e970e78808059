// What do all verbs share? The options that say where the agent's state is, and the shape of their help.

import type { Writable } from 'node:stream';
import { Command, Option } from 'commander';
import { FLAGS, type FlagValue } from '../config/flags.ts';
import { type Config, ConfigError, readConfig } from '../config.ts';
import type { Maps } from '../kernel/maps.ts';
import type { Native } from '../kernel/native.ts';
import { type ExitName, exitHelp, Refusal } from './exits.ts';

/** What a verb reaches of the world; tests give another one. */
export interface Environment {
  readonly out: Writable;
  readonly err: Writable;
  /** The addon. Throws where it is not built. */
  readonly native: () => Native;
  /** The maps pinned under a directory; undefined where there are none. */
  readonly pinnedMaps: (pinDirectory: string) => Maps | undefined;
  readonly monotonicNs: () => bigint;
  readonly now: () => number;
}

/** Options as commander gives them: by flag name in camel case. */
export type Options = Readonly<Record<string, FlagValue>>;

function camel(flag: string): string {
  return flag.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function append(text: string, before: readonly string[] = []): readonly string[] {
  return [...before, text];
}

/** Adds flags of the configuration by name, and `--config`. */
export function addFlags(command: Command, names: readonly string[]): Command {
  command.option('--config <FILE>', 'configuration file (KubeProxyConfiguration v1alpha1 with a section "sluice")');
  for (const flag of FLAGS) {
    if (!names.includes(flag.name)) continue;
    const words = flag.name.length === 1 ? `-${flag.name}, --${flag.name}` : `--${flag.name}`;
    // kube-proxy: a switch may be written --switch=true, and a list in several flags.
    const several = flag.form === 'list' || flag.form === 'sizes';
    const option = new Option(flag.argument === undefined ? `${words} [true|false]` : `${words} <${flag.argument}>`, flag.description);
    command.addOption(several ? option.argParser(append) : option);
  }
  return command;
}

/** The configuration's file, where one is given. */
export function configFileOf(options: Options): string | undefined {
  return typeof options.config === 'string' ? options.config : undefined;
}

/** The validated configuration behind a verb's options, read now. Throws ConfigError. */
export function readOptions(options: Options): Config {
  const flags: Record<string, FlagValue> = {};
  for (const { name } of FLAGS) flags[name] = options[camel(name)];
  return readConfig(flags, configFileOf(options));
}

/** Likewise. Refuses with every wrong field. */
export function configOf(options: Options): Config {
  try {
    return readOptions(options);
  } catch (error) {
    if (error instanceof ConfigError) throw new Refusal('usage', error.message);
    throw error;
  }
}

/** A verb with its flags, examples and exit codes in its help. */
export function verb(
  name: string,
  parts: { summary: string; flags: readonly string[]; examples: readonly string[]; exits: readonly ExitName[] },
): Command {
  const command = new Command(name).description(parts.summary).allowExcessArguments(false);
  addFlags(command, parts.flags);
  const examples = ['Examples:', ...parts.examples.map((example) => `  ${example}`)].join('\n');
  return command.addHelpText('after', `\n${examples}\n\n${exitHelp(parts.exits)}`);
}

/** Flags that say where state is: every verb has them. */
export const PLACES = ['pin-directory', 'state-directory'] as const;

/** Writes one line for people beside the output. */
export function note(environment: Environment, text: string): void {
  environment.err.write(`sluice: ${text}\n`);
}
