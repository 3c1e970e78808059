// The datapath on this node, from start to end: one agent at a time, objects loaded, maps adopted, programs at the cgroup root and at every
// device they belong to, followed as devices come and go. Everything stays in the kernel when the agent ends.

import { mkdirSync } from 'node:fs';
import type { Features } from '../abi/layout.gen.ts';
import type { Problem } from '../model/model.ts';
import { type DeviceHooks, openDeviceHooks, type Wanted } from './attach.ts';
import { attachSocketPrograms, cgroupRootOf } from './cgroup.ts';
import { measureJiffies, probeFeatures } from './features.ts';
import type { Finding } from './findings.ts';
import { fillFindings, inspect } from './inspect.ts';
import { openLedger } from './ledger.ts';
import { type RoleChoice, rolesOf } from './links.ts';
import { loadObjects, loadXdp } from './load.ts';
import { kernelMaps, type Maps } from './maps.ts';
import type { Native, NativeObject } from './native.ts';
import type { Node } from './node.ts';
import type { DatapathOptions } from './options.ts';
import { mapDirectories, pinsOf, removePins } from './pins.ts';
import { missingPreconditions } from './preconditions.ts';
import { provenCookie } from './selftest.ts';
import type { Clocks } from './settings.ts';
import { type DatapathStatus, type DeviceStatus, describe, devicesIn, type MapStatus, mapsFill } from './status.ts';
import { reservePorts, sysctlProblems } from './sysctl.ts';
import { type ClusterView, openWriter, type Writer } from './writer.ts';
import { openXdp, type XdpMode } from './xdp.ts';

const NETLINK_ROUTE = 0;
const NETLINK_SOCK_DIAG = 4;

/** What others undo (a clsact, a link, a listener's port) is noticed after this time where nothing tells of it. */
const VERIFY_MS = 5_000;

/** The machine lacks something; one line each. Nothing was touched. */
export class PreconditionError extends Error {
  override readonly name = 'PreconditionError';
  readonly lines: readonly string[];
  constructor(lines: readonly string[]) {
    super(lines.join('\n'));
    this.lines = lines;
  }
}

/** Another agent has this node. Nothing was touched. */
export class LockedError extends Error {
  override readonly name = 'LockedError';
}

export interface Datapath {
  readonly maps: Maps;
  /** The maps were there: what they hold is an earlier agent's, and flows live on. */
  readonly adopted: boolean;
  /**
   * Attaches everything, once, after the maps hold what they should: programs that run see it whole. Throws where the socket hook cannot be
   * proven; a device that refuses becomes a Problem.
   */
  attach(view: ClusterView): Promise<void>;
  /** What the cluster says now; call it after each turn of the loop. The view given before costs nothing. */
  update(view: ClusterView): void;
  /** Switches XDP while traffic flows: no flow notices, tc serves what XDP does not. */
  setXdp(mode: XdpMode): void;
  /** Cgroups that the socket hook leaves alone from now on. Calls that were translated stay so. */
  setExceptions(paths: readonly string[]): void;
  /** Low 32 bits of jiffies64: the clock of `seen` in flows. */
  jiffies(): number;
  problems(): readonly Problem[];
  /** Calls back when problems() changed. Returns a stop function. */
  onProblems(callback: () => void): () => void;
  status(): Promise<DatapathStatus>;
  /** Counts the entries of the maps that fill up and are named so; yields to the event loop in between. */
  fill(named: (name: string) => boolean): Promise<MapStatus[]>;
  /** What is not as it must be now, of all but the maps that the plan decides about. */
  findings(): Promise<Finding[]>;
  /** The devices' part of it, cheap. */
  devices(): readonly DeviceStatus[];
  /** Lets go of the descriptors and the lock; attachments, maps and pins stay. */
  close(): void;
}

/** Takes the pin directory's lock. undefined: another agent, or a cleanup, has it. */
export function lockPins(native: Native, pinDirectory: string): number | undefined {
  mkdirSync(pinDirectory, { recursive: true, mode: 0o700 });
  return native.lock(pinDirectory);
}

/** Loads the objects and adopts the maps; attaches nothing. Throws PreconditionError, LockedError, or what the kernel refused. */
export function openDatapath(native: Native, node: Node, options: DatapathOptions): Datapath {
  const missing = missingPreconditions(native, options);
  if (missing.length > 0) throw new PreconditionError(missing);
  const lock = lockPins(native, options.pinDirectory);
  if (lock === undefined) throw new LockedError(`another agent runs with the pin directory ${options.pinDirectory}: one agent a node`);
  try {
    const features = probeFeatures(native);
    return run(native, node, options, features, lock);
  } catch (error) {
    native.closeFd(lock);
    throw error;
  }
}

function run(native: Native, node: Node, options: DatapathOptions, features: Features, lock: number): Datapath {
  const pins = pinsOf(options.pinDirectory, options.mapSizes);
  const ledger = openLedger(options.stateDirectory);
  const loaded = loadObjects(native, pins, options, features);
  const maps = kernelMaps(native, loaded.maps);
  const cgroupRoot = options.hooks.socket === 'off' ? undefined : cgroupRootOf(options.cgroupRoot);
  const netlink = native.netlinkOpen(NETLINK_ROUTE, 0);
  const diag = native.netlinkOpen(NETLINK_SOCK_DIAG, 0);
  const hooks: DeviceHooks = openDeviceHooks(native, pins, ledger, netlink);
  let xdpObject: NativeObject | undefined;
  const xdp = openXdp(native, pins.xdpLinks, () => {
    xdpObject = loadXdp(native, loaded.maps, features);
    return xdpObject.programs.nic_xdp!;
  });
  let xdpMode = options.xdp;
  const stops: (() => void)[] = [];
  const callbacks = new Set<() => void>();
  let writer: Writer | undefined;
  let roles: ReadonlyMap<number, RoleChoice> = new Map();
  let refusals: ReadonlyMap<number, Error> = new Map();
  let standing: readonly Problem[] = [];
  let socketRefusal: Problem | undefined;
  let toldText = '[]';

  const problems = () => [...standing, ...(socketRefusal === undefined ? [] : [socketRefusal]), ...(writer?.problems() ?? [])];

  function program(name: string): number {
    const fd = loaded.programs[name];
    if (fd === undefined) throw new Error(`tc.o has no program ${name}`);
    return fd;
  }

  function readClock() {
    native.testRun(program('probe_clock'), new Uint8Array(64), {});
    const test = maps.self_tests.get(0);
    if (test === undefined) throw new Error('self_tests has no entry');
    return test;
  }

  /** Programs to devices by their roles. A device's entry in the map is there before its programs are. */
  function follow(view: ClusterView): void {
    const network = node.network.current();
    roles = rolesOf(network, { ...options, nodeAddresses: view.nodeAddresses });
    refusals = hooks.apply(options.hooks.tc ? wantedOf(roles, program) : []);
    xdp.follow(roles, network, options.hooks.tc ? xdpMode : 'off', new Set(refusals.keys()), () => writer?.write(node.network, view));
    standing = [
      ...sysctlProblems({ ipv6: network.addresses.some((entry) => entry.family === 6 && entry.scope === 0) }),
      ...refusalProblems(refusals, node),
      ...nicProblems(roles, options),
      ...xdp.problems(),
    ];
    const text = JSON.stringify(problems());
    if (text !== toldText) for (const callback of callbacks) callback();
    toldText = text;
  }

  /** Of a link whose pin somebody removed nothing is left: it is made again; the others get the program they have. */
  function verifySocketPrograms(): void {
    socketRefusal = undefined;
    if (cgroupRoot === undefined) return;
    try {
      attachSocketPrograms(native, pins.cgroupLinks, cgroupRoot, loaded.programs);
    } catch (error) {
      const message = `the socket hook cannot be looked after at ${cgroupRoot}: ${(error as Error).message}`;
      socketRefusal = { object: 'Agent', field: 'sluice.cgroupRoot', reason: 'SocketHookRefused', message };
    }
  }

  async function attach(view: ClusterView): Promise<void> {
    const jiffiesPerSecond = await measureJiffies(readClock);
    let netnsCookie = 0n;
    if (cgroupRoot !== undefined) {
      attachSocketPrograms(native, pins.cgroupLinks, cgroupRoot, loaded.programs);
      try {
        netnsCookie = provenCookie(native, maps, cgroupRoot);
      } catch (error) {
        removePins(pins.cgroupLinks);
        throw error;
      }
    } else {
      removePins(pins.cgroupLinks);
    }
    const clocks: Clocks = { netnsCookie, jiffiesPerSecond };
    reservePorts(ledger, options.snatPorts);
    const opened = openWriter(native, maps, diag, options, clocks, xdp.running);
    writer = opened;
    opened.write(node.network, view);
    follow(view);
    // Nothing refers to the maps of another layout or size any more.
    for (const directory of mapDirectories(options.pinDirectory)) if (directory !== pins.maps) removePins(directory);

    const again = () => {
      opened.write(node.network, opened.view());
      follow(opened.view());
    };
    const verify = () => {
      verifySocketPrograms();
      opened.reread();
      again();
    };
    const timer = setInterval(verify, VERIFY_MS);
    stops.push(node.network.onChange(again), () => clearInterval(timer));
    // Our own filters are told of too: looking again finds nothing to do.
    if (hooks.mode === 'clsact') stops.push(node.network.onFilterChange(() => follow(opened.view())));
  }

  return {
    maps,
    adopted: loaded.adopted,
    attach,
    update(view) {
      if (writer === undefined) return;
      const before = writer.view();
      if (view === before) return;
      writer.write(node.network, view);
      if (before.nodeAddresses.join() !== view.nodeAddresses.join()) follow(view);
    },
    setXdp(mode) {
      xdpMode = mode;
      if (writer !== undefined) follow(writer.view());
    },
    setExceptions(paths) {
      if (writer === undefined) return;
      writer.setExceptions(paths);
      writer.write(node.network, writer.view());
    },
    jiffies: () => Number(BigInt.asUintN(32, readClock().jiffies)),
    problems,
    onProblems(callback) {
      callbacks.add(callback);
      return () => callbacks.delete(callback);
    },
    status: () =>
      describe({
        native,
        options,
        features,
        cgroupRoot,
        hooks,
        xdp,
        xdpMode,
        roles,
        refusals,
        network: node.network.current(),
        maps,
        descriptors: loaded.maps,
        adopted: loaded.adopted,
      }),
    fill: (named) => mapsFill(native, loaded.maps, named),
    async findings() {
      const network = node.network.current();
      const looked = inspect({
        ...{ native, pins, hooks, network, maps, roles, cgroupRoot, snatPorts: options.snatPorts },
        tc: options.hooks.tc,
        programAt: (role, direction) => (role === 'none' ? undefined : native.programInfo(program(`${PREFIXES[role]}_${direction}`)).id),
      });
      return [...(writer?.findings(node.network) ?? []), ...looked, ...fillFindings(await mapsFill(native, loaded.maps))];
    },
    devices: () => devicesIn({ network: node.network.current(), roles, refusals, hooks, xdp }),
    close() {
      for (const stop of stops) stop();
      xdpObject?.close();
      loaded.close();
      native.closeFd(netlink);
      native.closeFd(diag);
      native.closeFd(lock);
    },
  };
}

/** First word of the name of a role's programs. */
const PREFIXES = { nic: 'nic', tunnel: 'nic', pod: 'pod', l3: 'l3' } as const;

function wantedOf(roles: ReadonlyMap<number, RoleChoice>, program: (name: string) => number): Wanted[] {
  return [...roles].flatMap(([ifindex, { role }]) => {
    if (role === 'none') return [];
    return [{ ifindex, programs: { ingress: program(`${PREFIXES[role]}_ingress`), egress: program(`${PREFIXES[role]}_egress`) } }];
  });
}

function nicProblems(roles: ReadonlyMap<number, RoleChoice>, options: DatapathOptions): Problem[] {
  const nics = [...roles.values()].filter(({ role }) => role === 'nic' || role === 'l3');
  if (!options.hooks.tc || nics.length > 0) return [];
  const which =
    options.devices === undefined
      ? 'no device has the default route or an address of the node'
      : `there is no device named ${options.devices.join(', ')}`;
  return [{ object: 'Agent', field: 'devices', reason: 'NoDevice', message: `${which}: nobody outside this node is served` }];
}

function refusalProblems(refusals: ReadonlyMap<number, Error>, node: Node): Problem[] {
  return [...refusals].map(([ifindex, error]) => {
    const name = node.network.current().links.get(ifindex)?.name ?? String(ifindex);
    return {
      object: 'Agent',
      field: name,
      reason: 'AttachFailed',
      message: `no program at device ${name}, whose packets are not served: ${error.message}`,
    };
  });
}
