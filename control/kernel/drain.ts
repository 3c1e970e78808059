// How do we leave a node to another proxy without ending a connection? No new flow is taken, what is known lives on, and netfilter is told
// which ports our live flows have, so that it gives them to nobody. When the last has ended, or the time is up, all can go.

import { existsSync } from 'node:fs';
import { encoded } from '../abi/codec.ts';
import { Features, type Flow4, type Flow6, FlowFlag, type FlowKey4, type FlowKey6, MAPS, SettingFlag } from '../abi/layout.gen.ts';
import { LockedError } from './datapath.ts';
import { expireFlows, expiryClock } from './expire.ts';
import { probeFeatures } from './features.ts';
import { kernelMaps, type Maps, type TypedMap } from './maps.ts';
import type { Native } from './native.ts';
import { holdTuple, NETLINK_NETFILTER } from './netfilter.ts';
import type { DatapathOptions } from './options.ts';
import { servingPins } from './pins.ts';
import { objectPath } from './preconditions.ts';

const LOOK_MS = 1_000;
/** What netfilter is told outlives the drain by so much: a sweep, and the last packets. */
const HOLD_SECONDS = 60;

export interface Drain {
  /** Ends when no flow is left, or when so many seconds have passed. progress: flows that live, at each change. */
  run(seconds: number, progress: (flows: number) => void): Promise<{ readonly left: number }>;
  /** Takes new flows again. */
  undo(): void;
  /** Flows whose ports netfilter knows of. */
  readonly held: number;
  close(): void;
}

/** Stops taking new flows, at once. undefined: nothing is attached. Throws LockedError where an agent runs, and what netfilter refuses: then nothing has changed. */
export function openDrain(
  native: Native,
  options: Pick<DatapathOptions, 'pinDirectory' | 'conntrack'>,
  seconds: number,
): Drain | undefined {
  const pins = existsSync(options.pinDirectory) ? servingPins(options.pinDirectory) : undefined;
  if (pins === undefined) return undefined;
  const lock = native.lock(options.pinDirectory);
  if (lock === undefined) throw new LockedError(`an agent runs with the pin directory ${options.pinDirectory}: stop it first`);
  const descriptors: Record<string, number> = {};
  for (const name of Object.keys(MAPS)) {
    const fd = native.openPin(pins.map(name));
    if (fd === undefined) throw new Error(`${pins.map(name)} is not there: these maps are of another version of sluice, or incomplete`);
    descriptors[name] = fd;
  }
  const maps = kernelMaps(native, descriptors);
  const rodata = { '.rodata.features': encoded(Features, probeFeatures(native)) };
  const object = native.load(objectPath('tc'), { maps: descriptors, rodata, programs: ['probe_clock'] });
  const jiffies = () => {
    native.testRun(object.programs.probe_clock!, new Uint8Array(64), {});
    return Number(BigInt.asUintN(32, maps.self_tests.get(0)?.jiffies ?? 0n));
  };

  const yielding = (on: boolean) => {
    const settings = maps.settings.get(0);
    if (settings === undefined) return;
    const flags = on ? settings.flags | SettingFlag.SETTING_YIELD : settings.flags & ~SettingFlag.SETTING_YIELD;
    maps.settings.set(0, { ...settings, flags: flags >>> 0 });
  };
  const close = () => {
    object.close();
    for (const fd of Object.values(descriptors)) native.closeFd(fd);
    native.closeFd(lock);
  };
  let held = 0;
  try {
    // Before the first new connection is another's, and once more for those that began meanwhile.
    held += holdPorts(native, maps, seconds + HOLD_SECONDS);
    yielding(true);
    held += holdPorts(native, maps, seconds + HOLD_SECONDS);
  } catch (error) {
    yielding(false);
    close();
    throw error;
  }

  return {
    held,
    async run(limit, progress) {
      const end = performance.now() + limit * 1000;
      let before = -1;
      for (;;) {
        const settings = maps.settings.get(0);
        if (settings === undefined) return { left: 0 };
        const now = jiffies();
        await expireFlows(maps, expiryClock(settings, options.conntrack, now));
        const alive = liveFlows(maps, now, settings.tcp_syn_timeout, settings.udp_stream_timeout);
        if (alive !== before) progress(alive);
        before = alive;
        if (alive === 0 || performance.now() >= end) return { left: alive };
        await new Promise((resolve) => setTimeout(resolve, Math.min(LOOK_MS, Math.max(0, end - performance.now()))));
      }
    },
    undo: () => yielding(false),
    close,
  };
}

const CLOSED = FlowFlag.FLOW_FIN | FlowFlag.FLOW_PEER_FIN;

function isAlive(flow: Flow4 | Flow6): boolean {
  return !(flow.flags & FlowFlag.FLOW_RST) && (flow.flags & CLOSED) !== CLOSED;
}

/** Flows that have not ended, each counted by its reply's entry, and sockets of the node that send to a Service without being connected to it. */
function liveFlows(maps: Maps, now: number, newTimeout: number, streamTimeout: number): number {
  let alive = 0;
  const young = (seen: number, timeout: number) => ((now - seen) | 0) <= timeout;
  for (const flows of [maps.flows4, maps.flows6])
    for (const [, flow] of (flows as TypedMap<unknown, Flow4 | Flow6>).entries())
      if (flow.flags & FlowFlag.FLOW_REPLY && isAlive(flow)) alive++;
  for (const flows of [maps.new_flows4, maps.new_flows6])
    for (const [, flow] of (flows as TypedMap<unknown, Flow4 | Flow6>).entries())
      if (flow.flags & FlowFlag.FLOW_REPLY && isAlive(flow) && young(flow.seen, newTimeout)) alive++;
  for (const [key, { seen }] of maps.socket_flows.entries())
    if (key.protocol === 17 && key.direction === 1 && young(seen, streamTimeout)) alive++;
  return alive;
}

/**
 * Tells netfilter of every flow that leaves with an address of this node. Of those that have ended too: until they are forgotten, an answer to
 * their port is theirs.
 */
function holdPorts(native: Native, maps: Maps, seconds: number): number {
  const netlink = native.netlinkOpen(NETLINK_NETFILTER, 0);
  let held = 0;
  try {
    for (const flows of [maps.flows4, maps.flows6])
      for (const [key, flow] of (flows as TypedMap<FlowKey4 | FlowKey6, Flow4 | Flow6>).entries()) {
        const { FLOW_REPLY, FLOW_SEND, FLOW_HAIRPIN } = FlowFlag;
        // The answer arrives as its key says.
        if ((flow.flags & (FLOW_REPLY | FLOW_SEND | FLOW_HAIRPIN)) !== (FLOW_REPLY | FLOW_SEND)) continue;
        const { destination: source, source: destination, destination_port: sourcePort, source_port: destinationPort, protocol } = key;
        if (
          holdTuple(native, netlink, { source, destination, protocol, sourcePort, destinationPort }, isAlive(flow) ? seconds : HOLD_SECONDS)
        )
          held++;
      }
  } finally {
    native.closeFd(netlink);
  }
  return held;
}
