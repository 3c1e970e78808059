// One real component of a cluster as a process in the lab: started, killed, stopped for a while, started again, its output kept in a file.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Lab } from './netns.ts';
import type { PlaceName } from './places.ts';

const built = fileURLToPath(new URL('../../build/components/', import.meta.url));

export type ComponentName = 'coredns' | 'etcd' | 'kube-apiserver' | 'kube-controller-manager' | 'kube-proxy' | 'kubectl';

/** The program of a component. Throws where nobody has built it. */
export function componentPath(name: ComponentName): string {
  const path = join(built, name);
  if (!existsSync(path)) throw new Error(`${path} is not there: run \`make components\``);
  return path;
}

export interface Component {
  readonly pid: number;
  /** Starts it again with the same arguments after kill(), or with others. */
  start(args?: readonly string[]): void;
  /** Sends a signal that ends it and resolves when it is gone. */
  kill(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Stops the process (SIGSTOP): its sockets stay open and nobody reads them. */
  pause(): void;
  resume(): void;
  /** Has it ended by itself or by a signal? */
  readonly ended: boolean;
  /** The last lines it wrote. */
  tail(lines?: number): string;
}

export interface ComponentOptions {
  /** Distinguishes two of one kind in the log's name. */
  readonly name?: string;
  /** Runs it inside another command: `unshare`, `setpriv`. */
  readonly within?: readonly string[];
}

/** Starts a component in a place; its output goes to `NAME.log` in the lab's directory. */
export function startComponent(
  lab: Lab,
  place: PlaceName | 'router',
  program: ComponentName,
  first: readonly string[],
  { name = program, within = [] }: ComponentOptions = {},
): Component {
  const log = join(lab.directory, `${name}.log`);
  const words = [...within, componentPath(program)];
  let args = first;
  let child: ChildProcess;
  const start = () => {
    child = lab.start(place, words[0]!, [...words.slice(1), ...args]);
    const file = createWriteStream(log, { flags: 'a' });
    child.stdout!.pipe(file, { end: false });
    child.stderr!.pipe(file, { end: false });
    child.once('close', () => file.end());
  };
  start();
  const ended = () => child.exitCode !== null || child.signalCode !== null;
  return {
    get pid() {
      return child.pid!;
    },
    get ended() {
      return ended();
    },
    start(next = args) {
      if (!ended()) throw new Error(`${name} runs already`);
      args = next;
      start();
    },
    async kill(signal) {
      if (ended()) return;
      const gone = once(child, 'close');
      child.kill(signal);
      await gone;
    },
    pause: () => void child.kill('SIGSTOP'),
    resume: () => void child.kill('SIGCONT'),
    tail: (lines = 30) => (existsSync(log) ? readFileSync(log, 'utf8').trimEnd().split('\n').slice(-lines).join('\n') : ''),
  };
}
