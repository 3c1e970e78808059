// What does the datapath remember? Flows of the per-packet path, translations of the socket hook, and affinity. These maps
// are large and change while they are read: rows come page by page in the maps' own order.

import { namesOf } from '../../abi/codec.ts';
import {
  type Affinity,
  ClientKind,
  type Flow4,
  type Flow6,
  FlowFlag,
  type FlowKey4,
  type FlowKey6,
  SocketDirection,
} from '../../abi/layout.gen.ts';
import { addressBytes } from '../../address.ts';
import type { Address, Family } from '../../model/model.ts';
import { durationText, endpointText } from '../text.ts';
import {
  backendLookup,
  backendText,
  type Context,
  protocolText,
  type Row,
  type Section,
  servicePortText,
  servicePortValue,
  servicesOf,
} from './section.ts';

/** Turns the low 32 bits of jiffies into an age in seconds; undefined before the agent has measured the clock. */
export function ages(context: Pick<Context, 'maps' | 'monotonicNs'>): (seen: number) => number | undefined {
  const test = context.maps.self_tests.get(0);
  const perSecond = context.maps.settings.get(0)?.jiffies_per_second ?? 0;
  if (test === undefined || perSecond === 0 || test.ktime_ns === 0n) return () => undefined;
  const elapsed = ((context.monotonicNs() - test.ktime_ns) * BigInt(perSecond)) / 1_000_000_000n;
  const now = Number((test.jiffies + elapsed) & 0xffff_ffffn);
  return (seen) => {
    const jiffies = (now - seen) >>> 0;
    // A packet may be seen between the look at the clock and the look at the map: that is age 0, not 2^32.
    return jiffies > 0x8000_0000 ? 0 : jiffies / perSecond;
  };
}

function ageCell(seconds: number | undefined): string {
  return seconds === undefined ? '-' : durationText(seconds);
}

function ageValue(seconds: number | undefined): number | null {
  return seconds === undefined ? null : Math.round(seconds * 10) / 10;
}

function wayOf(flags: number): 'hairpin' | 'node' | 'bypass' | 'stack' {
  if (flags & FlowFlag.FLOW_HAIRPIN) return 'hairpin';
  if (flags & FlowFlag.FLOW_NODE) return 'node';
  return flags & FlowFlag.FLOW_SEND ? 'bypass' : 'stack';
}

function stateOf(flags: number): 'new' | 'confirmed' | 'closing' | 'closed' {
  if (flags & FlowFlag.FLOW_RST) return 'closed';
  const ends = flags & (FlowFlag.FLOW_FIN | FlowFlag.FLOW_PEER_FIN);
  if (ends === (FlowFlag.FLOW_FIN | FlowFlag.FLOW_PEER_FIN)) return 'closed';
  if (ends !== 0) return 'closing';
  return flags & FlowFlag.FLOW_CONFIRMED ? 'confirmed' : 'new';
}

type FlowKey = FlowKey4 | FlowKey6;
type Flow = Flow4 | Flow6;

function flowRow(context: Context, family: Family, key: FlowKey, flow: Flow, age: number | undefined, backend: string): Row {
  const reply = (flow.flags & FlowFlag.FLOW_REPLY) !== 0;
  const direction = reply ? 'reply' : 'request';
  return {
    cells: [
      protocolText(key.protocol),
      direction,
      endpointText(key.source, key.source_port),
      endpointText(key.destination, key.destination_port),
      endpointText(flow.source, flow.source_port),
      endpointText(flow.destination, flow.destination_port),
      wayOf(flow.flags),
      stateOf(flow.flags),
      servicePortText(context, flow.frontend),
      ageCell(age),
    ],
    value: {
      ...servicePortValue(context, flow.frontend),
      family,
      protocol: protocolText(key.protocol),
      direction,
      source: key.source,
      sourcePort: key.source_port,
      destination: key.destination,
      destinationPort: key.destination_port,
      newSource: flow.source,
      newSourcePort: flow.source_port,
      newDestination: flow.destination,
      newDestinationPort: flow.destination_port,
      way: wayOf(flow.flags),
      state: stateOf(flow.flags),
      flags: namesOf(FlowFlag, flow.flags),
      backendId: flow.backend,
      backendGeneration: flow.generation,
      backend,
      ageSeconds: ageValue(age),
    },
    services: servicesOf(context, flow.frontend),
    addresses: [...new Set([key.source, key.destination, flow.source, flow.destination])],
    backends: [backend],
  };
}

/** Where the request ends up: the flow itself says it, whatever became of the backend's id. */
function backendOfFlow(key: FlowKey, flow: Flow): string {
  if (flow.flags & FlowFlag.FLOW_REPLY) return endpointText(key.source, key.source_port);
  return endpointText(flow.destination, flow.destination_port);
}

export const conntrack: Section = {
  name: 'conntrack',
  columns: [
    { title: 'PROTOCOL' },
    { title: 'DIRECTION' },
    { title: 'FROM' },
    { title: 'TO' },
    { title: 'BECOMES FROM' },
    { title: 'BECOMES TO' },
    { title: 'WAY' },
    { title: 'STATE' },
    { title: 'SERVICE' },
    { title: 'AGE', right: true },
  ],
  *rows(context) {
    const age = ages(context);
    const { flows4, new_flows4, flows6, new_flows6 } = context.maps;
    for (const map of [flows4, new_flows4]) {
      for (const [key, flow] of map.entries()) yield flowRow(context, 4, key, flow, age(flow.seen), backendOfFlow(key, flow));
    }
    for (const map of [flows6, new_flows6]) {
      for (const [key, flow] of map.entries()) yield flowRow(context, 6, key, flow, age(flow.seen), backendOfFlow(key, flow));
    }
  },
};

export const sockets: Section = {
  name: 'sockets',
  columns: [
    { title: 'COOKIE', right: true },
    { title: 'PROTOCOL' },
    { title: 'ASKED FOR' },
    { title: 'GETS' },
    { title: 'SERVICE' },
    { title: 'AGE', right: true },
  ],
  *rows(context) {
    const age = ages(context);
    for (const [key, flow] of context.maps.socket_flows.entries()) {
      // Every translation has a reply entry; a request entry only where the next datagram of the socket asks again.
      if (key.direction !== SocketDirection.SOCKET_REPLY) continue;
      const seconds = age(flow.seen);
      const backend = endpointText(key.address, key.port);
      yield {
        cells: [
          String(key.cookie),
          protocolText(key.protocol),
          endpointText(flow.address, flow.port),
          backend,
          servicePortText(context, flow.frontend),
          ageCell(seconds),
        ],
        value: {
          ...servicePortValue(context, flow.frontend),
          cookie: String(key.cookie),
          protocol: protocolText(key.protocol),
          address: flow.address,
          port: flow.port,
          backendAddress: key.address,
          backendPort: key.port,
          backendId: flow.backend,
          backendGeneration: flow.generation,
          ageSeconds: ageValue(seconds),
        },
        services: servicesOf(context, flow.frontend),
        addresses: [key.address, flow.address],
        backends: [backend],
      };
    }
  },
};

/** Seconds after which each frontend id forgets, and its family. */
function affinityRules(context: Context): Map<number, { family: Family; seconds: number }> {
  const rules = new Map<number, { family: Family; seconds: number }>();
  for (const [, frontend] of context.maps.frontends4.entries()) rules.set(frontend.id, { family: 4, seconds: frontend.affinity_seconds });
  for (const [, frontend] of context.maps.frontends6.entries()) rules.set(frontend.id, { family: 6, seconds: frontend.affinity_seconds });
  return rules;
}

/** The cookie of a network namespace as the socket hook keeps it in a client: two words, low first, in host order (little-endian machines). */
function netnsCookie(client: Address): bigint {
  return new DataView(addressBytes(client).buffer).getBigUint64(0, true);
}

function affinityRow(
  context: Context,
  key: { frontend: number; kind: number; client: string },
  entry: Affinity,
  age: number | undefined,
  left: number | undefined,
  backend: string,
): Row {
  const byAddress = key.kind === ClientKind.CLIENT_ADDRESS;
  const client = byAddress ? key.client : String(netnsCookie(key.client));
  return {
    cells: [
      servicePortText(context, key.frontend),
      byAddress ? client : `netns ${client}`,
      backend,
      ageCell(age),
      left === undefined ? '-' : left <= 0 ? 'expired' : durationText(left),
    ],
    value: {
      ...servicePortValue(context, key.frontend),
      clientKind: byAddress ? 'address' : 'netns',
      client,
      backendId: entry.backend,
      backendGeneration: entry.generation,
      backend,
      ageSeconds: ageValue(age),
      expiresInSeconds: ageValue(left === undefined ? undefined : Math.max(0, left)),
    },
    services: servicesOf(context, key.frontend),
    addresses: byAddress ? [key.client] : [],
    backends: [backend],
  };
}

export const affinity: Section = {
  name: 'affinity',
  columns: [
    { title: 'SERVICE' },
    { title: 'CLIENT' },
    { title: 'BACKEND' },
    { title: 'AGE', right: true },
    { title: 'ENDS IN', right: true },
  ],
  *rows(context) {
    const age = ages(context);
    const rules = affinityRules(context);
    const find = backendLookup(context.maps);
    for (const [key, entry] of context.maps.affinities.entries()) {
      const rule = rules.get(key.frontend);
      const seconds = age(entry.seen);
      const left = rule === undefined || seconds === undefined ? undefined : rule.seconds - seconds;
      const backend = rule === undefined ? undefined : find(rule.family, entry.backend);
      const current = backend?.generation === entry.generation ? backend : undefined;
      yield affinityRow(context, key, entry, seconds, left, backendText(current, entry.backend));
    }
  },
};
