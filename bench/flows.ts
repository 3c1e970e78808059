// How do flows get established before they are measured? As on a node: by their first packets through the real programs, both directions.

import assert from 'node:assert/strict';
import { FlowFlag } from '../control/abi/layout.gen.ts';
import type { Family, Protocol } from '../control/model/model.ts';
import { backendPort, nodePortOf, type Where } from './cluster.ts';
import type { Datapath, VerdictName } from './datapath.ts';
import type { Driver, Turn } from './driver.ts';
import { type DrivenFlow, frameOf } from './frame.ts';
import { neighbours, nic } from './namespace.ts';

/** The client outside. */
export const client = { 4: '198.51.100.2', 6: '2001:db8:51::c2' } as const;
const FIRST_PORT = 1024;

/** Flows of one kind, from one client to one port of each of the Services in turn. */
export interface FlowKind {
  readonly where: Where;
  readonly family: Family;
  readonly protocol: Protocol;
}

/** The packets of a client's flows, spread over Services. */
export function requestsOf({ where, family }: FlowKind, count: number, services: number): DrivenFlow[] {
  return Array.from({ length: count }, (_, flow) => ({
    source: client[family],
    sourcePort: FIRST_PORT + flow,
    destinationPort: nodePortOf(where, flow % services),
  }));
}

/** What the client sends. flags: TCP's. */
export function requestTurn({ family, protocol }: FlowKind, flows: readonly DrivenFlow[], hook: Turn['hook'], flags: string): Turn {
  const macs = { sourceMac: neighbours.router.mac, destinationMac: nic.mac };
  const frame = frameOf(flows[0]!, { family, protocol, destination: nic[family], flags, ...macs });
  return { hook, family, udp: protocol === 'UDP', frame, flows, fresh: undefined };
}

/** What the backends answer: as they see the flow, to the node where it is masqueraded and to the client where not. */
export function replyTurn({ where, family, protocol }: FlowKind, flows: readonly DrivenFlow[], hook: Turn['hook'], flags: string): Turn {
  const destination = where === 'remote' ? nic[family] : client[family];
  const macs = { sourceMac: neighbours.other.mac, destinationMac: nic.mac };
  const frame = frameOf(flows[0]!, { family, protocol, destination, flags, ...macs });
  return { hook, family, udp: protocol === 'UDP', frame, flows, fresh: undefined };
}

/** Runs a turn so that each packet has that verdict. */
export function runCounted(driver: Driver, datapath: Datapath, program: string, turn: Turn, repeat: number, verdict: VerdictName) {
  const before = datapath.verdicts();
  const run = driver.run(datapath.programs[program]!, turn, repeat);
  const moved = [...datapath.verdicts()]
    .map(([name, count]) => [name, count - before.get(name)!] as const)
    .filter(([, count]) => count > 0);
  assert.deepEqual(moved, [[verdict, repeat]], `${program}: verdicts of ${repeat} packets`);
  return run;
}

/** The replies' tuples of the flows of a kind that the datapath remembers. */
function repliesIn(datapath: Datapath, { where, family, protocol }: FlowKind): DrivenFlow[] {
  const { maps } = datapath;
  const table = where === 'remote' ? maps[`flows${family}`] : maps[`new_flows${family}`];
  const number = protocol === 'TCP' ? 6 : 17;
  const replies: DrivenFlow[] = [];
  for (const [key, flow] of table.entries()) {
    if (!(flow.flags & FlowFlag.FLOW_REPLY) || key.protocol !== number || key.source_port !== backendPort) continue;
    if (((flow.flags & FlowFlag.FLOW_SEND) !== 0) !== (where === 'remote')) continue;
    replies.push({ source: key.source, sourcePort: key.source_port, destinationPort: key.destination_port });
  }
  return replies;
}

/**
 * Establishes flows: the first packet, the answer, and one more packet, at tc, which finds the ways that XDP then uses. Returns the replies'
 * tuples, in no order.
 */
export function establish(driver: Driver, datapath: Datapath, kind: FlowKind, requests: readonly DrivenFlow[]): DrivenFlow[] {
  const remote = kind.where === 'remote';
  const count = requests.length;
  const opening = requestTurn(kind, requests, 'tc', 'S');
  runCounted(driver, datapath, 'nic_ingress', opening, count, remote ? 'FORWARD_REQUEST' : 'TRANSLATE_REQUEST');
  const replies = repliesIn(datapath, kind);
  assert.equal(replies.length, count, 'flows that were made');
  const answer = replyTurn(kind, replies, 'tc', 'SA');
  if (remote) runCounted(driver, datapath, 'nic_ingress', answer, count, 'FORWARD_REPLY');
  else runCounted(driver, datapath, 'nic_egress', answer, count, 'TRANSLATE_REPLY');
  const next = requestTurn(kind, requests, 'tc', 'A');
  runCounted(driver, datapath, 'nic_ingress', next, count, remote ? 'FORWARD_REQUEST' : 'TRANSLATE_REQUEST');
  return replies;
}
