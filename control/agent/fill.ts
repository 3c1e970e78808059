// How full are the maps? From what the plan and the sweep over the flows know already; the tables that nobody else counts are walked in
// pieces, at most once a minute and only while somebody asks.

import type { Agent } from '../agent.ts';
import type { Datapath } from '../kernel/datapath.ts';
import type { MapStatus } from '../kernel/status.ts';
import type { FlowCounts } from '../kernel/tally.ts';
import type { MapFill } from '../observe/node-metrics.ts';

const WALK_MS = 60_000;

/** What counts. */
export interface Counted {
  readonly agent: Pick<Agent, 'entries'>;
  readonly datapath: Pick<Datapath, 'maps' | 'fill'>;
  readonly flows: FlowCounts | undefined;
}

export interface Fill {
  /** Waits for the first walk, and from then on tells of the last one. */
  maps(): Promise<ReadonlyMap<string, MapFill>>;
  /** Ports that a masquerade may use. */
  snatPorts(): number | undefined;
}

function bits(word: bigint): number {
  let count = 0;
  for (let rest = word; rest > 0n; rest &= rest - 1n) count++;
  return count;
}

export function openFill(counted: () => Counted | undefined, clock: () => number = () => performance.now()): Fill {
  let walked: readonly MapStatus[] | undefined;
  let walking: Promise<void> | undefined;
  let walkedAt = Number.NEGATIVE_INFINITY;
  let ports: number | undefined;
  let failure: unknown;

  const walk = async ({ agent, datapath }: Counted) => {
    walkedAt = clock();
    const known = new Set([...(agent.entries()?.keys() ?? []), 'flows4', 'flows6']);
    walked = await datapath.fill((name) => !known.has(name));
    ports = [...datapath.maps.snat_ports.entries()].reduce((sum, [, word]) => sum + bits(word), 0);
  };

  return {
    async maps() {
      const now = counted();
      const fill = new Map<string, MapFill>();
      if (now === undefined) return fill;
      if (walking === undefined && clock() - walkedAt >= WALK_MS)
        walking = walk(now)
          .then(
            () => {
              failure = undefined;
            },
            (error: unknown) => {
              failure = error;
            },
          )
          .finally(() => {
            walking = undefined;
          });
      if (walked === undefined) await walking;
      // Whoever asks is told, and asks again.
      if (failure !== undefined) throw failure;
      for (const { name, entries, maxEntries } of walked ?? []) fill.set(name, { entries, maxEntries });
      const { maps } = now.datapath;
      for (const [name, entries] of now.agent.entries() ?? []) {
        const map = maps[name as keyof typeof maps];
        fill.set(name, { entries, maxEntries: 'length' in map ? map.length : map.maxEntries });
      }
      if (now.flows !== undefined) {
        fill.set('flows4', { entries: now.flows.entries[4], maxEntries: maps.flows4.maxEntries });
        fill.set('flows6', { entries: now.flows.entries[6], maxEntries: maps.flows6.maxEntries });
      }
      return fill;
    },
    snatPorts: () => ports,
  };
}
