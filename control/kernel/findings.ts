// What is not as it must be on this node? The words in which whoever looks tells it: what was found, what should be there, what repairs it.

import { frontendText } from '../compile/claims.ts';
import type { Change, Changes } from './diff.ts';
import { type Held, rangeText } from './held.ts';

export interface Finding {
  /** `drift`: the kernel does not hold what it must. `warning`: it does, and something is in the way or will be. */
  readonly kind: 'drift' | 'warning';
  /** `map frontends4 10.96.0.10:80/6`, `device eth0 ingress`, `sysctl net.ipv4.ip_forward`. */
  readonly where: string;
  readonly found: string;
  readonly wanted: string;
  /** Who repairs it and when, or what to do. */
  readonly repair: string;
}

const BY_VERIFY = 'the agent, when it compares all maps: within 5 minutes; at once when it is started again';

interface Entry {
  readonly map: string;
  readonly key: string;
  readonly found: 'missing' | 'other contents' | 'not wanted';
}

function* entriesOf(change: Change, held: Held): Generator<Entry> {
  if ('fill' in change) {
    const end = change.first + change.ids.length - 1;
    yield { map: 'slots', key: `${change.first}-${end}`, found: 'other contents' };
    return;
  }
  const family = change.family;
  if ('delete' in change) {
    const map = `${change.delete}${family}`;
    if (change.delete === 'frontends') for (const key of change.keys) yield { map, key: frontendText(key), found: 'not wanted' };
    else if (change.delete === 'addresses') for (const key of change.keys) yield { map, key, found: 'not wanted' };
    else for (const key of change.keys) yield { map, key: rangeText(key), found: 'not wanted' };
    return;
  }
  const map = `${change.write}${family}`;
  const there = held.entries[family];
  const told = (key: string, has: boolean): Entry => ({ map, key, found: has ? 'other contents' : 'missing' });
  if (change.write === 'frontends')
    for (const [key] of change.entries) yield told(frontendText(key), there.frontends.has(frontendText(key)));
  else if (change.write === 'backends') for (const [id] of change.entries) yield told(String(id), there.backends.get(id) !== undefined);
  else if (change.write === 'addresses') for (const [key] of change.entries) yield told(key, there.addresses.has(key));
  else for (const [key] of change.entries) yield told(rangeText(key), there.source_ranges.has(rangeText(key)));
}

/** A difference between held and plan, entry by entry. */
export function mapFindings(changes: Changes, held: Held): Finding[] {
  const findings: Finding[] = [];
  for (const change of changes) {
    for (const { map, key, found } of entriesOf(change, held)) {
      const wanted = found === 'not wanted' ? 'no entry' : found === 'missing' ? 'an entry' : 'what the objects say';
      findings.push({ kind: 'drift', where: `map ${map} ${key}`, found, wanted, repair: BY_VERIFY });
    }
  }
  return findings;
}
