// What can this kernel do beyond 5.10, and how long is its jiffy? Learnt by trying, never from a version number.

import { setTimeout as pause } from 'node:timers/promises';
import type { Features, SelfTest } from '../abi/layout.gen.ts';
import type { Native } from './native.ts';
import { objectPath } from './preconditions.ts';

/** Loads each probe by itself; what the kernel refuses it does not have. */
export function probeFeatures(native: Native): Features {
  return { set_retval: loads(native, 'probe_set_retval') ? 1 : 0, checksum_ipv6: answersOne(native, 'probe_checksum') ? 1 : 0 };
}

function loads(native: Native, program: string): boolean {
  return withProbe(native, program, () => true) ?? false;
}

function answersOne(native: Native, program: string): boolean {
  return withProbe(native, program, (fd) => native.testRun(fd, new Uint8Array(64), {}).returnValue === 1) ?? false;
}

/** undefined: the verifier refuses the program. Other refusals (no memory, no permission) are thrown. */
function withProbe<T>(native: Native, program: string, use: (fd: number) => T): T | undefined {
  let object: ReturnType<Native['load']>;
  try {
    object = native.load(objectPath('probe'), { programs: [program] });
  } catch (error) {
    if (error instanceof Error && 'code' in error && (error.code === 'EINVAL' || error.code === 'EACCES')) return undefined;
    throw error;
  }
  try {
    return use(object.programs[program]!);
  } finally {
    object.close();
  }
}

/** CONFIG_HZ can be one of these. */
const RATES = [100, 250, 300, 1000] as const;
/** At the slowest rate ten jiffies: one more or less does not make it another rate. */
const SAMPLE_MS = 100;

/** Jiffies a second, from two readings of both clocks. read: runs probe_clock and gives what it wrote. */
export async function measureJiffies(read: () => SelfTest): Promise<number> {
  const first = read();
  await pause(SAMPLE_MS);
  const second = read();
  return jiffiesRate(first, second);
}

/** The rate closest, by ratio, to what two readings say. */
export function jiffiesRate(first: Pick<SelfTest, 'jiffies' | 'ktime_ns'>, second: Pick<SelfTest, 'jiffies' | 'ktime_ns'>): number {
  const seconds = Number(second.ktime_ns - first.ktime_ns) / 1e9;
  const measured = Number(second.jiffies - first.jiffies) / seconds;
  const distance = (rate: number) => Math.abs(Math.log(measured / rate));
  return RATES.reduce((best, rate) => (distance(rate) < distance(best) ? rate : best));
}
