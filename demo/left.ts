// What is left of us? The kernel's objects are known by their ids, which are never used twice, so nothing of another program is taken for ours.

import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { execa } from 'execa';
import { type NodeName, nodeNames } from '../test/lib/places.ts';
import { type Cluster, labName } from './cluster.ts';

type Kind = 'link' | 'prog' | 'map';

/** Ids of everything of ours in the kernel. */
export type Ours = Readonly<Record<Kind, ReadonlySet<number>>>;

async function bpftool(...words: string[]): Promise<{ id: number; prog_id?: number; pinned?: string[] }[]> {
  return JSON.parse((await execa('bpftool', ['-j', '-f', ...words])).stdout);
}

/** What is pinned in the nodes' pin directories, and the programs behind the links. */
export async function readOurs(cluster: Cluster): Promise<Ours> {
  const directories = nodeNames.map((node) => `${cluster.lab.pinDirectory(node)}/`);
  const pinned = async (kind: Kind) =>
    (await bpftool(kind, 'show')).filter((object) =>
      object.pinned?.some((path) => directories.some((directory) => path.startsWith(directory))),
    );
  const links = await pinned('link');
  const maps = await pinned('map');
  const ids = (objects: { id: number }[]) => objects.map(({ id }) => id);
  const programs = [...ids(await pinned('prog')), ...links.flatMap(({ prog_id }) => prog_id ?? [])];
  return { link: new Set(ids(links)), map: new Set(ids(maps)), prog: new Set(programs) };
}

/** Those that the kernel still has, in words. */
export async function stillInKernel(ours: Ours): Promise<string[]> {
  const left: string[] = [];
  for (const kind of ['link', 'prog', 'map'] as const)
    for (const { id } of await bpftool(kind, 'show')) if (ours[kind].has(id)) left.push(`bpf ${kind} ${id}`);
  return left;
}

/** tc programs at any device of a node, and programs at its cgroup, whoever put them there. */
export async function attachedTo(cluster: Cluster, node: NodeName): Promise<string[]> {
  const { tc } = JSON.parse(await cluster.lab.run(node, 'bpftool', ['-j', 'net', 'show']))[0] as {
    tc: { devname: string; name: string }[];
  };
  const { stdout } = await execa('bpftool', ['-j', 'cgroup', 'show', cluster.lab.cgroup(node)]);
  const cgroup = stdout === '' ? [] : (JSON.parse(stdout) as { attach_type: string }[]);
  return [...tc.map(({ devname, name }) => `${name} at ${devname}`), ...cgroup.map(({ attach_type }) => `${attach_type} at the cgroup`)];
}

/** Files in a node's pin directory and state directory. */
export function filesOf(cluster: Cluster, node: NodeName): string[] {
  const directories = [cluster.lab.pinDirectory(node), join(cluster.lab.directory, `${node === 'nodeA' ? 'node-a' : 'node-b'}-state`)];
  return directories.flatMap((directory) =>
    existsSync(directory) ? readdirSync(directory, { recursive: true }).map((file) => join(directory, String(file))) : [],
  );
}

/** Namespaces, cgroups, mounts and directories of the lab. */
export function leftOfLab(cgroupRoot: string): string[] {
  const named = (directory: string) =>
    (existsSync(directory) ? readdirSync(directory) : []).filter((name) => name === labName || name.startsWith(`${labName}-`));
  const mounts = readFileSync('/proc/mounts', 'utf8')
    .split('\n')
    .filter((line) => line.includes(`/${labName}`));
  return [
    ...named('/run/netns').map((name) => `namespace ${name}`),
    ...named(cgroupRoot).map((name) => `cgroup ${name}`),
    ...mounts.map((line) => `mount ${line.split(' ')[1]}`),
    ...named('/run').map((name) => `directory /run/${name}`),
  ];
}
