// What do settings, devices and snat_ports hold? Derived from the options, the network and what the cluster says, and written where it
// differs from what is there.

import { encoded } from '../abi/codec.ts';
import { Device, Settings } from '../abi/layout.gen.ts';
import type { Address, Problem } from '../model/model.ts';
import { cgroupRootOf } from './cgroup.ts';
import { writeExemptions } from './exempt.ts';
import type { Finding } from './findings.ts';
import { listeningPorts } from './listeners.ts';
import { KernelError, type Maps } from './maps.ts';
import type { Native } from './native.ts';
import type { NetworkWatch } from './network.ts';
import { devicesOf } from './node.ts';
import type { DatapathOptions } from './options.ts';
import { portWords } from './ports.ts';
import { type Clocks, type ClusterPrefixes, type Standing, settingsOf } from './settings.ts';

/** What the cluster says that is about the node and not about a Service. */
export interface ClusterView extends ClusterPrefixes {
  /** Node addresses, the primary of each family first. */
  readonly nodeAddresses: readonly Address[];
  /** Node ports that are programmed: no masquerade uses them. */
  readonly nodePorts: ReadonlySet<number>;
}

export interface Writer {
  /** Writes what differs. What the kernel refuses becomes a Problem and is written by the next call. */
  write(network: NetworkWatch, view: ClusterView): void;
  /** Cgroups that the socket hook leaves alone from the next write on. */
  setExceptions(paths: readonly string[]): void;
  /** Takes what the maps hold for what was written: the next write repairs what somebody else changed. */
  reread(): void;
  /** What the maps hold otherwise than it should be now. Writes nothing. */
  findings(network: NetworkWatch): Finding[];
  /** Whether no new flow is taken, and whether others' connections may be alive, from the next write on. */
  setStanding(standing: Partial<Pick<Standing, 'yielding' | 'othersFlows'>>): void;
  /** As last written. */
  view(): ClusterView;
  problems(): readonly Problem[];
}

const BLIND: Problem = {
  object: 'Agent',
  reason: 'NoSocketList',
  message: 'this kernel does not list its sockets (no inet_diag): a masquerade may use a port on which a process of this node listens',
};

function refused(error: KernelError): Problem {
  return {
    object: 'Agent',
    field: error.map,
    reason: 'KernelRefused',
    message: `${error.message}: what this node's devices say is not all in the maps; it is tried again`,
  };
}

/** A value's bytes, to compare by: two texts are equal where the map would hold the same. */
function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');
}

function deviceText(device: Device): string {
  return textOf(encoded(Device, device));
}

function settingsWords(settings: Settings | undefined): string {
  return settings === undefined ? '' : textOf(encoded(Settings, settings));
}

function heldDevices(maps: Maps): Map<number, string> {
  return new Map([...maps.devices.entries()].map(([ifindex, device]) => [ifindex, deviceText(device)]));
}

function heldWords(maps: Maps): readonly bigint[] {
  const words = new Array<bigint>(maps.snat_ports.maxEntries).fill(0n);
  for (const [index, word] of maps.snat_ports.entries()) words[index] = word;
  return words;
}

/** It yields until it is told otherwise: programs come to their hooks one by one. diag: an AF_NETLINK SOCK_DIAG descriptor. xdp: devices where XDP runs natively now. taken: ports that netfilter gave to its own masquerades. */
export function openWriter(
  native: Native,
  maps: Maps,
  diag: number,
  options: DatapathOptions,
  clocks: Clocks,
  xdp: () => ReadonlySet<number>,
  taken: () => ReadonlySet<number>,
): Writer {
  // 0 says "never looked up" in a flow, and what an earlier agent's flows remember must not be this one's.
  const generations = (maps.settings.get(0)?.route_generation ?? 0) + 1;
  let devices = heldDevices(maps);
  // Ways hold the masquerade address of their device: one that changes though no device did (a node address of the cluster's) ends them too.
  let rewrites = 0;
  let settingsText = '';
  let words: readonly bigint[] = [];
  let current: ClusterView = { serviceCIDRs: [], localPrefixes: undefined, nodeAddresses: [], nodePorts: new Set() };
  let problems: Problem[] = [];
  let exceptions = options.socketExceptions;
  let standing: Standing = { exempting: false, yielding: true, othersFlows: false };

  function writeExceptions(): void {
    const written = writeExemptions(maps, cgroupRootOf(options.cgroupRoot), exceptions);
    standing = { ...standing, exempting: written.count > 0 };
    problems.push(...written.problems);
  }

  function writeDevices(network: NetworkWatch): void {
    const wanted = devicesOf(network.current(), current.nodeAddresses, xdp());
    const changed: [number, Device][] = [];
    for (const [ifindex, device] of wanted) {
      if (devices.get(ifindex) !== deviceText(device)) changed.push([ifindex, device]);
    }
    const gone = [...devices.keys()].filter((ifindex) => !wanted.has(ifindex));
    if (changed.length + gone.length > 0) rewrites++;
    maps.devices.deleteMany(gone);
    for (const ifindex of gone) devices.delete(ifindex);
    maps.devices.setMany(changed);
    for (const [ifindex, device] of changed) devices.set(ifindex, deviceText(device));
  }

  function writePorts(): void {
    const listening = listeningPorts(native, diag);
    if (listening === undefined) problems.push(BLIND);
    const next = portWords(options.snatPorts, new Set([...(listening ?? []), ...current.nodePorts, ...taken()]));
    const changed = next.flatMap((word, index) => (words[index] === word ? [] : [[index, word] as const]));
    maps.snat_ports.setMany(changed);
    words = next;
  }

  function writeSettings(network: NetworkWatch): void {
    const generation = (generations + network.changes() + rewrites) >>> 0 || 1;
    const made = settingsOf(options, clocks, current, generation, standing);
    problems.push(...made.problems);
    const text = settingsWords(made.settings);
    if (text === settingsText) return;
    maps.settings.set(0, made.settings);
    settingsText = text;
  }

  return {
    write(network, view) {
      current = view;
      problems = [];
      try {
        writeDevices(network);
        writePorts();
        writeExceptions();
        // Last: its route generation makes flows look the new devices up.
        writeSettings(network);
      } catch (error) {
        if (!(error instanceof KernelError)) throw error;
        problems.push(refused(error));
      }
    },
    setStanding(changes) {
      standing = { ...standing, ...changes };
    },
    setExceptions(paths) {
      exceptions = paths;
    },
    reread() {
      devices = heldDevices(maps);
      words = heldWords(maps);
      settingsText = settingsWords(maps.settings.get(0));
    },
    findings(network) {
      const held = maps.settings.get(0);
      const wanted = settingsOf(options, clocks, current, held?.route_generation ?? 0, standing).settings;
      const findings: Finding[] = [];
      const told = (where: string, found: string, should: string) =>
        findings.push({ kind: 'drift', where, found, wanted: should, repair: 'the agent, within 5 s' });
      if (held === undefined || settingsWords(held) !== settingsWords(wanted))
        told('map settings', 'other contents', 'what the configuration and the cluster say');
      const inMap = heldDevices(maps);
      const should = devicesOf(network.current(), current.nodeAddresses, xdp());
      for (const [ifindex, device] of should)
        if (inMap.get(ifindex) !== deviceText(device))
          told(`map devices ${ifindex}`, inMap.has(ifindex) ? 'other contents' : 'missing', 'what the device says');
      for (const ifindex of inMap.keys())
        if (!should.has(ifindex)) told(`map devices ${ifindex}`, 'not wanted', 'no entry: there is no such device');
      if (heldWords(maps).join() !== words.join()) told('map snat_ports', 'other contents', 'the ports that a masquerade may use');
      return findings;
    },
    view: () => current,
    problems: () => problems,
  };
}
