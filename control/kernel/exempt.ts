// Whose sockets are left alone? The cgroups an operator names: meshes that must see the ClusterIP, runtimes of virtual machines whose
// sockets are not the guest's (semantics 10.2). Their packets are served by the per-packet path.

import { statSync } from 'node:fs';
import { join } from 'node:path';
import type { Problem } from '../model/model.ts';
import type { Maps } from './maps.ts';

/**
 * Makes exempt_cgroups hold the cgroups at `paths`, which are relative to `root`; a path where there is no cgroup (yet) is a Problem and is
 * looked for again by the next call. Returns how many there are. Throws KernelError.
 */
export function writeExemptions(maps: Maps, root: string | undefined, paths: readonly string[]): { count: number; problems: Problem[] } {
  const wanted = new Set<bigint>();
  const problems: Problem[] = [];
  for (const path of paths) {
    // The id of a cgroup is the inode number of its directory.
    const found = root === undefined ? undefined : statSync(join(root, path), { bigint: true, throwIfNoEntry: false });
    if (found?.isDirectory()) wanted.add(found.ino);
    else problems.push(noSuchCgroup(path, root));
  }
  const held = new Set([...maps.exempt_cgroups.entries()].map(([id]) => id));
  maps.exempt_cgroups.setMany([...wanted].filter((id) => !held.has(id)).map((id) => [id, 1] as const));
  maps.exempt_cgroups.deleteMany([...held].filter((id) => !wanted.has(id)));
  return { count: wanted.size, problems };
}

function noSuchCgroup(path: string, root: string | undefined): Problem {
  const where = root === undefined ? 'there is no cgroup v2 hierarchy' : `there is no such cgroup below ${root}`;
  return {
    object: 'Agent',
    field: 'sluice.socketExceptions',
    reason: 'NoSuchCgroup',
    message: `${path}: ${where}; processes are not left alone there until it appears`,
  };
}
