// A node of its own for tests of the node side: the test's process moves into a new network namespace, with a bpffs, a cgroup and a state
// directory that nobody else uses. No way leads from it to the machine's own devices.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import type { DatapathOptions } from '../../control/kernel/options.ts';

const MARK = 'SLUICE_TEST_NETNS';

/** Runs the test file again in a new network namespace and ends with its result; there it returns. Needs root. */
export function enterOwnNamespace(file: string): void {
  if (process.env[MARK] !== undefined) return;
  const { status } = spawnSync('unshare', ['--net', '--', process.execPath, ...process.execArgv, file], {
    stdio: 'inherit',
    env: { ...process.env, [MARK]: '1' },
  });
  process.exit(status ?? 1);
}

/** Runs a command; throws with its output where it fails. */
export function run(command: string): string {
  const [name = '', ...args] = command.split(' ');
  return execFileSync(name, args, { encoding: 'utf8' });
}

export interface Sandbox {
  readonly options: DatapathOptions;
  /** A namespace beside this one, for the far ends of veth pairs. */
  readonly elsewhere: string;
  /** Ends whatever a test left behind. */
  close(): void;
}

/** Maps small enough to be made many times. */
const SIZES = {
  ...{ frontends4: 64, frontends6: 64, slots: 4096, backends4: 256, backends6: 256, addresses4: 64, addresses6: 64 },
  ...{ flows4: 4096, flows6: 4096, new_flows4: 1024, new_flows6: 1024, affinities: 64, socket_flows: 256 },
};

const PREFIX = 'sluice-sandbox-';

function cgroupMount(): string {
  const mount = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/mounts', 'utf8'))?.[1];
  if (mount === undefined) throw new Error('cgroup v2 is not mounted');
  return mount;
}

/** Removes what the sandbox of that name has made; what is not there is no failure. */
function remove(name: string): void {
  const cgroup = `${cgroupMount()}/${name}`;
  const home = `${tmpdir()}/${name}`;
  if (existsSync(`/run/netns/${name}`)) run(`ip netns delete ${name}`);
  if (existsSync(cgroup)) rmdirSync(cgroup);
  if (readFileSync('/proc/mounts', 'utf8').includes(` ${home}/bpf `)) run(`umount ${home}/bpf`);
  rmSync(home, { recursive: true, force: true });
}

/** Removes sandboxes whose process is gone: nobody closed them. */
function sweep(): void {
  const names = [tmpdir(), cgroupMount(), '/run/netns'].flatMap(namesIn).filter((name) => name.startsWith(PREFIX));
  for (const name of new Set(names)) if (!existsSync(`/proc/${name.slice(PREFIX.length)}`)) remove(name);
}

/** Makes the sandbox; the process is in its cgroup until close(). */
export function openSandbox(): Sandbox {
  sweep();
  const name = `${PREFIX}${process.pid}`;
  const home = `${tmpdir()}/${name}`;
  const cgroupRoot = `${cgroupMount()}/${name}`;
  mkdirSync(`${home}/bpf`, { recursive: true });
  run(`mount -t bpf bpf ${home}/bpf`);
  mkdirSync(cgroupRoot);
  writeFileSync(`${cgroupRoot}/cgroup.procs`, String(process.pid));
  run('ip link set lo up');
  run(`ip netns add ${name}`);
  return {
    options: {
      pinDirectory: `${home}/bpf/sluice`,
      stateDirectory: `${home}/state`,
      cgroupRoot,
      hooks: { tc: true, socket: 'on' },
      xdp: 'auto',
      socketExceptions: [],
      devices: undefined,
      podInterfaces: undefined,
      detectLocal: { mode: 'PodInterfaces' },
      mapSizes: SIZES,
      masqueradeAll: false,
      masqueradeMark: 0x4000,
      snatPorts: { first: 16384, last: 16511 },
      conntrack: { tcpEstablishedSeconds: 86400, tcpCloseWaitSeconds: 3600, udpSeconds: 30, udpStreamSeconds: 120 },
    },
    elsewhere: name,
    close() {
      writeFileSync(`${cgroupMount()}/cgroup.procs`, String(process.pid));
      remove(name);
    },
  };
}

/** Names below a directory, none where it is not there. */
export function namesIn(path: string): string[] {
  return existsSync(path) ? readdirSync(path).sort() : [];
}

/** Waits until something holds; the event loop turns meanwhile. Rejects after a minute, long on an emulated machine too, with what it waited for. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within a minute: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
