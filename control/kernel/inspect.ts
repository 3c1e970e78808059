// Is what belongs to this node outside of the maps there? Programs at devices and at the cgroup root, settings of the kernel, room in the
// tables. Looks, and changes nothing; with a running agent or without one.

import { existsSync, statSync } from 'node:fs';
import { BackendFlag, DeviceFlag } from '../abi/layout.gen.ts';
import { frontendText } from '../compile/claims.ts';
import { type DeviceHooks, DIRECTIONS } from './attach.ts';
import { SOCKET_PROGRAMS } from './cgroup.ts';
import type { Finding } from './findings.ts';
import { mapsOf } from './held.ts';
import type { Role } from './links.ts';
import type { Maps } from './maps.ts';
import type { Native } from './native.ts';
import type { Network } from './network.ts';
import type { Pins } from './pins.ts';
import { type PortRange, parsePorts, portsOf, portsText } from './ports.ts';
import type { MapStatus } from './status.ts';
import { readSysctl } from './sysctl.ts';
import type { Direction } from './tc.ts';

const BY_AGENT = 'a running agent, within 5 s';

export interface Inspected {
  readonly native: Native;
  readonly pins: Pins;
  readonly hooks: DeviceHooks;
  readonly network: Network;
  readonly maps: Maps;
  readonly roles: ReadonlyMap<number, { readonly role: Role }>;
  readonly tc: boolean;
  /** Where the socket programs belong; undefined: the socket hook is off. */
  readonly cgroupRoot: string | undefined;
  readonly snatPorts: PortRange;
  /** The id of the program that belongs to a device and direction; undefined: any of ours is well. */
  readonly programAt: (role: Role, direction: Direction) => number | undefined;
}

function* deviceFindings({ hooks, network, roles, tc, programAt }: Inspected): Generator<Finding> {
  for (const [ifindex, { role }] of roles) {
    const name = network.links.get(ifindex)?.name;
    if (role === 'none' || name === undefined || !tc) continue;
    for (const direction of DIRECTIONS) {
      const where = `device ${name} ${direction}`;
      const wanted = `our ${hooks.mode === 'tcx' ? 'tcx link' : 'filter'}, for a device of role ${role}`;
      const there = hooks.look(ifindex, direction);
      const program = programAt(role, direction);
      if (there === undefined) yield { kind: 'drift', where, found: 'no program of ours', wanted, repair: BY_AGENT };
      else if (program !== undefined && there.programId !== program)
        yield { kind: 'drift', where, found: `program ${there.programId}`, wanted: `program ${program}`, repair: BY_AGENT };
      else if (there.before.length > 0)
        yield {
          kind: 'warning',
          where,
          found: `before us: ${there.before.join(', ')}`,
          wanted: 'our program first',
          repair: 'nobody: what is before us may keep packets from us; detach it, or attach it after us',
        };
    }
  }
}

/** XDP sends by a device where the map says that it runs: the link must be there. */
function* xdpFindings({ native, pins, network, maps }: Inspected): Generator<Finding> {
  for (const [ifindex, device] of maps.devices.entries()) {
    if (!(device.flags & DeviceFlag.DEVICE_XDP)) continue;
    const pin = `${pins.xdpLinks}/${ifindex}`;
    const link = existsSync(pin) ? native.openPin(pin) : undefined;
    const at = link === undefined ? undefined : native.linkInfo(link).ifindex;
    if (link !== undefined) native.closeFd(link);
    if (at === ifindex) continue;
    const name = network.links.get(ifindex)?.name ?? String(ifindex);
    yield {
      kind: 'drift',
      where: `device ${name} XDP`,
      found: 'no link of ours',
      wanted: 'our XDP program, as the map devices says',
      repair: BY_AGENT,
    };
  }
}

function* cgroupFindings({ native, pins, cgroupRoot }: Inspected): Generator<Finding> {
  if (cgroupRoot === undefined) return;
  if (!existsSync(cgroupRoot)) {
    yield {
      kind: 'drift',
      where: `cgroup ${cgroupRoot}`,
      found: 'no such directory',
      wanted: 'the root of cgroup v2',
      repair: 'sluice.cgroupRoot names the right one',
    };
    return;
  }
  const root = statSync(cgroupRoot, { bigint: true }).ino;
  const target = native.openDirectory(cgroupRoot);
  try {
    for (const [name, attachType] of Object.entries(SOCKET_PROGRAMS)) {
      const where = `cgroup ${cgroupRoot} ${name}`;
      const pin = `${pins.cgroupLinks}/${name}`;
      const link = existsSync(pin) ? native.openPin(pin) : undefined;
      const held = link === undefined ? undefined : native.linkInfo(link);
      if (link !== undefined) native.closeFd(link);
      const wanted = 'our link at this cgroup';
      if (held === undefined) yield { kind: 'drift', where, found: 'no link of ours', wanted, repair: BY_AGENT };
      else if (held.cgroupId !== root) yield { kind: 'drift', where, found: `a link at cgroup ${held.cgroupId}`, wanted, repair: BY_AGENT };
      // A link that was detached keeps its number and is asked of no more.
      else if (!native.query(target, attachType).programIds.includes(held.programId))
        yield { kind: 'drift', where, found: 'a link that is detached', wanted, repair: BY_AGENT };
    }
  } finally {
    native.closeFd(target);
  }
}

function* sysctlFindings({ network, snatPorts, roles }: Inspected): Generator<Finding> {
  const families = new Set(network.addresses.filter(({ scope }) => scope === 0).map(({ family }) => family));
  for (const [name, family] of [
    ['net.ipv4.ip_forward', 4],
    ['net.ipv6.conf.all.forwarding', 6],
  ] as const) {
    if ((family === 6 && !families.has(6)) || readSysctl(name).trim() !== '0') continue;
    yield {
      kind: 'drift',
      where: `sysctl ${name}`,
      found: '0',
      wanted: '1: else no packet is forwarded between devices',
      repair: `sysctl -w ${name}=1`,
    };
  }
  const reserved = parsePorts(readSysctl('net.ipv4.ip_local_reserved_ports'));
  const free = new Set([...portsOf(snatPorts)].filter((port) => !reserved.has(port)));
  if (free.size > 0) {
    yield {
      kind: 'drift',
      where: 'sysctl net.ipv4.ip_local_reserved_ports',
      found: `without ${portsText(free)}`,
      wanted: `all of ${snatPorts.first}-${snatPorts.last}: a process could get a port that a masquerade uses`,
      repair: 'the agent, when it is started again; or add them with sysctl -w',
    };
  }
  for (const [ifindex, { role }] of roles) {
    const name = network.links.get(ifindex)?.name;
    if (name === undefined || (role !== 'nic' && role !== 'l3' && role !== 'tunnel')) continue;
    if (Math.max(filterOf('all'), filterOf(name)) !== 1) continue;
    yield {
      kind: 'warning',
      where: `sysctl net.ipv4.conf.${name}.rp_filter`,
      found: '1, strict (the greater of it and conf.all counts)',
      wanted: '2 or 0 where answers may leave by another device than requests come by',
      repair: `sysctl -w net.ipv4.conf.${name}.rp_filter=2, and net.ipv4.conf.all.rp_filter likewise`,
    };
  }
}

/** 0 where the device went meanwhile. */
function filterOf(device: string): number {
  if (device !== 'all' && !existsSync(`/proc/sys/net/ipv4/conf/${device}`)) return 0;
  return Number(readSysctl(`net.ipv4.conf.${device.replaceAll('.', '/')}.rp_filter`));
}

/** Frontends whose slots name no backend that lives: what goes to them is dropped (DROP_STALE_SLOT). */
export function referenceFindings(maps: Maps): Finding[] {
  const findings: Finding[] = [];
  for (const family of [4, 6] as const) {
    const { frontends, backends } = mapsOf(maps, family);
    for (const [key, { cluster, local, cluster_table, local_table }] of frontends.entries()) {
      const dead = new Set<number>();
      for (const { first, count } of [cluster, local, cluster_table, local_table]) {
        for (let slot = first; slot < first + count; slot++) {
          const id = slot < maps.slots.length ? maps.slots.get(slot) : 0;
          if (id === 0 || !((backends.get(id)?.flags ?? 0) & BackendFlag.BACKEND_LIVE)) dead.add(id);
        }
      }
      if (dead.size === 0) continue;
      const found = `slots name ${[...dead].map((id) => (id === 0 ? 'nobody' : `backend ${id}, which is not there`)).join(', ')}`;
      findings.push({
        kind: 'drift',
        where: `map frontends${family} ${frontendText(key)}`,
        found,
        wanted: 'backends that live',
        repair: 'an agent, when it is started',
      });
    }
  }
  return findings;
}

/** From here on a table is as good as full: unconfirmed flows push each other out, answered ones are refused (9.9). */
const FULL = 0.9;

/** Tables with little room left. Those of LRU kind are full by nature when there was a flood. */
export function fillFindings(fill: readonly MapStatus[]): Finding[] {
  return fill
    .filter(({ entries, maxEntries }) => entries >= FULL * maxEntries)
    .map(({ name, entries, maxEntries }) => ({
      kind: 'warning',
      where: `map ${name}`,
      found: `${entries} of ${maxEntries} entries`,
      wanted: `less than ${Math.ceil(FULL * maxEntries)}`,
      repair: `--map-size ${name}=${2 * maxEntries} at the agent's next start`,
    }));
}

/** Everything but the contents of the maps. */
export function inspect(inspected: Inspected): Finding[] {
  return [...deviceFindings(inspected), ...xdpFindings(inspected), ...cgroupFindings(inspected), ...sysctlFindings(inspected)];
}
