// What did it take? Medians and spreads of every row, beside those of the real kube-proxy where it ran: a table for people, JSON for programs.

import { cpus, loadavg, release } from 'node:os';
import { align } from '../../control/cli/table.ts';

/** Where the objects come from and what programs them. */
export type Mode = 'kernel maps' | 'memory maps' | 'sluice' | 'kube-proxy nftables';

/** What was measured, a value a time. */
export interface Sample {
  readonly what: string;
  readonly mode: Mode;
  readonly services: number;
  readonly endpoints: number;
  /** Times in ms. */
  readonly ms: readonly number[];
  /** Anonymous resident memory of the process after it. */
  readonly rssMiB?: readonly number[];
  /** ms at most, or MiB at most, and of which part of the values; undefined: nothing was promised. */
  readonly goal?: { readonly ms?: number; readonly rssMiB?: number };
  /** The quantile that counts: 0.5 unless it says otherwise. */
  readonly quantile?: number;
}

/** A row of control.json. `ms` is the quantile named, `rssMiB` the median. */
export interface Line {
  readonly what: string;
  readonly mode: Mode;
  readonly services: number;
  readonly endpoints: number;
  readonly ms: number | null;
  readonly rssMiB: number | null;
  readonly count: number;
  readonly quantile: number;
  readonly least: number | null;
  readonly most: number | null;
  readonly goal: { readonly ms?: number; readonly rssMiB?: number } | null;
  /** kube-proxy's time over ours, for the same row of the same run. */
  readonly ratio: number | null;
}

export interface Report {
  readonly machine: { readonly cpu: string; readonly cpus: number; readonly kernel: string; readonly load: number };
  readonly mapsMiB: number;
  readonly rows: readonly Line[];
}

export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function rounded(value: number): number {
  return value < 10 ? Math.round(100 * value) / 100 : Math.round(value);
}

function lineOf(sample: Sample, all: readonly Sample[]): Line {
  const { what, mode, services, endpoints, ms, rssMiB, goal, quantile: share = 0.5 } = sample;
  const peer = all.find((other) => other.what === what && other.mode === 'kube-proxy nftables');
  const time = ms.length > 0 ? quantile(ms, share) : undefined;
  return {
    ...{ what, mode, services, endpoints },
    ms: time === undefined ? null : rounded(time),
    rssMiB: rssMiB === undefined ? null : rounded(quantile(rssMiB, 0.5)),
    count: Math.max(ms.length, rssMiB?.length ?? 0),
    quantile: share,
    least: ms.length > 0 ? rounded(Math.min(...ms)) : null,
    most: ms.length > 0 ? rounded(Math.max(...ms)) : null,
    goal: goal ?? null,
    ratio: mode !== 'sluice' || peer === undefined || time === undefined ? null : rounded(quantile(peer.ms, share) / time),
  };
}

export function reportOf(samples: readonly Sample[], mapsMiB: number): Report {
  const [load = 0] = loadavg();
  const machine = { cpu: cpus()[0]?.model ?? 'unknown', cpus: cpus().length, kernel: release(), load: rounded(load) };
  return { machine, mapsMiB: rounded(mapsMiB), rows: samples.map((sample) => lineOf(sample, samples)) };
}

const columns = [
  { title: 'WHAT' },
  { title: 'MODE' },
  { title: 'SERVICES', right: true },
  { title: 'ENDPOINTS', right: true },
  { title: 'MS', right: true },
  { title: 'LEAST', right: true },
  { title: 'MOST', right: true },
  { title: 'N', right: true },
  { title: 'MIB', right: true },
  { title: 'GOAL', right: true },
  { title: 'KUBE-PROXY', right: true },
];

function goalText({ goal, ms, rssMiB }: Line): string {
  if (goal === null) return '';
  const [value, most, unit] = goal.ms === undefined ? [rssMiB, goal.rssMiB, ' MiB'] : [ms, goal.ms, ' ms'];
  return `${(value ?? Number.POSITIVE_INFINITY) <= most! ? 'within' : 'OVER'} ${most}${unit}`;
}

/** The report's lines. */
export function* linesOf({ machine, mapsMiB, rows }: Report): Generator<string> {
  const text = (value: number | null) => (value === null ? '' : String(value));
  const cells = rows.map((row) => [
    ...[row.what, row.mode, String(row.services), String(row.endpoints)],
    ...[text(row.ms), text(row.least), text(row.most), String(row.count), text(row.rssMiB)],
    ...[goalText(row), row.ratio === null ? '' : `${row.ratio} times`],
  ]);
  yield* align(columns, cells);
  yield '';
  yield `MS is the median, or the quantile that the row names; MIB is anonymous resident memory. Kernel maps besides, all of them, at their default sizes: ${mapsMiB} MiB.`;
  yield `${machine.cpu}, ${machine.cpus} CPUs; kernel ${machine.kernel}; load ${machine.load}. Compare ratios, not ms, between machines.`;
}
