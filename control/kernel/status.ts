// What is attached where, in which mode and why? The datapath's part of `sluice status`: a plain value, numbers and text only.

import { release } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Features, LAYOUT_FINGERPRINT, MAPS, type MapName } from '../abi/layout.gen.ts';
import { type DeviceHooks, DIRECTIONS, type Mode } from './attach.ts';
import type { KubeProxyStatus } from './kube-proxy.ts';
import type { Role, RoleChoice } from './links.ts';
import type { Maps } from './maps.ts';
import type { Native } from './native.ts';
import type { Network } from './network.ts';
import type { DatapathOptions } from './options.ts';
import { type Unserved, unservedWith } from './unserved.ts';
import type { Xdp, XdpMode, XdpState } from './xdp.ts';

export interface DeviceStatus {
  readonly name: string;
  readonly ifindex: number;
  readonly role: Role;
  readonly why: string;
  /** undefined: nothing is attached. */
  readonly mode: Mode | undefined;
  /** Does XDP run there, and why not? undefined: it is no NIC. */
  readonly xdp: XdpState | undefined;
  /** What sees packets before us, by direction: `ingress: program 12`. */
  readonly before: readonly string[];
  /** Why the kernel refused our programs; undefined: it did not. */
  readonly refusal: string | undefined;
}

export interface MapStatus {
  readonly name: string;
  readonly entries: number;
  readonly maxEntries: number;
}

export interface DatapathStatus {
  readonly kernel: string;
  readonly layout: string;
  readonly pinDirectory: string;
  /** The maps were taken over from an earlier agent. */
  readonly adopted: boolean;
  readonly features: Readonly<Record<string, boolean>>;
  readonly hooks: {
    readonly tc: boolean;
    readonly socket: string;
    readonly deviceMode: Mode;
    readonly xdp: XdpMode;
    readonly cgroupRoot: string | undefined;
  };
  readonly devices: readonly DeviceStatus[];
  readonly maps: readonly MapStatus[];
  readonly settings: Readonly<Record<string, number | string>>;
  /** Undefined before the programs are attached. */
  readonly kubeProxy: KubeProxyStatus | undefined;
  readonly unserved: readonly Unserved[];
}

interface Parts {
  readonly native: Native;
  readonly options: DatapathOptions;
  readonly features: Features;
  readonly cgroupRoot: string | undefined;
  readonly hooks: DeviceHooks;
  readonly xdp: Xdp;
  readonly xdpMode: XdpMode;
  readonly roles: ReadonlyMap<number, RoleChoice>;
  readonly refusals: ReadonlyMap<number, Error>;
  readonly network: Network;
  readonly maps: Maps;
  readonly descriptors: Readonly<Record<string, number>>;
  readonly adopted: boolean;
  readonly kubeProxy: KubeProxyStatus | undefined;
}

/** Looks now. Counting entries yields to the event loop between pages. */
export async function describe(parts: Parts): Promise<DatapathStatus> {
  const { options, features, hooks } = parts;
  return {
    kernel: release(),
    layout: LAYOUT_FINGERPRINT,
    pinDirectory: options.pinDirectory,
    adopted: parts.adopted,
    features: { set_retval: features.set_retval === 1, checksum_ipv6: features.checksum_ipv6 === 1, tcx: hooks.mode === 'tcx' },
    hooks: { tc: options.hooks.tc, socket: options.hooks.socket, deviceMode: hooks.mode, xdp: parts.xdpMode, cgroupRoot: parts.cgroupRoot },
    devices: devicesIn(parts),
    maps: await mapsFill(parts.native, parts.descriptors),
    settings: settingsIn(parts.maps),
    kubeProxy: parts.kubeProxy,
    unserved: unservedWith(options.hooks),
  };
}

/** What every device is to us and what is attached there, now. */
export function devicesIn({
  network,
  roles,
  refusals,
  hooks,
  xdp,
}: Pick<Parts, 'network' | 'roles' | 'refusals' | 'hooks' | 'xdp'>): DeviceStatus[] {
  return [...roles].flatMap(([ifindex, { role, reason }]) => {
    const name = network.links.get(ifindex)?.name;
    if (name === undefined) return [];
    const looks = role === 'none' ? [] : DIRECTIONS.map((direction) => ({ direction, there: hooks.look(ifindex, direction) }));
    return [
      {
        name,
        ifindex,
        role,
        why: reason,
        mode: looks.length > 0 && looks.every(({ there }) => there !== undefined) ? hooks.mode : undefined,
        xdp: xdp.look(ifindex),
        before: looks.flatMap(({ direction, there }) => (there?.before ?? []).map((text) => `${direction}: ${text}`)),
        refusal: refusals.get(ifindex)?.message,
      },
    ];
  });
}

/** Kernel map types whose entries come and go (hash, LRU hash, trie). */
const COUNTED: ReadonlySet<number> = new Set([1, 9, 11]);
const PAGE = 4096;

/** Entries of the maps that fill up, or of the named ones of them, and of the backends by their bytes that are not zero. */
export async function mapsFill(
  native: Native,
  descriptors: Readonly<Record<string, number>>,
  named?: (name: string) => boolean,
): Promise<MapStatus[]> {
  const fill: MapStatus[] = [];
  for (const [name, fd] of Object.entries(descriptors)) {
    const type = MAPS[name as MapName]?.type;
    const isArray = name === 'backends4' || name === 'backends6';
    if ((!isArray && !COUNTED.has(type ?? 0)) || named?.(name) === false) continue;
    let entries = 0;
    let cursor: Uint8Array | undefined;
    do {
      const page = native.mapPage(fd, cursor, PAGE);
      entries += isArray ? countUsed(page.values, page.count) : page.count;
      cursor = page.cursor;
      await nextTurn();
    } while (cursor !== undefined);
    fill.push({ name, entries, maxEntries: native.mapInfo(fd).maxEntries });
  }
  return fill;
}

function countUsed(values: Uint8Array, count: number): number {
  const size = count === 0 ? 0 : values.length / count;
  let used = 0;
  for (let i = 0; i < count; i++) if (values.subarray(i * size, (i + 1) * size).some((byte) => byte !== 0)) used++;
  return used;
}

function settingsIn(maps: Maps): DatapathStatus['settings'] {
  const settings = maps.settings.get(0);
  if (settings === undefined) return {};
  const flat: Record<string, number | string> = {};
  for (const [name, value] of Object.entries(settings)) {
    if (typeof value === 'number') flat[name] = value;
    else if (typeof value === 'bigint') flat[name] = value.toString();
  }
  return flat;
}
