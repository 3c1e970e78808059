// Is docs/verifier.md still true? The instructions that each kernel's verifier processes for each program, as a table in Markdown.

/** Counts by program (`tc nic_ingress`), then by kernel series. */
export type Counts = ReadonlyMap<string, ReadonlyMap<string, number>>;

const GROWTH = 1.25;

function cells(line: string): string[] {
  return line
    .split('|')
    .slice(1, -1)
    .map((cell) => cell.trim());
}

const isRow = (line: string) => line.startsWith('|');

/** The table in a text; empty where it has none. */
export function parseTable(text: string): Counts {
  const [head, , ...rows] = text.split('\n').filter(isRow).map(cells);
  const series = head?.slice(1) ?? [];
  return new Map(
    rows.map(([program, ...counts]) => [
      program!,
      new Map(series.flatMap((name, index) => (counts[index] ? [[name, Number(counts[index].replaceAll(',', ''))]] : []))),
    ]),
  );
}

/** What is known now: the new counts, and the old ones of kernels that were not asked this time. Programs that are gone are left out. */
export function mergeCounts(old: Counts, now: Counts): Counts {
  return new Map([...now].map(([program, counts]) => [program, new Map([...(old.get(program) ?? []), ...counts])]));
}

/** One line for each program that costs a kernel over a quarter more than before. */
export function growth(old: Counts, now: Counts): string[] {
  return [...now].flatMap(([program, counts]) =>
    [...counts].flatMap(([series, count]) => {
      const before = old.get(program)?.get(series);
      if (before === undefined || count <= before * GROWTH) return [];
      return [`${program} on ${series}: ${before} before, ${count} now, ${Math.round((count / before - 1) * 100)} % more`];
    }),
  );
}

/** The text with its table replaced. Throws an Error where it has none. */
export function replaceTable(text: string, counts: Counts): string {
  const series = [...new Set([...counts.values()].flatMap((row) => [...row.keys()]))].sort((a, b) =>
    a.localeCompare(b, 'en', { numeric: true }),
  );
  const line = (parts: readonly string[]) => `| ${parts.join(' | ')} |`;
  const table = [
    line(['program', ...series]),
    line(['---', ...series.map(() => '---:')]),
    ...[...counts].map(([program, row]) => line([program, ...series.map((name) => row.get(name)?.toLocaleString('en') ?? '')])),
  ];
  const lines = text.split('\n');
  const first = lines.findIndex(isRow);
  if (first < 0) throw new Error('the text has no table');
  const rest = lines.filter((each) => !isRow(each));
  return [...rest.slice(0, first), ...table, ...rest.slice(first)].join('\n');
}
