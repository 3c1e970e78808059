// The standard load of the lab (LOAD): starts it, follows it, and says what went wrong in it.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { Lab } from './netns.ts';
import type { PlaceName } from './places.ts';

const peer = fileURLToPath(new URL('../../build/peer', import.meta.url));

interface Tally {
  readonly connections: number;
  readonly answers: number;
  readonly failed: number;
  /** Connects or answers that took 900 ms or longer because something was lost and sent again. */
  readonly slow: number;
  readonly resets: number;
  readonly wrong: number;
  /** Connections that a draining backend sent away. */
  readonly moved: number;
}

/** One line of `peer load`. */
export interface LoadReport {
  readonly event: 'ready' | 'progress' | 'final';
  readonly seconds: number;
  readonly short: Tally;
  readonly fixed: Tally;
  readonly long: Tally;
  readonly udp: Readonly<
    Record<'sent' | 'received' | 'gaps' | 'duplicates' | 'reordered' | 'wrong' | 'moved' | 'errors' | 'refused', number>
  >;
  readonly retransmits: number;
  readonly lastError: string;
  /** The sum of all that must be 0; reordered datagrams are not in it. */
  readonly failures: number;
  /** In the final line: the seconds of the first line that had failures, which tells what was going on. */
  readonly failedAt?: number;
}

export interface Load {
  /** Ends it early and resolves with its last line; or waits for its own end. */
  end(): Promise<LoadReport>;
}

export interface LoadOptions {
  /** `ADDRESS@PORT` for TCP and UDP. */
  readonly targets: readonly string[];
  readonly seconds: number;
  /** Default 500. */
  readonly long?: number;
  /** Default 16. */
  readonly short?: number;
  /** UDP packets a second over all targets, default 5000; 0: TCP alone. */
  readonly rate?: number;
}

/** A load that was ended leaves its last fixed port behind in TIME_WAIT. */
let fixedPort = 31000;

/** Starts LOAD in a place; resolves when every long-lived connection had its first answer. */
export async function startLoad(
  lab: Lab,
  from: PlaceName,
  { targets, seconds, long = 500, short = 16, rate = 5000 }: LoadOptions,
): Promise<Load> {
  const words = targets.flatMap((target) => ['--tcp', target, ...(rate === 0 ? [] : ['--udp', target])]);
  fixedPort++;
  const amounts = { seconds, long, short, ...(rate === 0 ? {} : { rate }), 'fixed-port': fixedPort };
  for (const [name, amount] of Object.entries(amounts)) words.push(`--${name}`, String(amount));
  const child = lab.start(from, peer, ['load', ...words]);
  const lines: LoadReport[] = [];
  const ready = new Promise<void>((resolve, reject) => {
    createInterface({ input: child.stdout! }).on('line', (line) => {
      const report = JSON.parse(line) as LoadReport;
      lines.push(report);
      if (report.event === 'ready') resolve();
      if (report.event === 'final') reject(new Error(`LOAD ended before it was ready: ${line}`));
    });
  });
  const gone = once(child, 'close');
  await ready;
  return {
    async end() {
      if (child.exitCode === null) child.kill('SIGTERM');
      await gone;
      return { ...lines.at(-1)!, failedAt: lines.find(({ failures }) => failures > 0)?.seconds };
    },
  };
}

/**
 * Nothing failed, nothing was late, no answer came from another backend; and enough was tried to mean something. unordered: XDP sends a part of
 * the datagrams, which may overtake those that wait for tc (row 11.5).
 */
export function assertFaultless(report: LoadReport, { unordered = false } = {}): void {
  assert.equal(report.event, 'final');
  assert.equal(report.failures, 0, JSON.stringify(report));
  if (!unordered) assert.equal(report.udp.reordered, 0, JSON.stringify(report));
  assert.ok(
    report.short.answers > 100 && report.fixed.answers > 10 && report.long.answers > 1000 && report.udp.received > 1000,
    JSON.stringify(report),
  );
}
