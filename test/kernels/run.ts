// Do the kernels that we claim take our objects, and does a packet there do what the flow tables say? Boots each in turn, asks inside.ts,
// and holds docs/verifier.md against what their verifiers counted. A kernel's package that cannot be had is a failure but for 5.10, whose
// suite may leave the mirrors: that one is skipped, loudly.
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Answer } from './inside.ts';
import type { ObjectAnswer } from './programs.ts';
import { type Counts, growth, mergeCounts, parseTable, replaceTable } from './table.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));
const file = (name: string) => fileURLToPath(new URL(name, import.meta.url));
const kernels = `${root}build/kernels`;
const document = `${root}docs/verifier.md`;
/** Packets, maps, where programs are attached, and who may: what differs from kernel to kernel. */
const tests = ['program', 'maps', 'datapath', 'capabilities'].map((name) => `test/${name}.root.test.ts`);

const MAY_BE_ABSENT = '5.10';
/** prepare.sh: the mirror does not have it. */
const ABSENT = 3;
/** Emulation is some ten times slower than the machine, and the machine may be busy. */
const SECONDS_MOST = 1800;

const counts = new Map<string, Map<string, number>>();
let passed = 0;
const failures: string[] = [];
const skips: string[] = [];

function fail(what: string, why: string): void {
  failures.push(what);
  console.log(`  FAILED  ${what}\n${why.replace(/^/gm, '          ')}`);
}

function takeObject(series: string, { object, instructions, refusal }: ObjectAnswer): void {
  if (instructions === undefined) {
    fail(`${series}: ${object}.o does not load`, refusal);
    return;
  }
  passed++;
  console.log(`  loaded  ${object}.o`);
  for (const [program, count] of Object.entries(instructions)) {
    console.log(`          ${count.toLocaleString('en').padStart(9)} instructions  ${program}`);
    const row = counts.get(`${object} ${program}`) ?? new Map<string, number>();
    counts.set(`${object} ${program}`, row.set(series, count));
  }
}

/** Takes the answers of one kernel. under: what runs a command there. */
async function ask(series: string, version: string, under: readonly string[]): Promise<void> {
  const start = performance.now();
  console.log(`Linux ${series}: ${version}`);
  const [command, ...args] = [...under, 'env', `NODE_COMPILE_CACHE=${kernels}/cache`, process.execPath, file('inside.ts'), ...tests];
  const machine = spawn(command!, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] });
  const before = { passed, failed: failures.length };
  const ended = once(machine, 'close');
  for await (const line of createInterface({ input: machine.stdout })) {
    const answer = JSON.parse(line) as Answer;
    if ('object' in answer) takeObject(series, answer);
    else if (answer.failure !== undefined) fail(`${series}: ${answer.test}`, answer.failure);
    else if (answer.skipped !== undefined) skips.push(`${series}: ${answer.test}: ${answer.skipped}`);
    else passed++;
  }
  const [code] = (await ended) as [number | null];
  if (code !== 0) fail(`${series}: the machine`, `ended with ${code}`);
  const seconds = Math.round((performance.now() - start) / 1000);
  console.log(`  ${passed - before.passed} passed, ${failures.length - before.failed} failed, ${seconds} s`);
}

function tellAbsent(series: string): void {
  skips.push(`Linux ${series}: its package cannot be had`);
  const name = `SLUICE_KERNEL_${series.replace('.', '_')}`;
  const lines = [`Linux ${series} WAS NOT TESTED: its package cannot be had from this machine's mirror.`, `Give it: ${name}=FILE.deb`];
  const width = Math.max(...lines.map((line) => line.length));
  console.log(['', '#'.repeat(width + 6), ...lines.map((line) => `## ${line.padEnd(width)} ##`), '#'.repeat(width + 6), ''].join('\n'));
}

function compareCounts(): void {
  const text = readFileSync(document, 'utf8');
  const old = parseTable(text);
  const now: Counts = mergeCounts(old, counts);
  const more = growth(old, counts);
  for (const line of more) console.log(`  GREW    ${line}`);
  if (replaceTable(text, now) === text) return;
  writeFileSync(document, replaceTable(text, now));
  console.log('docs/verifier.md has the new counts: commit it.');
}

// First the machine itself: what it compiles, types stripped, the emulated ones find in the cache. Stripping is WebAssembly, slow to emulate.
const own = release().split('.').slice(0, 2).join('.');
await ask(own, `${release()}, this machine`, []);

for (const series of process.argv.slice(2)) {
  const directory = `${kernels}/${series}`;
  const { status } = spawnSync(file('prepare.sh'), [series, directory], { stdio: ['ignore', 'inherit', 'inherit'] });
  if (status === 0) await ask(series, readFileSync(`${directory}/release`, 'utf8').trim(), [file('boot.sh'), directory, `${SECONDS_MOST}`]);
  else if (status === ABSENT && series === MAY_BE_ABSENT) tellAbsent(series);
  else fail(`${series}: no kernel to boot`, `prepare.sh ended with ${status}`);
}

compareCounts();
for (const skip of skips) console.log(`SKIPPED  ${skip}`);
for (const failure of failures) console.log(`FAILED   ${failure}`);
console.log(`${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;
