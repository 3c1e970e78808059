// Which backend owns which slot of a Maglev table? The table depends on the backends' names alone, so that every node
// computes the same one (semantics 6.2) and losing one backend moves few slots of the others (6.1).
// Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4.

/**
 * Table sizes, primes, each about twice the one before. Steps, and not the prime next to 100 n: another size is another modulus and
 * moves nearly every slot, so the size has to stay while a few backends come and go. 700 is 7 backends x 100; the sizes change
 * after 7, 14, 28, … backends, numbers that a rollout with one or two surplus pods rarely crosses.
 */
const TABLE_SIZES = [701, 1409, 2801, 5623, 11213, 22409, 44809, 89603, 179203] as const;

/** Slots a backend should have: losing one backend then moves about 1 % of the other backends' slots (6.1). */
const SLOTS_PER_BACKEND = 100;

/** Backends that one Service port may have; the largest table still gives each of them two slots. */
export const MAX_BACKENDS_PER_PORT = 65536;

/** Slots of the table for `backends` backends: at least 100 each up to 1792 backends, then the largest size. 0 for none. */
export function tableSize(backends: number): number {
  if (backends === 0) return 0;
  const wanted = backends * SLOTS_PER_BACKEND;
  return TABLE_SIZES.find((size) => size >= wanted) ?? TABLE_SIZES[TABLE_SIZES.length - 1]!;
}

/** 32 bits of a text: FNV-1a over its UTF-16 units, then murmur3's finish, which spreads texts that differ in one digit. */
export function hashText(text: string, seed: number): number {
  let hash = (0x811c9dc5 ^ seed) | 0;
  for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}

// Part of the contract between nodes: another seed is another table everywhere (6.2).
const OFFSET_SEED = 0x5157_1ce1;
const SKIP_SEED = 0x2b7e_1516;

/**
 * Fills a table: slot → index into `names`. `names` are the backends' `address:port`, unique and sorted (both ends of
 * the contract between nodes); `size` is a prime ≥ names.length.
 */
export function populate(names: readonly string[], size: number): Uint32Array {
  const count = names.length;
  const table = new Uint32Array(size);
  if (count <= 1) return table;
  const next = new Uint32Array(count);
  const skip = new Uint32Array(count);
  for (let i = 0; i < count; i++) {
    next[i] = hashText(names[i]!, OFFSET_SEED) % size;
    skip[i] = (hashText(names[i]!, SKIP_SEED) % (size - 1)) + 1;
  }
  // Each backend in turn takes the next free slot of its own permutation; a prime size makes every skip a full cycle.
  const taken = new Uint8Array(size);
  let filled = 0;
  for (;;) {
    for (let i = 0; i < count; i++) {
      let slot = next[i]!;
      while (taken[slot] === 1) {
        slot += skip[i]!;
        if (slot >= size) slot -= size;
      }
      taken[slot] = 1;
      table[slot] = i;
      next[i] = slot;
      if (++filled === size) return table;
    }
  }
}
