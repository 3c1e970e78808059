// How does the demo talk? Numbered steps with the time since the start, lines under them, and aligned tables. Colour only on a terminal.

const start = performance.now();
const paint = (code: number) => (text: string) => (process.stdout.isTTY ? `\x1b[${code}m${text}\x1b[0m` : text);

export const bold = paint(1);
export const dim = paint(2);
export const green = paint(32);
export const red = paint(31);

/** A tick or a cross. */
export function mark(right: boolean): string {
  return right ? green('✓') : red('✗');
}

/** Writes one line. */
export function say(text = ''): void {
  process.stdout.write(`${text}\n`);
}

/** Seconds since the demo began. */
export function elapsed(): string {
  return `${((performance.now() - start) / 1000).toFixed(1)} s`;
}

/** Steps counted against their total. */
export function stepper(total: number): (title: string) => void {
  let step = 0;
  return (title) => {
    step++;
    say(`\n${bold(`[${step}/${total}] ${title}`)}  ${dim(elapsed())}`);
  };
}

/** Rows under titles, columns as wide as their widest cell, indented by two. A cell's colour does not count. */
export function table(titles: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const width = (text: string) => text.replace(/\x1b\[\d+m/g, '').length;
  const widths = titles.map((title, i) => Math.max(width(title), ...rows.map((row) => width(row[i] ?? ''))));
  const line = (cells: readonly string[]) =>
    `  ${cells.map((cell, i) => cell + ' '.repeat((widths[i] ?? 0) - width(cell))).join('  ')}`.trimEnd();
  return [dim(line(titles)), ...rows.map(line)];
}
