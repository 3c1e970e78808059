// Is this text what Prometheus reads? A strict reader of the text format (0.0.4): what promtool would refuse it refuses, by line. It
// returns the samples, so that a test can look at their values.

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: readonly Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)/y;
const SUFFIXES: Readonly<Record<string, readonly string[]>> = { histogram: ['_bucket', '_sum', '_count'] };

function readLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const [, name, value] = LABEL.exec(text) ?? fail('labels that are none', line);
    if (name! in labels) fail('a label twice', line);
    labels[name!] = value!.replace(/\\(.)/g, (_, one: string) => (one === 'n' ? '\n' : one));
  }
  return labels;
}

function fail(what: string, line: string): never {
  throw new Error(`${what}: ${line}`);
}

function readValue(text: string, line: string): number {
  if (text === '+Inf') return Number.POSITIVE_INFINITY;
  const value = Number(text);
  return text !== '' && Number.isFinite(value) ? value : fail('a value that is none', line);
}

/** Buckets grow, the last is +Inf and is the count. */
function checkHistogram(name: string, samples: readonly Sample[]): void {
  const series = new Map<string, Sample[]>();
  for (const sample of samples.filter((one) => one.name === `${name}_bucket`)) {
    const { le: _, ...labels } = sample.labels;
    const key = JSON.stringify(labels);
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const [key, buckets] of series) {
    const bounds = buckets.map(({ labels }) => readValue(labels.le ?? '', key));
    if (bounds.some((bound, index) => index > 0 && bound <= bounds[index - 1]!)) fail('buckets out of order', `${name} ${key}`);
    if (buckets.some(({ value }, index) => index > 0 && value < buckets[index - 1]!.value)) fail('buckets that shrink', `${name} ${key}`);
    const count = samples.find((one) => one.name === `${name}_count` && JSON.stringify(one.labels) === key);
    if (bounds.at(-1) !== Number.POSITIVE_INFINITY || count?.value !== buckets.at(-1)!.value)
      fail('a histogram without its whole', `${name} ${key}`);
  }
}

/** Families by name. Throws at the first line that Prometheus, or promtool's lint, would not take. */
export function readExposition(text: string): Map<string, Family> {
  if (!text.endsWith('\n')) throw new Error('the last line has no end');
  const families = new Map<string, { type: string; help: string; samples: Sample[] }>();
  const seen = new Set<string>();
  let current = '';
  for (const line of text.split('\n')) {
    if (line === '') continue;
    const comment = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line);
    if (comment !== null) {
      const [, word, name, rest] = comment;
      if (word === 'HELP') {
        if (families.has(name!) || !NAME.test(name!) || rest!.trim() === '') fail('a family twice, or without words', line);
        families.set(name!, { type: '', help: rest!, samples: [] });
        current = name!;
      } else {
        const family = families.get(name!) ?? fail('a type without help', line);
        if (name !== current || family.type !== '' || !['counter', 'gauge', 'histogram'].includes(rest!)) fail('a type out of place', line);
        family.type = rest!;
      }
      continue;
    }
    const [, name, labelText = '', valueText] = /^([a-zA-Z0-9_:]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? fail('a line that is none', line);
    const family = families.get(current) ?? fail('a sample of no family', line);
    const allowed = (SUFFIXES[family.type] ?? ['']).map((suffix) => `${current}${suffix}`);
    if (!allowed.includes(name!)) fail(`a sample that is none of ${current}`, line);
    const sample = { name: name!, labels: readLabels(labelText, line), value: readValue(valueText!, line) };
    const identity = `${name} ${JSON.stringify(Object.entries(sample.labels).sort())}`;
    if (seen.has(identity)) fail('a sample twice', line);
    seen.add(identity);
    if (family.type === 'counter' && sample.value < 0) fail('a counter below zero', line);
    family.samples.push(sample);
  }
  for (const [name, { type, samples }] of families) {
    if (type === '') throw new Error(`${name} has no type`);
    if (type === 'histogram') checkHistogram(name, samples);
  }
  return families;
}
