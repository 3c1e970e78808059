// A lab of network namespaces: a client outside, a router, two nodes and pods on each, wired as a lane says. No namespace has a way to
// the machine's own devices. Whatever is made is removed by close(), by the end of the process however it comes, or by the next run.
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ExecaError, execa, execaSync } from 'execa';
import { type NodeName, nodeNames, type PlaceName, podNames } from './places.ts';
import { type Lane, namespaceSteps, type Step } from './topology.ts';

const prefix = 'sluice-lab-';
/** Where the labs' directories are: root's alone. */
const home = '/run';
/** Where cgroup v2 is mounted. */
export const cgroupRoot = () => {
  const line = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .find((mount) => mount.split(' ')[2] === 'cgroup2');
  if (!line) throw new Error('no cgroup2 mount');
  return line.split(' ')[1]!;
};

export interface Lab {
  readonly lane: Lane;
  /** A directory of this lab alone, removed with it. */
  readonly directory: string;
  /** Where each node's pins go: a directory on a bpffs of this lab. */
  pinDirectory(node: NodeName): string;
  /** The cgroup of a node's processes, host and pods alike. */
  cgroup(node: NodeName): string;
  /** `/run/netns/…` of a place. */
  namespace(place: PlaceName | 'router'): string;
  /** Runs a command in a place to its end and returns its output; throws when it fails or outlasts timeoutMs. */
  run(place: PlaceName | 'router', command: string, args: readonly string[], options?: RunOptions): Promise<string>;
  /** Starts a command in a place and leaves it running. With a channel it is a Node process that is spoken to by messages. */
  start(place: PlaceName | 'router', command: string, args: readonly string[], options?: { channel: boolean }): ChildProcess;
  close(): void;
  /** Leaves the lab and all that runs in it behind when this process ends; removeLab(name) is for whoever comes after. */
  leave(): void;
}

export interface RunOptions {
  timeoutMs?: number;
  /** Exit codes that are no failure, besides 0. */
  accept?: readonly number[];
}

const open = new Set<() => void>();
let opened = 0;

function closeAll(): void {
  for (const close of open) close();
}

process.on('exit', closeAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.once(signal, () => {
    closeAll();
    process.exit(128 + (signal === 'SIGINT' ? 2 : signal === 'SIGTERM' ? 15 : 1));
  });

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

/** Ends the processes that a cgroup has now. cgroup.kill, which forks do not escape, is there from 5.14 on. */
function endProcesses(path: string): void {
  const kill = join(path, 'cgroup.kill');
  if (existsSync(kill)) {
    writeFileSync(kill, '1');
    return;
  }
  for (const pid of readFileSync(join(path, 'cgroup.procs'), 'utf8').match(/\d+/g) ?? []) {
    try {
      process.kill(Number(pid), 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}

/** Ends every process of a cgroup and of those beneath it, then removes them all. */
function removeCgroup(path: string): void {
  if (!existsSync(path)) return;
  for (const entry of readdirSync(path, { withFileTypes: true })) if (entry.isDirectory()) removeCgroup(join(path, entry.name));
  const end = performance.now() + 5000;
  for (;;) {
    endProcesses(path);
    try {
      rmdirSync(path);
      return;
    } catch (error) {
      // Busy while a process is still on its way out.
      if ((error as NodeJS.ErrnoException).code !== 'EBUSY' || performance.now() > end) throw error;
      pause(5);
    }
  }
}

/** Removes all that the lab of that name made; what is not there is no failure. */
export function removeLab(name: string): void {
  const root = cgroupRoot();
  for (const entry of readdirSync(root)) if (entry.startsWith(`${name}-`)) removeCgroup(join(root, entry));
  for (const namespace of existsSync('/run/netns') ? readdirSync('/run/netns') : [])
    if (namespace.startsWith(`${name}-`)) execaSync('ip', ['netns', 'delete', namespace]);
  const directory = join(home, name);
  if (readFileSync('/proc/mounts', 'utf8').includes(` ${directory}/bpf `)) execaSync('umount', [`${directory}/bpf`]);
  rmSync(directory, { recursive: true, force: true });
}

/** Removes what runs left behind whose process is gone. */
function sweep(): void {
  const names = [cgroupRoot(), '/run/netns', home].flatMap((path) => (existsSync(path) ? readdirSync(path) : []));
  const labs = new Set(names.flatMap((name) => new RegExp(`^${prefix}(\\d+)-\\d+`).exec(name)?.[0] ?? []));
  for (const lab of labs) if (!existsSync(`/proc/${lab.slice(prefix.length).split('-')[0]}`)) removeLab(lab);
}

function take(step: Step, name: (place: string) => string): void {
  const enter = ['--net', `/run/netns/${name(step.in)}`].join('=');
  const [command, ...args] = step.run;
  const input = step.input?.map((line) => line.replace(/netns:(\w+)/g, (_, place: string) => name(place))).join('\n');
  const result = execaSync('nsenter', [enter, command!, ...args], input === undefined ? {} : { input: `${input}\n` });
  if (result.exitCode !== 0) throw new Error(`${step.run.join(' ')}: ${result.stderr}`);
}

/** Builds the lab of a lane. Needs root. What a dead run left behind is removed first, and so is a lab of the same given name. */
export function openLab(lane: Lane, given?: string): Lab {
  sweep();
  if (given !== undefined) removeLab(given);
  const lab = given ?? `${prefix}${process.pid}-${++opened}`;
  const name = (place: string) => `${lab}-${place === 'stranger' ? 'outside' : place}`;
  const close = () => {
    open.delete(close);
    removeLab(lab);
  };
  open.add(close);
  const directory = join(home, lab);
  const cgroupOf = (place: PlaceName | 'router') =>
    join(cgroupRoot(), `${lab}-${place === 'nodeA' || place === 'nodeB' ? place : nodeOf(place)}`);
  const nodeOf = (place: PlaceName | 'router') => (/^(a|clientA)/.test(place) ? 'nodeA' : /^(b|clientB)/.test(place) ? 'nodeB' : 'outside');
  const entered = (place: PlaceName | 'router', command: string, args: readonly string[]) => [
    '-c',
    'echo $$ >"$1" && shift && exec "$@"',
    'sh',
    join(cgroupOf(place), 'cgroup.procs'),
    'nsenter',
    `--net=/run/netns/${name(place)}`,
    command,
    ...args,
  ];
  try {
    mkdirSync(join(directory, 'bpf'), { recursive: true });
    execaSync('mount', ['-t', 'bpf', 'bpffs', join(directory, 'bpf')]);
    for (const place of [...nodeNames, 'outside'] as const) mkdirSync(cgroupOf(place));
    for (const place of ['outside', 'router', ...nodeNames, ...podNames]) execaSync('ip', ['netns', 'add', name(place)]);
    for (const step of namespaceSteps(lane)) take(step, name);
  } catch (error) {
    close();
    throw error;
  }
  return {
    lane,
    directory,
    pinDirectory: (node) => join(directory, 'bpf', node),
    cgroup: cgroupOf,
    namespace: (place) => `/run/netns/${name(place)}`,
    async run(place, command, args, { timeoutMs = 10_000, accept = [] } = {}) {
      try {
        return (await execa('sh', entered(place, command, args), { timeout: timeoutMs })).stdout;
      } catch (error) {
        const failure = error as ExecaError;
        if (failure.exitCode !== undefined && accept.includes(failure.exitCode)) return String(failure.stdout);
        throw error;
      }
    },
    start: (place, command, args, { channel } = { channel: false }) =>
      spawn('sh', entered(place, command, args), { stdio: channel ? ['ignore', 'inherit', 'inherit', 'ipc'] : ['ignore', 'pipe', 'pipe'] }),
    close,
    leave: () => open.delete(close),
  };
}
