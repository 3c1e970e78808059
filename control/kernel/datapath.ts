// The datapath on this node, from start to end: one agent at a time, objects loaded, maps adopted, programs at the cgroup root and at every
// device they belong to, followed as devices come and go. Everything stays in the kernel when the agent ends.

import { mkdirSync } from 'node:fs';
import { type Features, SettingFlag } from '../abi/layout.gen.ts';
import type { Problem } from '../model/model.ts';
import { type DeviceHooks, openDeviceHooks, type Wanted } from './attach.ts';
import { type Carried, carry, type Deciding, FLOW_MAPS, SOCKET_MAPS, type Source, seedMaps } from './carry.ts';
import { attachSocketPrograms, cgroupRootOf } from './cgroup.ts';
import { measureJiffies, probeFeatures } from './features.ts';
import type { Finding } from './findings.ts';
import { chooseGeneration, detachLinks, layoutOf, removeGeneration } from './generations.ts';
import { fillFindings, inspect } from './inspect.ts';
import { type KubeProxyWatch, watchKubeProxy } from './kube-proxy.ts';
import { openLedger } from './ledger.ts';
import { type RoleChoice, rolesOf } from './links.ts';
import { loadObjects, loadXdp } from './load.ts';
import { kernelMaps, type Maps } from './maps.ts';
import type { Native, NativeObject } from './native.ts';
import type { Node } from './node.ts';
import type { DatapathOptions } from './options.ts';
import { missingPreconditions } from './preconditions.ts';
import { openRounds } from './rounds.ts';
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

/** Looks at maps of another generation until nothing new is found, but not for ever: one without room finds some each time. */
const PASSES = 5;

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

/** Generations of maps that this one has replaced. */
export interface TakenOver extends Carried {
  /** Of these nothing could be carried over: what their maps hold is not said beside them. */
  readonly unknown: readonly string[];
}

export interface Datapath {
  readonly maps: Maps;
  /** The maps were there: what they hold is an earlier agent's, and flows live on. */
  readonly adopted: boolean;
  /** The maps were made just now, and nothing is in them yet. */
  readonly empty: boolean;
  /**
   * Attaches everything, once, after the maps hold what they should: programs that run see it whole. Throws where the socket hook cannot be
   * proven; a device that refuses becomes a Problem. Resolves with what came from maps of another layout or other sizes, which are gone then.
   */
  attach(view: ClusterView): Promise<TakenOver | undefined>;
  /** What the cluster says now; call it after each turn of the loop. The view given before costs nothing. */
  update(view: ClusterView): void;
  /** Switches XDP while traffic flows: no flow notices, tc serves what XDP does not. Resolves when it is so. */
  setXdp(mode: XdpMode): Promise<void>;
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
  /** Lets go of the descriptors and the lock, at once unless programs are just being attached; attachments, maps and pins stay. After `attach`. */
  close(): Promise<void>;
}

/** Takes the pin directory's lock. undefined: another agent, or a cleanup, has it. */
export function lockPins(native: Native, pinDirectory: string): number | undefined {
  mkdirSync(pinDirectory, { recursive: true, mode: 0o700 });
  return native.lock(pinDirectory);
}

/** Loads the objects and adopts the maps; attaches nothing. Rejects with PreconditionError, LockedError, or what the kernel refused. */
export async function openDatapath(native: Native, node: Node, options: DatapathOptions): Promise<Datapath> {
  const missing = missingPreconditions(native, options);
  if (missing.length > 0) throw new PreconditionError(missing);
  const lock = lockPins(native, options.pinDirectory);
  if (lock === undefined) throw new LockedError(`another agent runs with the pin directory ${options.pinDirectory}: one agent a node`);
  try {
    const features = probeFeatures(native);
    return await run(native, node, options, features, lock);
  } catch (error) {
    native.closeFd(lock);
    throw error;
  }
}

async function run(native: Native, node: Node, options: DatapathOptions, features: Features, lock: number): Promise<Datapath> {
  const ledger = openLedger(options.stateDirectory);
  const netlink = native.netlinkOpen(NETLINK_ROUTE, 0);
  const { own: pins, others } = chooseGeneration(native, options.pinDirectory, options.mapSizes, ledger, netlink);
  const sources: Source[] = others.flatMap((other) => {
    const layout = layoutOf(native, other);
    return layout === undefined ? [] : [{ pins: other, layout }];
  });
  const loaded = await loadObjects(native, pins, options, features, (made) => {
    if (sources[0] !== undefined) seedMaps(native, sources[0], made);
  });
  const maps = kernelMaps(native, loaded.maps);
  const cgroupRoot = options.hooks.socket === 'off' ? undefined : cgroupRootOf(options.cgroupRoot);
  const diag = native.netlinkOpen(NETLINK_SOCK_DIAG, 0);
  const hooks: DeviceHooks = openDeviceHooks(native, pins, ledger, netlink);
  let xdpObject: NativeObject | undefined;
  const theirXdp = others.map(({ xdpLinks }) => xdpLinks);
  const xdp = openXdp(native, pins.xdpLinks, theirXdp, async () => {
    xdpObject = await loadXdp(native, loaded.maps, features);
    return xdpObject.programs.nic_xdp!;
  });
  let xdpMode = options.xdp;
  const stops: (() => void)[] = [];
  const callbacks = new Set<() => void>();
  let writer: Writer | undefined;
  let kubeProxy: KubeProxyWatch | undefined;
  let roles: ReadonlyMap<number, RoleChoice> = new Map();
  let refusals: ReadonlyMap<number, Error> = new Map();
  let standing: readonly Problem[] = [];
  let socketRefusal: Problem | undefined;
  let toldText = '[]';

  const problems = () => [...standing, ...(socketRefusal === undefined ? [] : [socketRefusal]), ...(writer?.problems() ?? [])];
  const noPorts: ReadonlySet<number> = new Set();

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

  const jiffies = () => Number(BigInt.asUintN(32, readClock().jiffies));
  // It takes a tenth of a second, which goes by while the source is waited for. A refusal is for attach, where there is one.
  const measured = measureJiffies(readClock);
  measured.catch(() => {});

  /** Programs to devices by their roles. A device's entry in the map is there before its programs are. */
  const rounds = openRounds(async () => {
    if (writer === undefined) return;
    const opened = writer;
    opened.write(node.network, opened.view());
    const network = node.network.current();
    roles = rolesOf(network, { ...options, nodeAddresses: opened.view().nodeAddresses });
    refusals = await hooks.apply(options.hooks.tc ? wantedOf(roles, program) : []);
    const mode = options.hooks.tc ? xdpMode : 'off';
    await xdp.follow(roles, network, mode, new Set(refusals.keys()), () => opened.write(node.network, opened.view()));
    standing = [
      ...sysctlProblems({ ipv6: network.addresses.some((entry) => entry.family === 6 && entry.scope === 0) }),
      ...refusalProblems(refusals, node),
      ...nicProblems(roles, options),
      ...xdp.problems(),
      ...(kubeProxy?.problems() ?? []),
    ];
    const text = JSON.stringify(problems());
    if (text !== toldText) for (const callback of callbacks) callback();
    toldText = text;
  });

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

  /**
   * Ours stand before the others at every hook and pass what they do not know. So: what will stay is copied; then, with one write, new flows are
   * ours everywhere at once; the rest and what began meanwhile is copied; then the others go. No packet finds a moment without its flow.
   */
  async function takeOver(opened: Writer): Promise<TakenOver> {
    let [entries, unfit] = [0, 0];
    const own = new Set<string>();
    const carryAll = async (maps: typeof FLOW_MAPS, most: number, deciding: Deciding) => {
      for (let pass = 0; pass < most; pass++) {
        let added = 0;
        unfit = 0;
        for (const source of sources) {
          const carried = await carry(native, source, loaded.maps, maps, own, deciding, jiffies());
          added += carried.entries;
          unfit += carried.unfit;
        }
        entries += added;
        if (added === 0) return;
      }
    };
    await carryAll([...FLOW_MAPS, ...SOCKET_MAPS], PASSES, 'theirs');
    opened.setStanding({ yielding: false });
    opened.write(node.network, opened.view());
    await carryAll(FLOW_MAPS, PASSES, 'ours');
    // Who asks for a backend asks us from now on; who asks for the frontend of an answer finds both until the last choice is copied.
    for (const other of others) detachLinks(native, other.cgroupLinks, (name) => /^(connect|sendmsg)/.test(name));
    await carryAll(SOCKET_MAPS, PASSES, 'ours');
    const left = unfit;
    for (const other of others) for (const directory of [other.cgroupLinks, other.deviceLinks]) detachLinks(native, directory);
    await carryAll(FLOW_MAPS, 1, 'ours');
    for (const other of others) removeGeneration(native, other, ledger, netlink);
    const known = new Set(sources.map((source) => source.pins));
    const unknown = others.filter((other) => !known.has(other)).map(({ directory }) => directory);
    return { entries, unfit: Math.max(left, unfit), unknown };
  }

  async function attach(view: ClusterView): Promise<TakenOver | undefined> {
    const jiffiesPerSecond = await measured;
    let netnsCookie = 0n;
    if (cgroupRoot !== undefined) {
      attachSocketPrograms(native, pins.cgroupLinks, cgroupRoot, loaded.programs);
      try {
        netnsCookie = provenCookie(native, maps, cgroupRoot);
      } catch (error) {
        detachLinks(native, pins.cgroupLinks);
        throw error;
      }
    } else {
      detachLinks(native, pins.cgroupLinks);
    }
    const clocks: Clocks = { netnsCookie, jiffiesPerSecond };
    reservePorts(ledger, options.snatPorts);
    const besides = watchKubeProxy(native, maps, options.snatPorts, () => Date.now());
    kubeProxy = besides;
    const opened = openWriter(native, maps, diag, options, clocks, xdp.running, () => kubeProxy?.ports() ?? noPorts);
    writer = opened;
    // Programs of a new generation come to their hooks one by one: a flow that began at the first would find no way back at the last.
    const begins = !loaded.adopted || ((maps.settings.get(0)?.flags ?? 0) & SettingFlag.SETTING_YIELD) !== 0;
    opened.setStanding({ yielding: begins, othersFlows: others.length > 0 || besides.othersFlows() });
    opened.write(node.network, view);
    await rounds.run();
    // kube-proxy took every connection until now: the ports it gave them are none for ours.
    besides.count();
    opened.write(node.network, opened.view());
    const taken = others.length > 0 ? await takeOver(opened) : undefined;
    opened.setStanding({ yielding: false, othersFlows: besides.othersFlows() });
    opened.write(node.network, opened.view());
    // And those that it gave in between.
    besides.count();
    opened.write(node.network, opened.view());

    const again = () => void rounds.run();
    const verify = () => {
      verifySocketPrograms();
      opened.reread();
      besides.look();
      opened.setStanding({ othersFlows: besides.othersFlows() });
      again();
    };
    const timer = setInterval(verify, VERIFY_MS);
    stops.push(node.network.onChange(again), () => clearInterval(timer));
    // Our own filters are told of too: looking again finds nothing to do.
    if (hooks.mode === 'clsact') stops.push(node.network.onFilterChange(again));
    return taken;
  }

  return {
    maps,
    adopted: loaded.adopted,
    empty: loaded.fresh && sources.length === 0,
    attach,
    update(view) {
      if (writer === undefined) return;
      const before = writer.view();
      if (view === before) return;
      writer.write(node.network, view);
      if (before.nodeAddresses.join() !== view.nodeAddresses.join()) void rounds.run();
    },
    setXdp(mode) {
      xdpMode = mode;
      return rounds.run();
    },
    setExceptions(paths) {
      if (writer === undefined) return;
      writer.setExceptions(paths);
      writer.write(node.network, writer.view());
    },
    jiffies,
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
        kubeProxy: kubeProxy?.status(),
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
    async close() {
      for (const stop of stops) stop();
      const ended = rounds.end();
      if (ended !== undefined) await ended;
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
