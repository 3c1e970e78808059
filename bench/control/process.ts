// What does a process take? Its anonymous resident memory: what nobody else has and nothing can be read again for.

import { readFileSync } from 'node:fs';

/** RssAnon of a process, in MiB. */
export function anonymousMiB(pid: number): number {
  const kiB = /^RssAnon:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  if (kiB === undefined) throw new Error(`/proc/${pid}/status has no RssAnon`);
  return Number(kiB) / 1024;
}
