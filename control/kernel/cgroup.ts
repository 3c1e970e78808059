// Where do the socket programs belong, and are they there? The root of the cgroup v2 hierarchy, so that every process of the node passes
// them; attached by pinned links, each replaced in place.

import { existsSync, mkdirSync, readFileSync, statSync } from 'node:fs';
import type { Native } from './native.ts';
import { removePins } from './pins.ts';

/** enum bpf_attach_type, by our programs' names. */
export const SOCKET_PROGRAMS = {
  connect4: 10,
  connect6: 11,
  sendmsg4: 14,
  sendmsg6: 15,
  recvmsg4: 19,
  recvmsg6: 20,
  getpeername4: 29,
  getpeername6: 30,
} as const;

/** f_type of statfs(2) on cgroup v2. */
export const CGROUP2_MAGIC = 0x63677270;

/**
 * Path of the true cgroup v2 root in the text of /proc/self/mountinfo, or undefined. Inside a container there may be a mount of its own
 * subtree: it shows as `/` in the container's cgroup namespace, and the node's root as `/../..`. Only the true root has no cgroup.type (10.6).
 */
export function findCgroupRoot(mountinfo: string, isTrueRoot: (path: string) => boolean = lacksType): string | undefined {
  for (const line of mountinfo.split('\n')) {
    const [mount, rest] = line.split(' - ');
    const fields = mount?.split(' ') ?? [];
    if (rest?.split(' ')[0] !== 'cgroup2' || !/^\/(?:\.\.(?:\/\.\.)*)?$/.test(fields[3] ?? '')) continue;
    const path = unescapeMount(fields[4] ?? '');
    if (isTrueRoot(path)) return path;
  }
  return undefined;
}

/** The configured root, or the one found. */
export function cgroupRootOf(configured: string | undefined): string | undefined {
  return configured ?? findCgroupRoot(readFileSync('/proc/self/mountinfo', 'utf8'));
}

function lacksType(path: string): boolean {
  return existsSync(`${path}/cgroup.procs`) && !existsSync(`${path}/cgroup.type`);
}

/** proc(5): blank, tab, newline and backslash are written as three octal digits. */
function unescapeMount(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, digits: string) => String.fromCharCode(Number.parseInt(digits, 8)));
}

/** Attaches each program at the cgroup: replaces the program of a pinned link, or makes and pins one. directory: of the pins. */
export function attachSocketPrograms(native: Native, directory: string, root: string, programs: Readonly<Record<string, number>>): void {
  // The id of a cgroup is the inode number of its directory.
  const cgroupId = statSync(root, { bigint: true }).ino;
  mkdirSync(directory, { recursive: true });
  const target = native.openDirectory(root);
  try {
    for (const [name, attachType] of Object.entries(SOCKET_PROGRAMS)) {
      const program = programs[name];
      if (program === undefined) throw new Error(`sock.o has no program ${name}`);
      attach(native, `${directory}/${name}`, target, cgroupId, attachType, program);
    }
  } finally {
    native.closeFd(target);
  }
}

function attach(native: Native, pin: string, target: number, cgroupId: bigint, attachType: number, program: number): void {
  let link = native.openPin(pin);
  if (link !== undefined && native.linkInfo(link).cgroupId !== cgroupId) {
    // Of another root, or of a cgroup that is gone.
    native.closeFd(link);
    removePins(pin);
    link = undefined;
  }
  if (link !== undefined) {
    native.linkUpdate(link, program);
  } else {
    link = native.linkCreate(program, target, attachType, 0);
    native.pin(link, pin);
  }
  native.closeFd(link);
}
