// Where does the benchmark run? In a network namespace of its own, on one CPU: a NIC that is a veth, and neighbours that are always resolved.
// All of it ends with the process.

import { execFileSync, spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';

const MARK = 'SLUICE_BENCH_NETNS';

/** Runs the program again in a new network namespace, on the last CPU alone, and ends with its result; there it returns. Needs root. */
export function enterOwnNamespace(file: string, args: readonly string[]): void {
  if (process.env[MARK] !== undefined) return;
  const command = ['--net', '--', 'taskset', '--cpu-list', String(cpus().length - 1), process.execPath, file, ...args];
  const { status } = spawnSync('unshare', command, { stdio: 'inherit', env: { ...process.env, [MARK]: '1' } });
  process.exit(status ?? 1);
}

/** The node's NIC and its addresses. */
export const nic = { name: 'eth0', mac: '0a:58:ac:12:00:02', mtu: 1500, 4: '172.18.0.2', 6: 'fd18::2' } as const;
/** The router to the clients, and the node that has the remote pods. */
export const neighbours = {
  router: { mac: '0a:58:ac:12:00:01', 4: '172.18.0.1', 6: 'fd18::1' },
  other: { mac: '0a:58:ac:12:00:03', 4: '172.18.0.3', 6: 'fd18::3' },
} as const;
/** The other node's pods. */
export const remotePods = { 4: '10.128.0.0/9', 6: 'fd02::/16' } as const;

function ip(command: string): void {
  execFileSync('ip', command.split(' '), { stdio: ['ignore', 'ignore', 'inherit'] });
}

/** Makes the NIC, the routes and the neighbours. */
export function makeNic(): void {
  for (const path of ['ipv4/ip_forward', 'ipv6/conf/all/forwarding']) writeFileSync(`/proc/sys/net/${path}`, '1');
  ip('link set lo up');
  ip(`link add ${nic.name} address ${nic.mac} type veth peer name wire`);
  ip('link set wire up');
  ip(`link set ${nic.name} up`);
  ip(`addr add ${nic[4]}/24 dev ${nic.name}`);
  ip(`addr add ${nic[6]}/64 dev ${nic.name} nodad`);
  for (const { mac, ...addresses } of Object.values(neighbours))
    for (const address of Object.values(addresses)) ip(`neigh replace ${address} lladdr ${mac} dev ${nic.name} nud permanent`);
  for (const family of [4, 6] as const) {
    ip(`-${family} route add default via ${neighbours.router[family]}`);
    ip(`-${family} route add ${remotePods[family]} via ${neighbours.other[family]}`);
  }
}
