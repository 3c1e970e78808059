// How does a dump look? Sections of rows become lines: aligned for people, JSON or YAML for programs, always lazily.

import type { Address } from '../model/model.ts';
import type { Context, Row, Section } from './sections/section.ts';
import { align } from './table.ts';
import { printableJson, printableYaml } from './text.ts';

export type Format = 'table' | 'json' | 'yaml';

/** Every given part must hold; canonical texts. */
export interface Filter {
  /** `namespace/name`. */
  readonly service?: string;
  readonly address?: Address;
  /** `address` or `address:port` as a dump prints it. */
  readonly backend?: string;
}

function isBackend(wanted: string, backend: string): boolean {
  if (backend === wanted) return true;
  const address = backend.slice(0, backend.lastIndexOf(':')).replace(/^\[|\]$/g, '');
  return address === wanted;
}

function holds(filter: Filter, row: Row): boolean {
  if (filter.service !== undefined && !row.services.includes(filter.service)) return false;
  if (filter.address !== undefined && !row.addresses.includes(filter.address)) return false;
  const backend = filter.backend;
  return backend === undefined || row.backends.some((candidate) => isBackend(backend, candidate));
}

function* rowsOf(section: Section, context: Context, filter: Filter): Generator<Row> {
  for (const row of section.rows(context)) if (holds(filter, row)) yield row;
}

function* mapped<T, U>(items: Iterable<T>, convert: (item: T) => U): Generator<U> {
  for (const item of items) yield convert(item);
}

/** One record as an item of a YAML list. Its values are JSON, which YAML 1.2 contains: a general emitter takes ten times as long. */
function* yamlItem(record: Row['value']): Generator<string> {
  let lead = '- ';
  for (const [field, value] of Object.entries(record)) {
    yield `${lead}${field}: ${printableYaml(JSON.stringify(value))}`;
    lead = '  ';
  }
}

function jsonItem(value: unknown): string {
  return printableJson(JSON.stringify(value));
}

/** The rows of one section as the lines of a JSON array, a record a line. */
function* jsonArray(rows: Iterable<Row>, end: string): Generator<string> {
  let before: string | undefined;
  for (const row of rows) {
    if (before !== undefined) yield `${before},`;
    before = jsonItem(row.value);
  }
  if (before !== undefined) yield before;
  yield `]${end}`;
}

function* table(section: Section, rows: Iterable<Row>): Generator<string> {
  yield* align(
    section.columns,
    mapped(rows, (row) => row.cells),
  );
}

function* yamlList(rows: Iterable<Row>, name: string | undefined): Generator<string> {
  let empty = true;
  for (const row of rows) {
    if (empty && name !== undefined) yield `${name}:`;
    empty = false;
    yield* yamlItem(row.value);
  }
  if (empty) yield name === undefined ? '[]' : `${name}: []`;
}

/** One section: a table, or an array. Several: tables under their names, or a record of arrays by name. */
export function* dumpLines(sections: readonly Section[], context: Context, filter: Filter, format: Format): Generator<string> {
  const [only, ...others] = sections;
  const single = only !== undefined && others.length === 0;
  if (single) {
    const rows = rowsOf(only, context, filter);
    if (format === 'table') yield* table(only, rows);
    if (format === 'json') {
      yield '[';
      yield* jsonArray(rows, '');
    }
    if (format === 'yaml') yield* yamlList(rows, undefined);
    return;
  }
  if (format === 'json') yield '{';
  for (const [i, section] of sections.entries()) {
    const rows = rowsOf(section, context, filter);
    if (format === 'table') {
      yield `${i > 0 ? '\n' : ''}== ${section.name}`;
      yield* table(section, rows);
    }
    if (format === 'json') {
      yield `"${section.name}": [`;
      yield* jsonArray(rows, i < sections.length - 1 ? ',' : '');
    }
    if (format === 'yaml') yield* yamlList(rows, section.name);
  }
  if (format === 'json') yield '}';
}
