// What do the maps mean? Their contents without the numbers that only name things on this node: two sets of maps with one meaning
// send every packet the same way.

import { AddressFlag, type Slice } from '../../control/abi/layout.gen.ts';
import type { Maps } from '../../control/kernel/maps.ts';

function familyMeaning(maps: Maps, family: 4 | 6): string[] {
  const [frontends, backends, addresses, ranges] =
    family === 4
      ? ([maps.frontends4, maps.backends4, maps.addresses4, maps.source_ranges4] as const)
      : ([maps.frontends6, maps.backends6, maps.addresses6, maps.source_ranges6] as const);
  const name = (id: number) => {
    const entry = backends.get(id);
    return entry === undefined ? `backend ${id}` : `${entry.address} ${entry.port}`;
  };
  const names = ({ first, count }: Slice) => Array.from({ length: count }, (_, i) => name(maps.slots.get(first + i)));
  const lines: string[] = [];
  for (const [key, value] of frontends.entries()) {
    const slices = `[${names(value.cluster).sort()}] [${names(value.local).sort()}] [${names(value.cluster_table)}] [${names(value.local_table)}]`;
    lines.push(
      `frontend ${key.address} ${key.port}/${key.protocol} id ${value.id} flags ${value.flags} affinity ${value.affinity_seconds} ${slices}`,
    );
  }
  for (const [, { address, port, protocol, flags }] of backends.entries()) {
    if (flags !== 0) lines.push(`backend ${address} ${port}/${protocol} flags ${flags}`);
  }
  for (const [address, flags] of addresses.entries())
    if (flags !== AddressFlag.ADDRESS_RETIRED) lines.push(`address ${address} flags ${flags}`);
  for (const [key] of ranges.entries()) lines.push(`range ${key.frontend} ${key.address}/${key.prefix_length}`);
  return lines;
}

/** Sorted lines. Retired addresses and backends that are gone are left out: they mean nothing to a new connection. */
export function meaning(maps: Maps): string {
  return [...familyMeaning(maps, 4), ...familyMeaning(maps, 6)].sort().join('\n');
}
