// A node of its own for tests of the node side: the test's process moves into a new network namespace, with a bpffs, a cgroup and a state
// directory that nobody else uses. No way leads from it to the machine's own devices.

import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
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

/** Makes the sandbox; the process is in its cgroup until close(). */
export function openSandbox(): Sandbox {
  const name = `sluice-sandbox-${process.pid}`;
  const home = mkdtempSync(`${tmpdir()}/sluice-sandbox-`);
  const cgroups = /^\S+ (\S+) cgroup2 /m.exec(readFileSync('/proc/mounts', 'utf8'))?.[1];
  if (cgroups === undefined) throw new Error('cgroup v2 is not mounted');
  const cgroupRoot = `${cgroups}/${name}`;
  mkdirSync(`${home}/bpf`);
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
      run(`ip netns delete ${name}`);
      writeFileSync(`${cgroups}/cgroup.procs`, String(process.pid));
      rmdirSync(cgroupRoot);
      run(`umount ${home}/bpf`);
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** Names below a directory, none where it is not there. */
export function namesIn(path: string): string[] {
  return existsSync(path) ? readdirSync(path).sort() : [];
}

/** Waits until something holds; the event loop turns meanwhile. Rejects after ten seconds with what it waited for. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within 10 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
