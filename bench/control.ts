// What does the control plane cost? From nothing to programmed, one change, changes at a pace, and memory, with objects made here; with
// `--apiserver` also from the real API server beside the real kube-proxy. `make bench-control` runs it; `--smoke` does all of it small.

import { execFile } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs, promisify } from 'node:util';
import { type Plan as ClusterPlan, measureCluster } from './control/apiserver.ts';
import type { Size } from './control/cluster.ts';
import type { Found } from './control/memory.ts';
import { linesOf, type Mode, reportOf, type Sample } from './control/report.ts';

interface Plan {
  /** The one that counts, and a small one beside it: a change must not cost more in the big one. */
  readonly big: Size;
  readonly small: Size;
  readonly rounds: number;
  readonly changes: number;
  readonly paced: { readonly perSecond: number; readonly seconds: number };
  readonly cluster: ClusterPlan;
}

const full: Plan = {
  big: { services: 10_000, endpoints: 10 },
  small: { services: 100, endpoints: 10 },
  rounds: 5,
  changes: 500,
  paced: { perSecond: 100, seconds: 60 },
  cluster: { services: 10_000, endpoints: 10, starts: 3, changes: 20, shared: 2 },
};
const smoke: Plan = {
  big: { services: 300, endpoints: 3 },
  small: { services: 20, endpoints: 3 },
  rounds: 1,
  changes: 20,
  paced: { perSecond: 100, seconds: 1 },
  cluster: { services: 50, endpoints: 3, starts: 2, changes: 2, shared: 1 },
};

const NONE = { perSecond: 0, seconds: 0 };

/** What Node is told by the script that starts the agent. */
const agentFlags = readFileSync(join(import.meta.dirname, '../bin/sluice'), 'utf8').match(/--(?:disable|max|heap)-[a-z-]+=\w+/g) ?? [];

/** One measurement in a process of its own, as an agent starts: nothing is warm but what it warmed itself. */
async function measure(size: Size, maps: 'kernel' | 'memory', changes: number, paced = NONE): Promise<Found> {
  const words = Object.entries({ ...size, maps, changes, 'per-second': paced.perSecond, seconds: paced.seconds });
  const file = join(import.meta.dirname, 'control', 'memory.ts');
  const args = [...agentFlags, file, ...words.map(([name, value]) => `--${name}=${value}`)];
  const { stdout } = await promisify(execFile)(process.execPath, args, { maxBuffer: 64 * 2 ** 20 });
  return JSON.parse(stdout) as Found;
}

/** Every size and kind of maps once a round, so that what else happens on the machine happens to all. */
async function measureAlone({ big, small, rounds, changes, paced }: Plan): Promise<{ samples: Sample[]; mapsMiB: number }> {
  const mapsFor: Mode = process.getuid?.() === 0 ? 'kernel maps' : 'memory maps';
  const found = { big: [] as Found[], memory: [] as Found[], small: [] as Found[] };
  for (let round = 0; round < rounds; round++) {
    const kind = mapsFor === 'kernel maps' ? 'kernel' : 'memory';
    found.big.push(await measure(big, kind, changes, round === 0 ? paced : NONE));
    found.small.push(await measure(small, kind, changes));
    if (kind === 'kernel') found.memory.push(await measure(big, 'memory', 0));
  }
  const row = (what: string, ms: readonly number[], more: Partial<Sample> = {}): Sample => ({ what, mode: mapsFor, ...big, ms, ...more });
  const nothing = 'compile and program from nothing';
  const [first] = found.big;
  const looks = found.big.flatMap(({ look }) => look ?? []);
  const rate = `${paced.perSecond} changes a second for ${paced.seconds} s, event to maps`;
  const samples = [
    row(
      nothing,
      found.big.map((one) => one.fromNothingMs),
      { goal: { ms: 500 } },
    ),
    row(
      `${nothing}, CPU time of its thread`,
      found.big.map((one) => one.fromNothingCpuMs),
    ),
    row(
      'one endpoint changed, event to maps',
      found.big.flatMap((one) => one.changesMs),
      { goal: { ms: 2 } },
    ),
    row(
      'one endpoint changed, event to maps',
      found.small.flatMap((one) => one.changesMs),
      small,
    ),
    row(
      'all maps read and compared, nothing to write',
      found.big.map((one) => one.wholeMs),
    ),
    ...(looks.length === 0
      ? []
      : [
          row(
            'all maps looked at in slices, nothing found',
            looks.map(({ ms }) => ms),
          ),
          row(
            'all maps looked at in slices, longest wait of anything else',
            looks.map(({ stallMs }) => stallMs),
          ),
        ]),
    row(`${rate}, median`, first!.pacedMs, { goal: { ms: 20 } }),
    row(`${rate}, 99th of 100`, first!.pacedMs, { quantile: 0.99, goal: { ms: 250 } }),
    row('anonymous memory, objects and agent, after the changes', [], {
      rssMiB: found.big.map((one) => one.anonymousMiB),
      goal: { rssMiB: 200 },
    }),
  ];
  if (found.memory.length > 0)
    samples.push(
      row(
        nothing,
        found.memory.map((one) => one.fromNothingMs),
        { mode: 'memory maps' },
      ),
    );
  return { samples, mapsMiB: first!.mapsMiB };
}

const { values } = parseArgs({
  options: { apiserver: { type: 'boolean', default: false }, smoke: { type: 'boolean', default: false }, out: { type: 'string' } },
});
const plan = values.smoke ? smoke : full;
const say = (text: string) => process.stderr.write(`${text}\n`);
const { samples, mapsMiB } = await measureAlone(plan);
if (values.apiserver) samples.push(...(await measureCluster(plan.cluster, say)));
const report = reportOf(samples, mapsMiB);
for (const line of linesOf(report)) console.log(line);
const out = values.out ?? join(import.meta.dirname, 'out', 'control.json');
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, `${JSON.stringify(report, undefined, 2)}\n`);
