// Which points are measured? One thing varied at a time from a single IPv4 TCP flow on a node with few Services.

import { establishedRows, newFlowRow, strangerRow } from './paths.ts';
import { referenceKinds, referenceRow } from './references.ts';
import type { Bench, Point, Row } from './row.ts';

/** Every row, its flows established. */
export function rowsOf(bench: Bench): Row[] {
  const { few, many, flows } = bench.scale;
  const base: Point = { family: 4, protocol: 'TCP', flows: 1, services: few };
  const six: Point = { ...base, family: 6 };
  const udp: Point = { ...base, protocol: 'UDP' };
  const crowded: Point = { ...base, services: many };
  /** As many flows, to the Services in turn. */
  const spread = (point: Point): Point => ({ ...point, flows });
  const wheres = ['remote', 'local'] as const;
  return [
    ...wheres.flatMap((where) => [
      ...establishedRows(bench, where, [base, spread(base)]),
      ...establishedRows(bench, where, [six]),
      ...establishedRows(bench, where, [udp]),
      ...establishedRows(bench, where, [crowded, spread(crowded)]),
    ]),
    ...wheres.flatMap((where) => [base, six, udp, crowded].map((point) => newFlowRow(bench, where, spread(point)))),
    ...(['xdp', 'tc'] as const).flatMap((hook) => [
      ...[base, six, crowded].map((point) => strangerRow(bench, hook, 'a pod', point)),
      ...[base, six].map((point) => strangerRow(bench, hook, 'the node', point)),
      ...referenceKinds.flatMap((kind) => {
        const points = kind.inserts > 0 ? [base, six, crowded].map(spread) : [base, spread(base), six, spread(crowded)];
        return points.map((point) => referenceRow(bench, hook, kind, point));
      }),
    ]),
  ];
}
