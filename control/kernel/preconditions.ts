// Can the datapath run on this machine? Asked before anything is touched; each answer "no" is one line that says what to do.

import { existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { dirname } from 'node:path';
import { buildDirectory } from './addon.ts';
import { CGROUP2_MAGIC, cgroupRootOf } from './cgroup.ts';
import type { Native } from './native.ts';
import type { DatapathOptions } from './options.ts';

/** Objects of bpf/ that a node loads. */
export const OBJECTS = ['probe', 'tc', 'xdp', 'sock'] as const;

/** Path of an object of bpf/. */
export function objectPath(name: (typeof OBJECTS)[number]): string {
  return `${buildDirectory}bpf/${name}.o`;
}

/** f_type of statfs(2) on a bpffs. */
const BPF_FS_MAGIC = 0xcafe4a11;

/** bpf_redirect_neigh, jiffies in programs, mmapable arrays. */
const FLOOR = [5, 10] as const;

/** From here on maps count in their cgroup's memory. */
const MAPS_ARE_NOT_LOCKED = [5, 11] as const;
const CAP_SYS_RESOURCE = 24;

/** capabilities(7); CAP_SYS_ADMIN stands for CAP_BPF and CAP_PERFMON. */
const CAPABILITIES = [
  { name: 'CAP_NET_ADMIN', bits: [12] },
  { name: 'CAP_BPF', bits: [39, 21] },
  { name: 'CAP_PERFMON', bits: [38, 21] },
] as const;

/** What is missing, one line each; empty: all is there. */
export function missingPreconditions(native: Native, options: Pick<DatapathOptions, 'pinDirectory' | 'cgroupRoot' | 'hooks'>): string[] {
  const status = readFileSync('/proc/self/status', 'utf8');
  return [
    ...missingCapabilities(status),
    ...lockedMemory(status, readFileSync('/proc/self/limits', 'utf8'), release()),
    ...oldKernel(release()),
    ...missingObjects(),
    ...missingMounts(native, options),
  ];
}

/** status: text of /proc/self/status. */
export function missingCapabilities(status: string): string[] {
  const missing = CAPABILITIES.filter(({ bits }) => !bits.some((bit) => has(status, bit))).map(({ name }) => name);
  return missing.length === 0 ? [] : [`no ${missing.join(', ')}: run as root, or give the agent these capabilities`];
}

/** limits: text of /proc/self/limits; libbpf raises the limit where it may. version: as uname(2) gives it. */
export function lockedMemory(status: string, limits: string, version: string): string[] {
  const most = /^Max locked memory +\S+ +(\S+)/m.exec(limits)?.[1];
  if (isFrom(version, MAPS_ARE_NOT_LOCKED) || has(status, CAP_SYS_RESOURCE) || most === 'unlimited') return [];
  return [
    `no CAP_SYS_RESOURCE: kernel ${version} counts maps as locked memory, of which ${most} bytes are allowed; give the agent this capability, or set no limit`,
  ];
}

function has(status: string, capability: number): boolean {
  const effective = BigInt(`0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(status)?.[1] ?? '0'}`);
  return ((effective >> BigInt(capability)) & 1n) !== 0n;
}

/** version: as uname(2) gives it. */
export function oldKernel(version: string): string[] {
  if (isFrom(version, FLOOR)) return [];
  return [`kernel ${version}: the datapath needs ${FLOOR.join('.')} or later`];
}

function isFrom(version: string, [first, second]: readonly [number, number]): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > first || (major === first && minor >= second);
}

function missingObjects(): string[] {
  return OBJECTS.filter((name) => !existsSync(objectPath(name))).map((name) => `${objectPath(name)} is not there: run "make build"`);
}

/** Is a directory, which need not be there yet, on a bpffs? */
export function isOnBpfFs(native: Native, directory: string): boolean {
  return native.fileSystemType(nearest(directory)) === BPF_FS_MAGIC;
}

function missingMounts(native: Native, options: Pick<DatapathOptions, 'pinDirectory' | 'cgroupRoot' | 'hooks'>): string[] {
  const missing: string[] = [];
  if (!isOnBpfFs(native, options.pinDirectory)) {
    missing.push(
      `${options.pinDirectory} is not on a bpffs: run "mount -t bpf bpf /sys/fs/bpf", or set pinDirectory to a directory on one`,
    );
  }
  if (options.hooks.socket === 'off') return missing;
  const root = cgroupRootOf(options.cgroupRoot);
  if (root === undefined) {
    missing.push(
      'the root of cgroup v2 is not mounted here: run "mount -t cgroup2 none DIRECTORY", set cgroupRoot, or switch the socket hook off',
    );
  } else if (!existsSync(root) || native.fileSystemType(root) !== CGROUP2_MAGIC) {
    missing.push(`cgroupRoot ${root} is not a directory of cgroup v2`);
  }
  return missing;
}

/** The path itself or the closest directory above it that exists. */
function nearest(path: string): string {
  return existsSync(path) || path === '/' || path === '.' ? path : nearest(dirname(path));
}
