// What may an operator choose about the datapath on a node? The part of the configuration that this room reads, validated where it comes from.

import type { MapName } from '../abi/layout.gen.ts';
import type { DetectLocal } from '../model/node.ts';
import type { PortRange } from './ports.ts';
import type { XdpMode } from './xdp.ts';

export interface DatapathOptions {
  /** Directory on a bpffs for maps and links. One agent a directory. */
  readonly pinDirectory: string;
  /** Directory for what must outlive the agent and is no pin. */
  readonly stateDirectory: string;
  /** undefined: the root of the cgroup v2 hierarchy, found. */
  readonly cgroupRoot: string | undefined;
  /** socket `on`: pods (TCP) and the node's own processes (TCP and UDP); `host-only`: the latter. */
  readonly hooks: { readonly tc: boolean; readonly socket: 'on' | 'host-only' | 'off' };
  /** Where XDP is wanted at first; it may change while the datapath runs. */
  readonly xdp: XdpMode;
  /** Cgroups left alone by the socket hook at first, relative to the cgroup root; they may change while the datapath runs. */
  readonly socketExceptions: readonly string[];
  /** Names of the NICs; undefined: found. */
  readonly devices: readonly string[] | undefined;
  /** Name prefixes of pods' interfaces; undefined: found. */
  readonly podInterfaces: readonly string[] | undefined;
  /** How a client is known to be a pod of this node (14.2). */
  readonly detectLocal: DetectLocal;
  /** max_entries of maps, where not the default. */
  readonly mapSizes: Readonly<Partial<Record<MapName, number>>>;
  readonly masqueradeAll: boolean;
  /** The bit of the skb mark on packets that we send, as a mask. */
  readonly masqueradeMark: number;
  readonly snatPorts: PortRange;
  readonly conntrack: Timeouts;
}

/** Timeouts that an operator sets (9.8). */
export interface Timeouts {
  readonly tcpEstablishedSeconds: number;
  /** One end has closed, the other has not. */
  readonly tcpCloseWaitSeconds: number;
  /** No reply seen yet. */
  readonly udpSeconds: number;
  readonly udpStreamSeconds: number;
}

/** What decides about devices. */
export type DeviceOptions = Pick<DatapathOptions, 'devices' | 'podInterfaces' | 'detectLocal'>;
