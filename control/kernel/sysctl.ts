// Which settings of the kernel (/proc/sys) does the datapath need, and which does it add to? Only ip_local_reserved_ports is
// written; everything else that does not fit becomes a Problem that says what to do.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import type { Problem } from '../model/model.ts';
import type { Ledger } from './ledger.ts';
import { type PortRange, parsePorts, portsOf, portsText } from './ports.ts';

const RESERVED = 'net.ipv4.ip_local_reserved_ports';

/**
 * Keeps the kernel from giving a pool's port to a socket that asks for any. Ports others reserved stay theirs: the ledger names what we
 * added, and only that is taken back when the pool moves or goes (undefined).
 */
export function reservePorts(ledger: Ledger, pool: PortRange | undefined): void {
  const current = parsePorts(readSysctl(RESERVED));
  const ours = parsePorts(ledger.entries().reservedPorts);
  const others = new Set([...current].filter((port) => !ours.has(port)));
  const wanted = pool === undefined ? new Set<number>() : portsOf(pool);
  const added = new Set([...wanted].filter((port) => !others.has(port)));
  const next = new Set([...others, ...added]);
  // Both lists until the write is done: after a crash in between, cleanup takes back what may be there of either.
  ledger.write({ reservedPorts: portsText(new Set([...ours, ...added])) });
  if (portsText(next) !== portsText(current)) writeSysctl(RESERVED, portsText(next));
  ledger.write({ reservedPorts: portsText(added) });
}

/** What of this node's settings will break Services, and what to do about it. */
export function sysctlProblems(families: { readonly ipv6: boolean }): Problem[] {
  const needed = [
    { name: 'net.ipv4.ip_forward', family: 'IPv4' },
    ...(families.ipv6 ? [{ name: 'net.ipv6.conf.all.forwarding', family: 'IPv6' }] : []),
  ];
  return needed
    .filter(({ name }) => readSysctl(name).trim() === '0')
    .map(({ name, family }) => ({
      object: 'Agent',
      field: name,
      reason: 'ForwardingOff',
      message: `${name} is 0: the kernel forwards no ${family} packet between this node's devices, so Services reach no pod from elsewhere. Run: sysctl -w ${name}=1`,
    }));
}

/** Where deploy/ mounts the node's /proc/sys/net: a container's own /proc/sys is read-only. */
const HOST_SYSCTLS = '/host/proc/sys';

function path(name: string): string {
  const place = existsSync(`${HOST_SYSCTLS}/net/ipv4`) ? HOST_SYSCTLS : '/proc/sys';
  return `${place}/${name.replace(/[./]/g, (sign) => (sign === '.' ? '/' : '.'))}`;
}

/** The value as the kernel shows it. A dot in a device's name is written as a slash, as sysctl(8) has it. The settings under net/ are those of the process's own network namespace, wherever they are mounted. */
export function readSysctl(name: string): string {
  return readFileSync(path(name), 'utf8');
}

function writeSysctl(name: string, value: string): void {
  // An empty write would be no write at all: the newline makes it an empty list.
  writeFileSync(path(name), `${value}\n`);
}
