// What is one table of a dump? Its columns for people, its records for programs, and what the filters may ask of a row.

import type { Maps } from '../../kernel/maps.ts';
import type { Address } from '../../model/model.ts';
import type { PortName } from '../../observe/snapshot.ts';
import type { Column } from '../table.ts';
import { endpointText, printable } from '../text.ts';

export type Value = string | number | boolean | null | readonly Value[] | { readonly [key: string]: Value };

export interface Row {
  /** As many as the section has columns; printable. */
  readonly cells: readonly string[];
  /** The same for programs; names as they are. */
  readonly value: { readonly [key: string]: Value };
  /** `namespace/name` of the Services the row is about, where known. */
  readonly services: readonly string[];
  /** Every address in the row, canonical. */
  readonly addresses: readonly Address[];
  /** `address:port` of the backends in the row. */
  readonly backends: readonly string[];
}

/** What the sections read: the maps, the names behind numbers and the time. Each section reads lazily. */
export interface Context {
  readonly maps: Maps;
  readonly names: ReadonlyMap<number, PortName>;
  /** Monotonic clock in ns, the kernel's bpf_ktime_get_ns. */
  readonly monotonicNs: () => bigint;
}

export interface Section {
  readonly name: string;
  readonly columns: readonly Column[];
  rows(context: Context): Iterable<Row>;
}

/** `default/web:http` for people, `#7` where the name is not known. */
export function servicePortText(context: Context, id: number): string {
  const name = context.names.get(id);
  if (name === undefined) return `#${id}`;
  return printable(name.port === '' ? name.service : `${name.service}:${name.port}`);
}

/** The Service of a frontend id as a filter sees it. */
export function servicesOf(context: Context, id: number): readonly string[] {
  const name = context.names.get(id);
  return name === undefined ? [] : [name.service];
}

/** The fields by which every record names its Service port. */
export function servicePortValue(context: Context, id: number): { service: Value; portName: Value; frontendId: Value } {
  const name = context.names.get(id);
  return { service: name?.service ?? null, portName: name?.port ?? null, frontendId: id };
}

const PROTOCOLS: Readonly<Record<number, string>> = { 6: 'TCP', 17: 'UDP' };

/** `TCP`, `UDP`, or the number (RFC 5237). */
export function protocolText(protocol: number): string {
  return PROTOCOLS[protocol] ?? String(protocol);
}

export interface BackendEntry {
  readonly address: Address;
  readonly port: number;
  readonly protocol: number;
  readonly flags: number;
  readonly generation: number;
}

/** Looks backends up by family and id, each at most once. Undefined for id 0, a free id and one outside the map. */
export function backendLookup(maps: Maps): (family: 4 | 6, id: number) => BackendEntry | undefined {
  const seen = { 4: new Map<number, BackendEntry | undefined>(), 6: new Map<number, BackendEntry | undefined>() };
  return (family, id) => {
    const known = seen[family];
    if (!known.has(id)) {
      const map = family === 4 ? maps.backends4 : maps.backends6;
      const entry = id === 0 || id >= map.maxEntries ? undefined : map.get(id);
      known.set(id, entry === undefined || entry.flags === 0 ? undefined : entry);
    }
    return known.get(id);
  };
}

/** `10.244.1.5:8080`; `backend 7 (absent)` where a number names no backend. */
export function backendText(entry: BackendEntry | undefined, id: number): string {
  return entry === undefined ? `backend ${id} (absent)` : endpointText(entry.address, entry.port);
}
