// The runner `program`: starts the bench in node A's network namespace and asks it case by case, or the histories one by one.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { BenchOptions } from './bench.ts';
import type { Case } from './flow.ts';
import type { Story } from './histories.ts';
import type { Lab } from './netns.ts';

export interface ProgramRunner<T> {
  /** Rejects with what the programs did wrong. */
  check(asked: T): Promise<void>;
  close(): Promise<void>;
}

async function answer(bench: ChildProcess): Promise<string | undefined> {
  const ended = new AbortController();
  try {
    const [message] = (await Promise.race([
      once(bench, 'message', { signal: ended.signal }),
      once(bench, 'exit', { signal: ended.signal }).then(([code]) => {
        throw new Error(`the bench ended with ${code}`);
      }),
    ])) as [{ failure: string | undefined }];
    return message.failure;
  } finally {
    ended.abort();
  }
}

/** Opens a bench in a lab. The lab needs no running process. */
export function openProgramRunner(lab: Lab, options: BenchOptions): Promise<ProgramRunner<Case>> {
  return openRunner(lab, './bench.ts', options);
}

/** Likewise for histories. */
export function openHistories(lab: Lab, options: BenchOptions): Promise<ProgramRunner<Story>> {
  return openRunner(lab, './histories.ts', options);
}

async function openRunner<T extends object>(lab: Lab, script: string, options: BenchOptions): Promise<ProgramRunner<T>> {
  const file = fileURLToPath(new URL(script, import.meta.url));
  const bench = lab.start('nodeA', process.execPath, [file, JSON.stringify(options)], { channel: true });
  await answer(bench);
  return {
    async check(asked) {
      bench.send(asked);
      const failure = await answer(bench);
      if (failure !== undefined) throw new Error(failure);
    },
    async close() {
      if (bench.exitCode !== null) return;
      bench.disconnect();
      await once(bench, 'exit');
    },
  };
}
