// How does everything of ours leave this node? Links and filters, a clsact that we made and nobody else uses, pins, reserved ports, the
// state directory's files; nothing else. May be run again, and after a crash: it looks at what is there, not at what should be.

import { existsSync, readdirSync, rmdirSync, rmSync } from 'node:fs';
import { removeFilters } from './attach.ts';
import { LockedError } from './datapath.ts';
import { openLedger } from './ledger.ts';
import type { Native } from './native.ts';
import { linkOf, linksRequest, messagesIn } from './netlink.ts';
import type { DatapathOptions } from './options.ts';
import { generationsIn, removePins } from './pins.ts';
import { reservePorts } from './sysctl.ts';
import { clsactDevices, qdiscsRequest } from './tc.ts';

const NETLINK_ROUTE = 0;

/** Files of the state directory that are ours, by the rooms that write them. */
const STATE_FILES = ['ledger.json', 'ledger.json.new', 'agent.sock', 'snapshot', 'snapshot.new'] as const;

/** What was removed, a line each, for the person who asked. */
export type Removed = readonly string[];

/**
 * Removes everything that an agent with these options made on this node, in the process's network namespace. Throws where an agent runs with the pin
 * directory. An empty answer: there was nothing.
 */
export function cleanup(native: Native, options: Pick<DatapathOptions, 'pinDirectory' | 'stateDirectory'>): Removed {
  const removed: string[] = [];
  const lock = existsSync(options.pinDirectory) ? native.lock(options.pinDirectory) : undefined;
  if (existsSync(options.pinDirectory) && lock === undefined) {
    throw new LockedError(`an agent runs with the pin directory ${options.pinDirectory}: stop it first`);
  }
  try {
    // Programs before maps: a program that runs keeps its maps whole to its last packet.
    removed.push(...removeLinks(options.pinDirectory), ...removeAllFilters(native, options.stateDirectory));
    if (existsSync(options.pinDirectory)) {
      removePins(options.pinDirectory);
      removed.push(`pins in ${options.pinDirectory}`);
    }
    removed.push(...restoreHost(options.stateDirectory));
  } finally {
    if (lock !== undefined) native.closeFd(lock);
  }
  return removed;
}

function removeLinks(pinDirectory: string): string[] {
  return generationsIn(pinDirectory).flatMap(({ links }) => {
    if (!existsSync(links)) return [];
    const names = readdirSync(links).flatMap((kind) => readdirSync(`${links}/${kind}`).map((name) => `link ${kind} ${name}`));
    removePins(links);
    return names;
  });
}

function removeAllFilters(native: Native, stateDirectory: string): string[] {
  const netlink = native.netlinkOpen(NETLINK_ROUTE, 0);
  try {
    const having = clsactDevices(native.netlinkRequest(netlink, qdiscsRequest()));
    if (having.size === 0) return [];
    const names = new Map<number, string>();
    for (const { body } of messagesIn(native.netlinkRequest(netlink, linksRequest()))) {
      const link = linkOf(body);
      if (link !== undefined) names.set(link.ifindex, link.name);
    }
    return removeFilters(native, openLedger(stateDirectory), netlink, [...having]).map(
      (ifindex) => `filters at ${names.get(ifindex) ?? ifindex}`,
    );
  } finally {
    native.closeFd(netlink);
  }
}

function restoreHost(stateDirectory: string): string[] {
  if (!existsSync(stateDirectory)) return [];
  const removed: string[] = [];
  const ledger = openLedger(stateDirectory);
  const ports = ledger.entries().reservedPorts;
  if (ports !== '') {
    reservePorts(ledger, undefined);
    removed.push(`reserved ports ${ports}`);
  }
  for (const name of STATE_FILES) {
    if (!existsSync(`${stateDirectory}/${name}`)) continue;
    rmSync(`${stateDirectory}/${name}`);
    removed.push(`${stateDirectory}/${name}`);
  }
  // Somebody else's files in it are somebody else's.
  if (readdirSync(stateDirectory).length === 0) removeEmpty(stateDirectory);
  return removed;
}

/** In a container it is where a volume is mounted, and the volume's own directory out of reach: an empty one is left on the node. */
function removeEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    if (code !== 'EBUSY' && code !== 'EROFS') throw error;
  }
}
