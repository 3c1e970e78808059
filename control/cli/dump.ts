// sluice dump: what do the maps hold? Reads the pinned maps directly, so it works while the agent is dead.

import { Argument, type Command, Option } from 'commander';
import { parseAddress } from '../address.ts';
import { snapshotPath } from '../observe/paths.ts';
import { readSnapshot } from '../observe/snapshot.ts';
import { dumpLines, type Filter, type Format } from './dump-lines.ts';
import { Refusal } from './exits.ts';
import { writeLines } from './output.ts';
import type { Context } from './sections/section.ts';
import { SECTIONS } from './sections/sections.ts';
import { endpointText, printable } from './text.ts';
import { configOf, type Environment, note, type Options, PLACES, verb } from './verb.ts';

const FORMATS: readonly Format[] = ['table', 'json', 'yaml'];

function wrong(option: string, given: string, allowed: string): Refusal {
  return new Refusal('usage', `${option}: given "${printable(given)}"; allowed: ${allowed}`);
}

/** `10.0.0.1`, `10.0.0.1:80`, `fd00::1`, `[fd00::1]:80` in the spelling of the dump. */
function canonicalBackend(text: string): string | undefined {
  const whole = parseAddress(text);
  if (whole !== undefined) return whole;
  const parts = /^\[?([^[\]]+)\]?:(\d{1,5})$/.exec(text);
  const address = parts === null ? undefined : parseAddress(parts[1] ?? '');
  return address === undefined ? undefined : endpointText(address, Number(parts?.[2]));
}

/** The filter behind the options. Refuses what can match nothing. */
export function filterOf(options: Options): Filter {
  const filter: { service?: string; address?: string; backend?: string } = {};
  const { service, address, backend } = options;
  if (typeof service === 'string') {
    if (!/^[^/]+\/[^/]+$/.test(service)) throw wrong('--service', service, 'namespace/name');
    filter.service = service;
  }
  if (typeof address === 'string') {
    filter.address = parseAddress(address);
    if (filter.address === undefined) throw wrong('--address', address, 'an IP address');
  }
  if (typeof backend === 'string') {
    filter.backend = canonicalBackend(backend);
    if (filter.backend === undefined) throw wrong('--backend', backend, 'an IP address, or address:port');
  }
  return filter;
}

async function dump(environment: Environment, table: string, options: Options): Promise<void> {
  const filter = filterOf(options);
  const config = configOf(options);
  const maps = environment.pinnedMaps(config.pinDirectory);
  if (maps === undefined) throw new Refusal('nothingPinned', `no maps are pinned in ${config.pinDirectory}`);
  const { snapshot, warning } = readSnapshot(snapshotPath(config.stateDirectory));
  if (filter.service !== undefined && snapshot === undefined) throw new Refusal('nothingPinned', `--service needs names; ${warning}`);
  if (warning !== undefined) note(environment, warning);
  const context: Context = { maps, names: snapshot?.names ?? new Map(), monotonicNs: environment.monotonicNs };
  const sections = table === 'all' ? SECTIONS : SECTIONS.filter((section) => section.name === table);
  await writeLines(environment.out, dumpLines(sections, context, filter, options.output as Format));
}

export function dumpVerb(environment: Environment): Command {
  const tables = [...SECTIONS.map((section) => section.name), 'all'];
  return verb('dump', {
    summary: 'print what the kernel maps hold, with or without a running agent',
    flags: PLACES,
    examples: [
      'sluice dump frontends',
      'sluice dump all -o json',
      'sluice dump conntrack --service default/web',
      'sluice dump slices --backend 10.244.1.5:8080',
    ],
    exits: ['done', 'failed', 'usage', 'precondition', 'nothingPinned'],
  })
    .addArgument(new Argument('[table]', 'what to print').choices(tables).default('all'))
    .addOption(new Option('-o, --output <FORMAT>', 'for people or for programs').choices(FORMATS).default('table'))
    .option('--service <NAMESPACE/NAME>', 'only rows about this Service')
    .option('--address <ADDRESS>', 'only rows with this address')
    .option('--backend <ADDRESS[:PORT]>', 'only rows with this backend')
    .action((table: string, options: Options) => dump(environment, table, options));
}
