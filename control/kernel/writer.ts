// What do settings, devices and snat_ports hold? Derived from the options, the network and what the cluster says, and written where it
// differs from what is there.

import type { Device } from '../abi/layout.gen.ts';
import type { Address, Problem } from '../model/model.ts';
import { cgroupRootOf } from './cgroup.ts';
import { writeExemptions } from './exempt.ts';
import { listeningPorts } from './listeners.ts';
import { KernelError, type Maps } from './maps.ts';
import type { Native } from './native.ts';
import type { NetworkWatch } from './network.ts';
import { devicesOf } from './node.ts';
import type { DatapathOptions } from './options.ts';
import { portWords } from './ports.ts';
import { type Clocks, type ClusterPrefixes, settingsOf } from './settings.ts';

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

/** diag: an AF_NETLINK SOCK_DIAG descriptor. xdp: devices where XDP runs natively now. */
export function openWriter(
  native: Native,
  maps: Maps,
  diag: number,
  options: DatapathOptions,
  clocks: Clocks,
  xdp: () => ReadonlySet<number>,
): Writer {
  // 0 says "never looked up" in a flow, and what an earlier agent's flows remember must not be this one's.
  const generations = (maps.settings.get(0)?.route_generation ?? 0) + 1;
  const devices = new Map([...maps.devices.entries()].map(([ifindex, device]) => [ifindex, JSON.stringify(device)]));
  let settingsText = '';
  let words: readonly bigint[] = [];
  let current: ClusterView = { serviceCIDRs: [], localPrefixes: undefined, nodeAddresses: [], nodePorts: new Set() };
  let problems: Problem[] = [];
  let exceptions = options.socketExceptions;
  let exempt = 0;

  function writeExceptions(): void {
    const written = writeExemptions(maps, cgroupRootOf(options.cgroupRoot), exceptions);
    exempt = written.count;
    problems.push(...written.problems);
  }

  function writeDevices(network: NetworkWatch): void {
    const wanted = devicesOf(network.current(), current.nodeAddresses, xdp());
    const changed: [number, Device][] = [];
    for (const [ifindex, device] of wanted) {
      const text = JSON.stringify(device);
      if (devices.get(ifindex) !== text) changed.push([ifindex, device]);
    }
    const gone = [...devices.keys()].filter((ifindex) => !wanted.has(ifindex));
    maps.devices.deleteMany(gone);
    for (const ifindex of gone) devices.delete(ifindex);
    maps.devices.setMany(changed);
    for (const [ifindex, device] of changed) devices.set(ifindex, JSON.stringify(device));
  }

  function writePorts(): void {
    const listening = listeningPorts(native, diag);
    if (listening === undefined) problems.push(BLIND);
    const next = portWords(options.snatPorts, new Set([...(listening ?? []), ...current.nodePorts]));
    const changed = next.flatMap((word, index) => (words[index] === word ? [] : [[index, word] as const]));
    maps.snat_ports.setMany(changed);
    words = next;
  }

  function writeSettings(network: NetworkWatch): void {
    const generation = (generations + network.changes()) >>> 0 || 1;
    const made = settingsOf(options, clocks, current, generation, exempt);
    problems.push(...made.problems);
    const text = JSON.stringify(made.settings, (_, value: unknown) => (typeof value === 'bigint' ? value.toString() : value));
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
    setExceptions(paths) {
      exceptions = paths;
    },
    view: () => current,
    problems: () => problems,
  };
}
