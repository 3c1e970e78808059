// What does a connection cost through the socket hook? Connect, request and close through a ClusterIP beside the same directly to a pod.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, rmdirSync } from 'node:fs';
import { encoded } from '../control/abi/codec.ts';
import { Features, Hook, MAPS, Verdict } from '../control/abi/layout.gen.ts';
import { buildDirectory } from '../control/kernel/addon.ts';
import { cgroupRootOf, SOCKET_PROGRAMS } from '../control/kernel/cgroup.ts';
import { probeFeatures } from '../control/kernel/features.ts';
import type { Native } from '../control/kernel/native.ts';
import { objectPath } from '../control/kernel/preconditions.ts';
import { backendPort, clusterIPOf, localPodsOf, localPort } from './cluster.ts';
import type { Datapath } from './datapath.ts';

/** Medians of the rounds' medians, in ns a connection. `ratio`: the share of the direct rate that is left, round by round. */
export interface Connections {
  readonly directNs: number;
  readonly serviceNs: number;
  readonly ratio: number;
}

/** Any Service will do. */
const SERVICE = 1;

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** Runs a command in a cgroup of its own where the socket programs are. */
function runHooked(native: Native, programs: Readonly<Record<string, number>>, command: readonly string[]): string {
  const root = cgroupRootOf(undefined);
  if (root === undefined) throw new Error('cgroup v2 is not mounted');
  const cgroup = `${root}/sluice-bench-${process.pid}`;
  const links: number[] = [];
  mkdirSync(cgroup);
  try {
    const target = native.openDirectory(cgroup);
    for (const [name, attachType] of Object.entries(SOCKET_PROGRAMS)) links.push(native.linkCreate(programs[name]!, target, attachType, 0));
    native.closeFd(target);
    return execFileSync('sh', ['-c', 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"', 'sh', cgroup, ...command], { encoding: 'utf8' });
  } finally {
    for (const link of links) native.closeFd(link);
    rmdirSync(cgroup);
  }
}

/** Measures `rounds` rounds of `pairs` connections each way, in turn. Every second one must have been translated. */
export function measureConnections(native: Native, { maps, fds }: Datapath, pairs: number, rounds: number): Connections {
  const rodata = { '.rodata.features': encoded(Features, probeFeatures(native)) };
  const sock = native.load(objectPath('sock'), { maps: Object.fromEntries(Object.keys(MAPS).map((name) => [name, fds[name]!])), rodata });
  const pods = localPodsOf(4, SERVICE);
  for (const pod of pods) execFileSync('ip', ['addr', 'replace', `${pod}/32`, 'dev', 'lo']);
  const translated = () => Number(maps.verdicts.get(Verdict.TRANSLATE_SOCKET)?.packets[Hook.HOOK_CONNECT] ?? 0n);
  const before = translated();
  const ways = [pods[0]!, String(backendPort), clusterIPOf(4, SERVICE), String(localPort)];
  const output = runHooked(native, sock.programs, [`${buildDirectory}bench/connect`, ...ways, String(pairs), String(rounds)]);
  sock.close();
  assert.equal(translated() - before, pairs * rounds, 'connections that the socket hook translated');
  const times = output
    .trimEnd()
    .split('\n')
    .map((line) => line.split(' ').map(Number) as [number, number]);
  const ratio = median(times.map(([direct, service]) => direct / service));
  return {
    directNs: median(times.map(([direct]) => direct)),
    serviceNs: median(times.map(([, service]) => service)),
    ratio: Math.round(1000 * ratio) / 1000,
  };
}
