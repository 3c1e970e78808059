// How do rows become aligned lines? One function, lazily: a table of a million rows is never held whole.

/** Rows looked at before the first line is printed; a wider cell after them pushes its own line only. */
const LOOK_AHEAD = 4096;

export interface Column {
  readonly title: string;
  /** Numbers stand on the right. */
  readonly right?: boolean;
}

function widthOf(text: string): number {
  let width = 0;
  for (const _ of text) width++;
  return width;
}

function line(columns: readonly Column[], widths: readonly number[], cells: readonly string[]): string {
  const parts = columns.map((column, i) => {
    const cell = cells[i] ?? '';
    const fill = ' '.repeat(Math.max(0, (widths[i] ?? 0) - widthOf(cell)));
    return column.right ? fill + cell : cell + fill;
  });
  return parts.join('  ').trimEnd();
}

/** Yields the title line and a line a row, two spaces between columns; nothing but `(none)` after the titles of an empty table. */
export function* align(columns: readonly Column[], rows: Iterable<readonly string[]>): Generator<string> {
  const source = rows[Symbol.iterator]();
  const widths = columns.map((column) => widthOf(column.title));
  const ahead: (readonly string[])[] = [];
  let ended = false;
  while (!ended && ahead.length < LOOK_AHEAD) {
    const next = source.next();
    ended = next.done === true;
    if (next.done) break;
    ahead.push(next.value);
    next.value.forEach((cell, i) => {
      widths[i] = Math.max(widths[i] ?? 0, widthOf(cell));
    });
  }
  yield line(
    columns,
    widths,
    columns.map((column) => column.title),
  );
  if (ahead.length === 0) yield '(none)';
  for (const cells of ahead) yield line(columns, widths, cells);
  while (!ended) {
    const next = source.next();
    if (next.done) return;
    yield line(columns, widths, next.value);
  }
}
