// The runner `program`: starts the bench in node A's network namespace and asks it case by case.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { BenchOptions } from './bench.ts';
import type { Case } from './flow.ts';
import type { Lab } from './netns.ts';

export interface ProgramRunner {
  /** Rejects with what the programs did wrong. */
  check(flow: Case): Promise<void>;
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
export async function openProgramRunner(lab: Lab, options: BenchOptions): Promise<ProgramRunner> {
  const file = fileURLToPath(new URL('./bench.ts', import.meta.url));
  const bench = lab.start('nodeA', process.execPath, [file, JSON.stringify(options)], { channel: true });
  await answer(bench);
  return {
    async check(flow) {
      bench.send(flow);
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
