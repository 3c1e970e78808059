// What do the maps hold under a backend id? The entries of one family as columns: a hundred thousand of them as objects would cost
// five times the memory.

import type { Backend4 } from '../abi/layout.gen.ts';
import type { Address } from '../model/model.ts';

/** Entries by id, those in use. */
export interface BackendEntries extends Iterable<[number, Backend4]> {
  get(id: number): Backend4 | undefined;
  set(id: number, entry: Backend4): void;
  /** Is this the entry there? */
  equals(id: number, entry: Backend4): boolean;
  /** enum backend_flag; 0 where there is no entry. */
  flags(id: number): number;
  /** How many are in use: entries with a flag. An id that is free again keeps its entry for the generation's sake. */
  readonly used: number;
}

/** No entries yet; ids are below `limit`. */
export function backendEntries(limit: number): BackendEntries {
  // Memory that was never written to is not there: only what is used counts.
  const addresses: Address[] = [];
  const ports = new Uint16Array(limit);
  const protocols = new Uint8Array(limit);
  const flags = new Uint8Array(limit);
  const generations = new Uint32Array(limit);

  function get(id: number): Backend4 | undefined {
    const address = addresses[id];
    if (address === undefined || address === '') return undefined;
    return { address, port: ports[id]!, protocol: protocols[id]!, flags: flags[id]!, generation: generations[id]! };
  }

  let used = 0;
  return {
    get,
    get used() {
      return used;
    },
    set(id, entry) {
      // Without holes: an array with holes would become a table.
      while (addresses.length < id) addresses.push('');
      addresses[id] = entry.address;
      ports[id] = entry.port;
      protocols[id] = entry.protocol;
      used += Number(entry.flags !== 0) - Number(flags[id] !== 0);
      flags[id] = entry.flags;
      generations[id] = entry.generation;
    },
    equals: (id, { address, port, protocol, flags: planned, generation }) =>
      addresses[id] === address &&
      ports[id] === port &&
      protocols[id] === protocol &&
      flags[id] === planned &&
      generations[id] === generation,
    flags: (id) => flags[id] ?? 0,
    *[Symbol.iterator]() {
      for (let id = 0; id < addresses.length; id++) {
        const entry = get(id);
        if (entry !== undefined) yield [id, entry];
      }
    },
  };
}
