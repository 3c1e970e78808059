// Which ports may a masquerade use? A pool, less what is taken on this host, as the bits of the map `snat_ports`; and the pool's
// place in ip_local_reserved_ports, merged with what others wrote there. Pure sets of ports; who reads and writes files is sysctl.ts.

/** A run of ports, both ends inclusive. */
export interface PortRange {
  readonly first: number;
  readonly last: number;
}

const WORD_BITS = 64;
const WORDS = 1024;

/** The words of snat_ports: the pool without the ports in use. */
export function portWords(pool: PortRange, inUse: ReadonlySet<number>): bigint[] {
  const words = new Array<bigint>(WORDS).fill(0n);
  for (let port = pool.first; port <= pool.last; port++) {
    if (inUse.has(port)) continue;
    const index = Math.floor(port / WORD_BITS);
    words[index] = words[index]! | (1n << BigInt(port % WORD_BITS));
  }
  return words;
}

/** The ports of the sysctl's text: `1024,3000-3003`. Throws on text that is none. */
export function parsePorts(text: string): Set<number> {
  const ports = new Set<number>();
  for (const part of text.trim().split(',')) {
    if (part === '') continue;
    const match = /^(\d+)(?:-(\d+))?$/.exec(part.trim());
    if (match === null) throw new Error(`not a list of ports: ${JSON.stringify(text)}`);
    const last = Number(match[2] ?? match[1]);
    for (let port = Number(match[1]); port <= last; port++) ports.add(port);
  }
  return ports;
}

/** The sysctl's text of a set of ports, runs shortened. */
export function portsText(ports: ReadonlySet<number>): string {
  const sorted = [...ports].sort((a, b) => a - b);
  const runs: PortRange[] = [];
  for (const port of sorted) {
    const run = runs.at(-1);
    if (run !== undefined && run.last === port - 1) runs[runs.length - 1] = { first: run.first, last: port };
    else runs.push({ first: port, last: port });
  }
  return runs.map((run) => (run.first === run.last ? `${run.first}` : `${run.first}-${run.last}`)).join(',');
}

/** The ports of a range. */
export function portsOf(range: PortRange): Set<number> {
  const ports = new Set<number>();
  for (let port = range.first; port <= range.last; port++) ports.add(port);
  return ports;
}
