// Which rows run where? Every table with every combination of hooks, each row at least once for each; what runs is here as data, and so is
// what cannot, for the tests and for docs/semantics.md.
import { type Subject, unservedAs } from '../../control/kernel/unserved.ts';
import { type Case, expand, type Table } from '../lib/flow.ts';
import { type Hooks, type Setting, unservedIn } from './hooks.ts';

export type { Setting } from './hooks.ts';

import {
  affinity,
  callsEverywhere,
  faulty,
  masquerade,
  masqueradeAll,
  policy,
  precedence,
  rangesEverywhere,
  shapes,
  sockets,
} from './tables.ts';

/** XDP runs only before tc, and with neither tc nor the socket hook there is nothing to run. */
export const combinations: readonly Hooks[] = [
  ...[false, true].flatMap((xdp) => (['off', 'host-only', 'on'] as const).map((socket): Hooks => ({ tc: true, socket, xdp }))),
  ...(['host-only', 'on'] as const).map((socket): Hooks => ({ tc: false, socket, xdp: false })),
];

const named: Readonly<Record<string, Table>> = {
  ...{ policy, masquerade, precedence, affinity, sockets, masqueradeAll, rangesEverywhere, callsEverywhere, shapes, faulty },
};

/** Every table. */
export const tableNames = Object.keys(named);

/** Tables that a runner takes. */
const plain = ['policy', 'masquerade', 'precedence', 'affinity'];
export const taken: Readonly<Record<'plan' | 'program' | 'wire', readonly string[]>> = {
  plan: [...plain, 'sockets', 'masqueradeAll', 'rangesEverywhere', 'callsEverywhere'],
  program: [...plain, 'masqueradeAll', 'rangesEverywhere', 'shapes', 'faulty'],
  wire: [...plain, 'sockets', 'masqueradeAll', 'rangesEverywhere', 'callsEverywhere'],
};

function settingOf(table: string): Setting {
  if (table === 'masqueradeAll') return table;
  return table === 'rangesEverywhere' || table === 'callsEverywhere' ? 'rangesEverywhere' : 'none';
}

/** Every case that a runner takes with a setting. */
export function casesFor(runner: keyof typeof taken, setting: Setting): Case[] {
  return taken[runner].filter((table) => settingOf(table) === setting).flatMap((table) => expand(named[table]!));
}

/** One lab and one agent on the wire. */
export interface WireRun {
  readonly hooks: Hooks;
  readonly setting: Setting;
  /** Names of tables. */
  readonly tables: readonly string[];
  /** Every case; or each row once, for another family and protocol from row to row: which the first has. */
  readonly rows: 'every case' | number;
}

/** What differs between families and protocols is shown where the hook is that a table is about; elsewhere each row once. */
export const wireRuns: readonly WireRun[] = combinations.flatMap((hooks, index): WireRun[] => {
  const { tc, socket, xdp } = hooks;
  const every = (wanted: Hooks['socket']) => (tc && !xdp && socket === wanted ? 'every case' : index);
  const packets = { hooks, setting: 'none', tables: plain, rows: every('off') } as const;
  const calls = { hooks, setting: 'none', tables: ['sockets'], rows: every('on') } as const;
  const together = packets.rows === calls.rows ? [{ ...packets, tables: [...packets.tables, ...calls.tables] }] : [packets, calls];
  return [
    ...together,
    { hooks, setting: 'masqueradeAll', tables: ['masqueradeAll'], rows: every('off') },
    { hooks, setting: 'rangesEverywhere', tables: ['rangesEverywhere', 'callsEverywhere'], rows: index },
  ];
});

/** The cases of a run: those that its hooks serve, of each row as many as the run takes. */
export function casesOf({ hooks, setting, tables, rows }: WireRun): Case[] {
  const served = new Map<string, Case[]>();
  for (const flow of tables.flatMap((name) => expand(named[name]!)))
    if (unservedIn(flow, hooks, setting) === undefined) served.set(flow.name, [...(served.get(flow.name) ?? []), flow]);
  if (rows === 'every case') return [...served.values()].flat();
  return [...served.values()].map((cases, index) => cases[(index + rows) % cases.length]!);
}

function rowsOf(table: string): Map<string, Case[]> {
  const rows = new Map<string, Case[]>();
  for (const flow of expand(named[table]!)) rows.set(flow.name, [...(rows.get(flow.name) ?? []), flow]);
  return rows;
}

/** The rows of a table. */
export function rowNames(table: string): Set<string> {
  return new Set(rowsOf(table).keys());
}

/** Rows of a table that run on the wire with these hooks. */
export function ranOf(table: string, hooks: Hooks): Set<string> {
  const own = rowNames(table);
  const runs = wireRuns.filter((run) => run.hooks === hooks && run.tables.includes(table));
  return new Set(runs.flatMap(casesOf).flatMap(({ name }) => (own.has(name) ? [name] : [])));
}

export function titleOfHooks({ tc, socket, xdp }: Hooks): string {
  const packets = tc ? (xdp ? 'tc, XDP' : 'tc') : 'no tc';
  return `${packets}, socket ${socket}`;
}

/** Rows of a table of which no case is served with these hooks, by who that is. */
export function leftOut(table: string, hooks: Hooks): Map<Subject, number> {
  const left = new Map<Subject, number>();
  for (const cases of rowsOf(table).values()) {
    const subjects = cases.map((flow) => unservedIn(flow, hooks, settingOf(table)));
    if (subjects.some((subject) => subject === undefined)) continue;
    left.set(subjects[0]!, (left.get(subjects[0]!) ?? 0) + 1);
  }
  return left;
}

/** Why a table has no runner of a kind. */
export const withoutRunner: Readonly<Record<string, string>> = {
  'shapes: plan': 'a plan knows no bytes',
  'sockets: program': 'the kernel has no test run for programs of the socket hook',
  'callsEverywhere: program': 'likewise',
  'shapes: wire': 'no stack sends these packets when it is asked to; XDP and tc get them by test run',
  'faulty: wire': 'only maps that are changed under the programs have these faults',
  'faulty: plan': 'a plan has none of these faults',
};

/** The section of docs/semantics.md. */
export function* documentLines(): Generator<string> {
  const of = (table: string, runner: keyof typeof taken, count: number) => (taken[runner].includes(table) ? String(count) : '—');
  yield `| table | rows | plan | test run: tc | XDP, then tc | ${combinations.map((hooks) => `wire: ${titleOfHooks(hooks)}`).join(' | ')} |`;
  yield `|---|${'--:|'.repeat(4 + combinations.length)}`;
  for (const table of tableNames) {
    const all = rowsOf(table).size;
    const wire = combinations.map((hooks) => of(table, 'wire', ranOf(table, hooks).size));
    yield `| ${table} | ${all} | ${of(table, 'plan', all)} | ${of(table, 'program', all)} | ${of(table, 'program', all)} | ${wire.join(' | ')} |`;
  }
  yield '';
  for (const [what, why] of Object.entries(withoutRunner)) yield `- ${what}: ${why}.`;
  yield '';
  yield '| with | rows left out | who is not served, and why |';
  yield '|---|--:|---|';
  for (const hooks of combinations) {
    const left = new Map<Subject, number>();
    for (const table of taken.wire) for (const [who, count] of leftOut(table, hooks)) left.set(who, (left.get(who) ?? 0) + count);
    for (const [subject, count] of left) {
      const { who, why } = unservedAs(subject, hooks)!;
      yield `| ${titleOfHooks(hooks)} | ${count} | ${who}: ${why} |`;
    }
  }
}
