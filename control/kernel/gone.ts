// Which connections lead to a backend that is gone for good? Their entries are marked, and the datapath answers the next packet of
// either end with RST (semantics 9.4). A backend that drains is still listed, and nothing happens to its connections.

import { type Backend4, type Backend6, type Flow4, type Flow6, FlowFlag, type FlowKey4, type FlowKey6 } from '../abi/layout.gen.ts';
import type { TypedMap } from './maps.ts';

/** How long a backend must be in no slice before its connections are reset: slices may be rewritten in several steps. */
export const GONE_MS = 30_000;

const TCP = 6;

export interface GoneBackends {
  /** Starts a look at one family's flows: the returned function is called with every flow that lives on. */
  sweep<K extends FlowKey4 | FlowKey6, V extends Flow4 | Flow6>(
    flows: TypedMap<K, V>,
    backends: TypedMap<number, Backend4 | Backend6>,
  ): (key: K, flow: V) => void;
  /** Flow entries marked so far. */
  marked(): number;
}

/** clock: monotonic, in ms. Times start anew with the agent. */
export function openGoneBackends(clock: () => number): GoneBackends {
  /** Since when each backend that flows name is known to be gone: by map, then by id and generation. */
  const known = new Map<string, ReadonlyMap<string, number>>();
  let marked = 0;
  return {
    marked: () => marked,
    sweep(flows, backends) {
      const now = clock();
      const before = known.get(backends.name);
      const since = new Map<string, number>();
      known.set(backends.name, since);
      const alive = new Set<string>();
      const isGone = (id: number, generation: number): boolean => {
        const name = `${id} ${generation}`;
        if (alive.has(name)) return false;
        if (!since.has(name)) {
          const held = backends.get(id);
          if (held !== undefined && held.flags !== 0 && held.generation === generation) {
            alive.add(name);
            return false;
          }
          since.set(name, before?.get(name) ?? now);
        }
        return now - since.get(name)! >= GONE_MS;
      };
      return (key, flow) => {
        const { FLOW_CONFIRMED, FLOW_RESET, FLOW_RST } = FlowFlag;
        if (key.protocol !== TCP || !(flow.flags & FLOW_CONFIRMED) || flow.flags & (FLOW_RESET | FLOW_RST)) return;
        if (!isGone(flow.backend, flow.generation)) return;
        // What a packet writes between the read and this is lost: a time of last use, on a connection that ends now.
        flows.set(key, { ...flow, flags: flow.flags | FLOW_RESET }, 'exist');
        marked++;
      };
    },
  };
}
