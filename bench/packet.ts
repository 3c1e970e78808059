// What does a packet cost? Nanoseconds of the real programs on the real maps, beside the smallest programs that could do the same.
// `make bench-packet` runs it; `--smoke` does everything with few packets, to prove that what is measured is what it says.

import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { loadNative } from '../control/kernel/addon.ts';
import type { Native } from '../control/kernel/native.ts';
import { modelOf } from './cluster.ts';
import { measureConnections } from './connect.ts';
import { type Datapath, nicIndex, openDatapath } from './datapath.ts';
import { openDriver } from './driver.ts';
import { enterOwnNamespace, makeNic } from './namespace.ts';
import { openReferences } from './references.ts';
import { linesOf, reportOf, type Times } from './report.ts';
import type { Bench, Row, Scale } from './row.ts';
import { rowsOf } from './sweep.ts';

interface Plan {
  readonly scale: Scale;
  readonly rounds: number;
  /** Iterations of a run, where the row has no number of its own. */
  readonly repeat: number;
  /** Connections each way in a round of those. */
  readonly pairs: number;
}

const full: Plan = { scale: { flows: 10_000, few: 10, many: 10_000 }, rounds: 20, repeat: 100_000, pairs: 500 };
const smoke: Plan = { scale: { flows: 100, few: 10, many: 200 }, rounds: 1, repeat: 500, pairs: 5 };

/** Packets of each flow in a run: its first finds the caches cold. */
const VISITS = 20;

/** enum bpf_attach_type, and linux/if_link.h. */
const BPF_XDP = 37;
const XDP_FLAGS_DRV_MODE = 1 << 2;

function openBench(native: Native, scale: Scale): Bench {
  const ifindex = nicIndex(native);
  const driver = openDriver(native, ifindex);
  const references = openReferences(native);
  // A test run may only seem to enter by a device whose driver runs XDP.
  native.linkCreate(references.empty('xdp'), ifindex, BPF_XDP, XDP_FLAGS_DRV_MODE);
  const datapathOf = (model: ReturnType<typeof modelOf>) => {
    const live = openDatapath(native, model);
    return { live, fresh: openDatapath(native, live) };
  };
  const datapaths = new Map<number, { live: Datapath; fresh: Datapath }>([
    [scale.few, datapathOf(modelOf(scale.few, [4, 6], ['TCP', 'UDP']))],
    [scale.many, datapathOf(modelOf(scale.many, [4], ['TCP']))],
  ]);
  return { native, driver, references, datapaths, scale };
}

/** Every row once a round, the empty program before each, so that what else happens on the machine happens to all. */
function measure({ driver, references }: Bench, rows: readonly Row[], plan: Plan): Times[] {
  const times = rows.map((row): Times => ({ row, gross: [], empty: [] }));
  for (let round = 0; round < plan.rounds; round++) {
    for (const { row, gross, empty } of times) {
      const repeat = row.repeat ?? Math.max(plan.repeat, VISITS * row.flows);
      empty.push(driver.run(references.empty(row.hook), row.turn, repeat).grossNs);
      try {
        gross.push(row.run(repeat));
      } catch (cause) {
        throw new Error(`${row.path} (${row.hook}, IPv${row.family}, ${row.protocol}): ${(cause as Error).message}`, { cause });
      }
    }
  }
  return times;
}

const { values } = parseArgs({ options: { smoke: { type: 'boolean', default: false }, out: { type: 'string' } } });
if (process.getuid?.() !== 0) throw new Error('the benchmark loads BPF programs: run it as root');
enterOwnNamespace(import.meta.filename, process.argv.slice(2));
makeNic();
const plan = values.smoke ? smoke : full;
const native = loadNative();
const bench = openBench(native, plan.scale);
const times = measure(bench, rowsOf(bench), plan);
const connections = measureConnections(native, bench.datapaths.get(plan.scale.few)!.live, plan.pairs, plan.rounds);
const report = reportOf(times, connections, plan.rounds);
for (const line of linesOf(report)) console.log(line);
const out = values.out ?? join(import.meta.dirname, 'out', 'packet.json');
mkdirSync(dirname(out), { recursive: true });
writeFileSync(out, `${JSON.stringify(report, undefined, 2)}\n`);
