// The smallest programs that do one thing each (bpf/reference.bpf.c), with the services and flows that they look up.

import assert from 'node:assert/strict';
import { buildDirectory } from '../control/kernel/addon.ts';
import type { Native } from '../control/kernel/native.ts';
import type { Family, Protocol } from '../control/model/model.ts';
import { addressBytes } from '../test/lib/packet.ts';
import { backendPort } from './cluster.ts';
import { clearMap, countEntries } from './datapath.ts';
import type { Hook, Turn } from './driver.ts';
import { requestsOf, requestTurn } from './flows.ts';
import type { DrivenFlow } from './frame.ts';
import { nic } from './namespace.ts';
import { type Bench, checkPacket, checkRewritten, type Point, type Row } from './row.ts';

/** Where the references send everything. */
const target = { 4: '10.128.0.1', 6: 'fd02::1' } as const;

export interface References {
  /** Descriptor of `lookup`, `conntrack_first` … at a hook. */
  program(name: string, hook: Hook, family: Family): number;
  empty(hook: Hook): number;
  /** Makes flows to an address known to the service map, and as established ones. */
  know(flows: readonly DrivenFlow[], destination: string, family: Family, protocol: Protocol): void;
  /** Entries that new flows made. */
  freshCount(family: Family): number;
  forget(family: Family): void;
  close(): void;
}

/** What a reference returns about a packet that it knows. */
const served: Readonly<Record<Hook, number>> = { xdp: 3, tc: 0 };
const numbers: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17 };
const MAGLEV_SLOTS = 65537;
const BACKENDS = 16;

function bytesOf(...parts: (number | Uint8Array)[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => (typeof part === 'number' ? [part] : [...part])));
}

function port(number: number): Uint8Array {
  return Uint8Array.of(number >> 8, number & 255);
}

function index(number: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(number).buffer);
}

export function openReferences(native: Native): References {
  const { maps, programs, close } = native.load(`${buildDirectory}bench/reference.o`, {});
  for (let slot = 0; slot < MAGLEV_SLOTS; slot++) native.mapUpdate(maps.maglev!, index(slot), index(slot % BACKENDS), 0);
  const translation = (family: Family) => bytesOf(addressBytes(target[family]), port(backendPort), 0, 0);
  for (const family of [4, 6] as const)
    for (let at = 0; at < BACKENDS; at++) native.mapUpdate(maps[`targets${family}`]!, index(at), translation(family), 0);
  return {
    program: (name, hook, family) => programs[`${hook}_${name}${family}`]!,
    empty: (hook) => programs[`${hook}_empty`]!,
    know(flows, destination, family, protocol) {
      const to = addressBytes(destination);
      const number = numbers[protocol];
      for (const { source, sourcePort, destinationPort } of flows) {
        native.mapUpdate(maps[`services${family}`]!, bytesOf(to, port(destinationPort), number, 0), index(1), 0);
        const tuple = bytesOf(addressBytes(source), to, port(sourcePort), port(destinationPort), number, 0, 0, 0);
        native.mapUpdate(maps[`conntrack${family}`]!, tuple, translation(family), 0);
      }
    },
    freshCount: (family) => countEntries(native, maps[`fresh${family}`]!),
    forget: (family) => clearMap(native, maps[`fresh${family}`]!),
    close,
  };
}

interface Kind {
  /** Of the program. */
  readonly name: string;
  readonly title: string;
  /** Entries that a packet leaves behind; 0: it goes on with a flow. */
  readonly inserts: number;
}

const lookup: Kind = { name: 'lookup', title: 'parse, one look-up', inserts: 0 };
export const referenceKinds: readonly Kind[] = [
  lookup,
  { name: 'conntrack_first', title: 'DNAT, conntrack first', inserts: 0 },
  { name: 'service_first', title: 'DNAT, service first', inserts: 0 },
  { name: 'new_one', title: 'new flow, one insert', inserts: 1 },
  { name: 'new_two', title: 'new flow, two inserts', inserts: 2 },
];

export function referenceRow({ driver, references }: Bench, hook: Hook, { name, title, inserts }: Kind, point: Point): Row {
  const { family, protocol, flows, services } = point;
  const kind = { where: 'remote', family, protocol } as const;
  const fresh = inserts > 0;
  const requests = requestsOf(kind, fresh ? services : flows, services);
  references.know(requests, nic[family], family, protocol);
  const turn: Turn = { ...requestTurn(kind, requests, hook, fresh ? 'S' : 'A'), fresh: fresh ? 0 : undefined };
  let clients = 0;
  return {
    ...{ ...point, hook, turn, reference: undefined, repeat: fresh ? flows : undefined },
    path: `reference: ${title}`,
    run(repeat) {
      if (fresh) references.forget(family);
      const run = driver.run(references.program(name, hook, family), { ...turn, fresh: fresh ? clients : undefined }, repeat);
      clients += repeat;
      assert.equal(run.action, served[hook], 'action');
      checkRewritten(run, repeat, name !== lookup.name);
      if (name !== lookup.name) checkPacket(run, turn.frame, { action: run.action, ttl: 64, destinationPort: backendPort });
      if (fresh) assert.equal(references.freshCount(family), inserts * repeat, 'entries');
      return run.grossNs;
    },
  };
}
