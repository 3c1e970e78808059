// Which tables can be dumped? In the order of `dump all`.

import { affinity, conntrack, sockets } from './flows.ts';
import { frontends } from './frontends.ts';
import { addresses, devices, settings, sourceRanges, verdicts } from './node.ts';
import type { Section } from './section.ts';
import { backends, maglev, slices } from './slices.ts';

export const SECTIONS: readonly Section[] = [
  frontends,
  backends,
  slices,
  maglev,
  sourceRanges,
  conntrack,
  sockets,
  affinity,
  verdicts,
  addresses,
  devices,
  settings,
];
