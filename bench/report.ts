// What did it cost? Net times of all rounds, beside the references of the same run: a table for people, JSON for programs.

import { cpus, loadavg, release } from 'node:os';
import { align } from '../control/cli/table.ts';
import type { Connections } from './connect.ts';
import type { Row } from './row.ts';

/** Times of one row, a value a round. */
export interface Times {
  readonly row: Row;
  /** The driver calling the program. */
  readonly gross: number[];
  /** The same driver, the same packets, an empty program. */
  readonly empty: number[];
}

/** A row of packet.json. Times are ns a packet, net of the driver; `ratio` is nsMin over that of the row named by `reference`. */
export interface Line {
  readonly path: string;
  readonly hook: string;
  readonly family: number;
  readonly protocol: string;
  readonly flows: number;
  readonly services: number;
  readonly nsMin: number;
  readonly nsMedian: number;
  readonly reference: string | null;
  readonly ratio: number | null;
}

export interface Report {
  readonly machine: { readonly cpu: string; readonly cpus: number; readonly kernel: string; readonly load: number };
  readonly rounds: number;
  /** The driver and an empty program, which every row is net of. */
  readonly emptyNs: Readonly<Record<string, number>>;
  readonly rows: readonly Line[];
  /** Through the socket hook. */
  readonly connections: Connections;
}

function least(values: readonly number[]): number {
  return Math.min(...values);
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)]!;
}

/** The reference's row at the same hook and family: the one most like it, flows before Services. */
function referenceOf({ row }: Times, all: readonly Times[]): Times | undefined {
  const alike = all.filter((other) => other.row.path === row.reference && other.row.hook === row.hook && other.row.family === row.family);
  const likeness = (other: Row) => (other.flows === row.flows ? 2 : 0) + (other.services === row.services ? 1 : 0);
  return alike.toSorted((a, b) => likeness(b.row) - likeness(a.row))[0];
}

export function reportOf(times: readonly Times[], connections: Connections, rounds: number): Report {
  const net = ({ gross, empty }: Times) => least(gross) - least(empty);
  const rows = times.map((one): Line => {
    const { path, hook, family, protocol, flows, services } = one.row;
    const reference = referenceOf(one, times);
    return {
      ...{ path, hook, family, protocol, flows, services },
      nsMin: net(one),
      nsMedian: median(one.gross) - median(one.empty),
      reference: one.row.reference ?? null,
      ratio: reference === undefined ? null : Math.round((100 * net(one)) / Math.max(1, net(reference))) / 100,
    };
  });
  const emptyNs = Object.fromEntries(
    ['xdp', 'tc'].map((hook) => [hook, least(times.filter(({ row }) => row.hook === hook).flatMap(({ empty }) => empty))]),
  );
  const [load = 0] = loadavg();
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cpus: cpus().length, kernel: release(), load: Math.round(100 * load) / 100 };
  return { machine, rounds, emptyNs, rows, connections };
}

const columns = [
  { title: 'PATH' },
  { title: 'HOOK' },
  { title: 'IP' },
  { title: 'PROTO' },
  { title: 'FLOWS', right: true },
  { title: 'SERVICES', right: true },
  { title: 'NS MIN', right: true },
  { title: 'MEDIAN', right: true },
  { title: 'RATIO', right: true },
  { title: 'TO' },
];

/** The report's lines. */
export function* linesOf({ machine, rounds, emptyNs, rows, connections }: Report): Generator<string> {
  const cells = rows.map((row) => [
    row.path,
    row.hook,
    String(row.family),
    row.protocol.toLowerCase(),
    String(row.flows),
    String(row.services),
    String(row.nsMin),
    String(row.nsMedian),
    row.ratio === null ? '' : row.ratio.toFixed(2),
    row.reference?.replace('reference: ', '') ?? '',
  ]);
  yield* align(columns, cells);
  yield '';
  const { directNs, serviceNs, ratio } = connections;
  yield `connect, request, close: ${directNs} ns directly to a pod, ${serviceNs} ns through a ClusterIP and the socket hook: ${ratio} of the rate.`;
  yield '';
  yield `ns a packet, net of the restoring driver and an empty program (xdp ${emptyNs.xdp}, tc ${emptyNs.tc}); ${rounds} interleaved rounds.`;
  yield 'Established flows have their next hop: its age of ten seconds is off here. New flows: each packet is another client, tables emptied between rounds.';
  yield `${machine.cpu}, ${machine.cpus} CPUs, one of them pinned; kernel ${machine.kernel}; load ${machine.load}. Compare ratios, not ns, between machines.`;
}
