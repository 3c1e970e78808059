// Runs the files of end-to-end tests that are named, one after the other, and closes with a table: each scenario, how it went and how long it took.
import { readFileSync } from 'node:fs';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';
import { fileURLToPath } from 'node:url';

const built = fileURLToPath(new URL('../../build/components/seconds', import.meta.url));

interface Row {
  readonly file: string;
  readonly name: string;
  readonly passed: boolean;
  readonly ms: number;
}

const rows: Row[] = [];
const began = performance.now();
const stream = run({ files: process.argv.slice(2), concurrency: 1 });

const note = (passed: boolean) => (test: { name: string; file?: string; details: { duration_ms: number; type?: string } }) => {
  rows.push({ file: test.file ?? '', name: test.name, passed, ms: test.details.duration_ms });
  if (!passed) process.exitCode = 1;
};
stream.on('test:pass', note(true)).on('test:fail', note(false));
stream.compose(new spec()).pipe(process.stdout);

process.on('exit', () => {
  const seconds = (ms: number) => `${(ms / 1000).toFixed(1)} s`.padStart(8);
  console.log('\nEnd to end');
  for (const { name, passed, ms } of rows) console.log(`  ${seconds(ms)}  ${passed ? 'passed' : 'FAILED'}  ${name}`);
  console.log(`  ${seconds(performance.now() - began)}  in all; the components were built in ${readFileSync(built, 'utf8').trim()}`);
});
