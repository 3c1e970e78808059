// What became of those that asked for each Service? The datapath counts by Service port for as long as the port has an id; here it is summed by
// Service, for as many Services as a scrape can bear, and never falls while a Service is there.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { ServiceCount } from '../abi/layout.gen.ts';
import type { TypedMap } from '../kernel/maps.ts';

/** Entries read before the event loop turns: less than a millisecond. */
const PAGE = 512;
/** The first so many Services that are asked for have a name in the metrics; the others are counted together under none. */
const SERVICES_NAMED = 200;

/** Under the words of the metrics: flows are given a backend, the others are verdicts. */
export type Outcome = 'flows' | 'REJECT_NO_ENDPOINTS' | 'DROP_NO_LOCAL_BACKEND' | 'DROP_SOURCE_RANGE' | 'other';
export type OutcomeCounts = Record<Outcome, number>;

export interface ServiceCounts {
  /** Reads the map and adds what is new. By `namespace/name`; the empty name is all others. Throws KernelError. */
  read(): Promise<ReadonlyMap<string, Readonly<OutcomeCounts>>>;
}

function nothing(): OutcomeCounts {
  return { flows: 0, REJECT_NO_ENDPOINTS: 0, DROP_NO_LOCAL_BACKEND: 0, DROP_SOURCE_RANGE: 0, other: 0 };
}

function countsOf(entry: ServiceCount): OutcomeCounts {
  return {
    flows: Number(entry.flows),
    REJECT_NO_ENDPOINTS: Number(entry.no_endpoints),
    DROP_NO_LOCAL_BACKEND: Number(entry.no_local_backend),
    DROP_SOURCE_RANGE: Number(entry.source_range),
    other: Number(entry.others),
  };
}

/** serviceOf: the Service behind a frontend id; undefined: none any more, its entry is deleted. */
export function openServiceCounts(
  map: TypedMap<number, ServiceCount>,
  serviceOf: (frontend: number) => string | undefined,
  named: number = SERVICES_NAMED,
): ServiceCounts {
  const sums = new Map<string, OutcomeCounts>([['', nothing()]]);
  let before = new Map<number, OutcomeCounts>();

  const sumOf = (service: string): OutcomeCounts => {
    let sum = sums.get(service);
    if (sum !== undefined) return sum;
    if (sums.size > named) return sums.get('')!;
    sum = nothing();
    sums.set(service, sum);
    return sum;
  };

  return {
    async read() {
      const now = new Map<number, OutcomeCounts>();
      const there = new Set<string>();
      for (const page of map.pages(PAGE)) {
        for (const [frontend, entry] of page) {
          const service = serviceOf(frontend);
          if (service === undefined) {
            map.delete(frontend);
            continue;
          }
          there.add(service);
          const counts = countsOf(entry);
          const last = before.get(frontend);
          const sum = sumOf(service);
          for (const outcome of Object.keys(counts) as Outcome[]) sum[outcome] += counts[outcome] - (last?.[outcome] ?? 0);
          now.set(frontend, counts);
        }
        await nextTurn();
      }
      before = now;
      // Its name may be another's from now on.
      for (const service of sums.keys()) if (service !== '' && !there.has(service)) sums.delete(service);
      return sums;
    },
  };
}
