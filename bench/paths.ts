// Which paths through our programs are measured? Established flows in both directions, new flows, and packets that are not ours.

import assert from 'node:assert/strict';
import type { Native } from '../control/kernel/native.ts';
import { backendPort, type Where } from './cluster.ts';
import { type Datapath, openDatapath, type VerdictName } from './datapath.ts';
import type { Driver, Hook, Turn } from './driver.ts';
import { client, establish, type FlowKind, replyTurn, requestsOf, requestTurn, runCounted } from './flows.ts';
import { frameOf } from './frame.ts';
import { neighbours, nic } from './namespace.ts';
import { act, type Bench, checkPacket, checkRewritten, type Point, type Row } from './row.ts';

/** The program that serves a hook. */
const programs: Readonly<Record<Hook, string>> = { xdp: 'nic_xdp', tc: 'nic_ingress' };
/** XDP has the flows to other nodes, tc those to this one. */
const hooks: Readonly<Record<Where, Hook>> = { remote: 'xdp', local: 'tc' };

/** What becomes of a request: sent on with the node's address, or left to the stack with the client's. */
function requestFate({ where, family }: FlowKind) {
  const common = { destinationPort: backendPort };
  if (where === 'local') return { ...common, verdict: 'TRANSLATE_REQUEST', action: act.tc.pass, ttl: 64, source: client[family] } as const;
  const sent = { action: act.xdp.sent, ttl: 63, source: nic[family], destinationMac: neighbours.other.mac };
  return { ...common, ...sent, verdict: 'FORWARD_REQUEST' } as const;
}

/** Established flows of one kind at points that differ in the number of flows: requests, and of those that are sent on the replies. */
export function establishedRows({ driver, datapaths }: Bench, where: Where, points: readonly [Point, ...Point[]]): Row[] {
  const [{ family, protocol, services }] = points;
  const kind: FlowKind = { where, family, protocol };
  const hook = hooks[where];
  const { live } = datapaths.get(services)!;
  const requests = requestsOf(kind, Math.max(...points.map(({ flows }) => flows)), services);
  const replies = establish(driver, live, kind, requests);
  const common = { hook, reference: 'reference: DNAT, conntrack first', repeat: undefined };
  const requestRow = (point: Point): Row => {
    const turn = requestTurn(kind, requests.slice(0, point.flows), hook, 'A');
    const { verdict, ...expected } = requestFate(kind);
    return {
      ...{ ...point, ...common, turn },
      path: `established, ${where} backend: request`,
      run(repeat) {
        const run = runCounted(driver, live, programs[hook], turn, repeat, verdict);
        checkRewritten(run, repeat, true);
        checkPacket(run, turn.frame, expected);
        return run.grossNs;
      },
    };
  };
  const replyRow = (point: Point): Row => {
    const turn = replyTurn(kind, replies.slice(0, point.flows), hook, 'A');
    const expected = { action: act.xdp.sent, ttl: 63, source: nic[family], destination: client[family] };
    return {
      ...{ ...point, ...common, turn },
      path: `established, ${where} backend: reply`,
      run(repeat) {
        const run = runCounted(driver, live, programs[hook], turn, repeat, 'FORWARD_REPLY');
        checkRewritten(run, repeat, true);
        checkPacket(run, turn.frame, { ...expected, destinationMac: neighbours.router.mac });
        return run.grossNs;
      },
    };
  };
  return points.flatMap((point) => (where === 'remote' ? [requestRow(point), replyRow(point)] : [requestRow(point)]));
}

/** Flows to each Service after which each of its backends has had one: that one has not is as likely as 1 in 2 to the power of this. */
const WAYS = 20;

/**
 * Has tc look up the ways to the backends, as on a node where a flow is not its backend's first. With flow tables of its own: those that are
 * measured are as if nothing had been in them.
 */
function findWays(native: Native, driver: Driver, from: Datapath, turn: Turn, verdict: VerdictName, packets: number): void {
  const datapath = openDatapath(native, from);
  runCounted(driver, datapath, programs.tc, turn, packets, verdict);
  datapath.close();
}

/** New flows: every packet is the first of another client, to the Services in turn. */
export function newFlowRow({ native, driver, datapaths }: Bench, where: Where, point: Point): Row {
  const { family, protocol, flows, services } = point;
  const kind: FlowKind = { where, family, protocol };
  const hook = hooks[where];
  const { fresh } = datapaths.get(services)!;
  const turn: Turn = { ...requestTurn(kind, requestsOf(kind, services, services), hook, 'S'), fresh: 0 };
  const { verdict, source, ...rest } = requestFate(kind);
  const expected = where === 'remote' ? { ...rest, source } : rest;
  findWays(native, driver, fresh, { ...turn, hook: 'tc' }, verdict, WAYS * services);
  let clients = 0;
  return {
    ...{ ...point, hook, turn, reference: 'reference: new flow, two inserts', repeat: flows },
    path: `new flow, ${where} backend`,
    run(repeat) {
      fresh.forget();
      const run = runCounted(driver, fresh, programs[hook], { ...turn, fresh: clients }, repeat, verdict);
      clients += repeat;
      checkRewritten(run, repeat, true);
      const entries = fresh.flowCount();
      // The way back of each, and the request's own entry only where its first masquerade port was another's.
      assert(entries >= repeat && entries < 1.1 * repeat, `${entries} entries of ${repeat} flows`);
      checkPacket(run, turn.frame, expected);
      return run.grossNs;
    },
  };
}

/** Where packets go that are not ours: an address that is nothing to us, or a port of the node that no Service has. */
const strangers = {
  'a pod': { 4: '10.1.0.250', 6: 'fd01::ffff' },
  'the node': nic,
} as const;

export function strangerRow({ driver, datapaths }: Bench, hook: Hook, to: keyof typeof strangers, point: Point): Row {
  const { family, protocol, services } = point;
  const { live } = datapaths.get(services)!;
  const flow = { source: client[family], sourcePort: 40000, destinationPort: 22 };
  const macs = { sourceMac: neighbours.router.mac, destinationMac: nic.mac };
  const frame = frameOf(flow, { family, protocol, destination: strangers[to][family], flags: 'A', ...macs });
  const turn: Turn = { hook, family, udp: protocol === 'UDP', frame, flows: [flow], fresh: undefined };
  return {
    ...{ ...point, hook, turn, reference: 'reference: parse, one look-up', repeat: undefined },
    path: `not ours, to ${to}`,
    run(repeat) {
      const run = runCounted(driver, live, programs[hook], turn, repeat, 'PASS_NOT_OURS');
      checkRewritten(run, repeat, false);
      assert.equal(run.action, act[hook].pass, 'action');
      assert.deepEqual(run.frame, frame, 'what passes is untouched');
      return run.grossNs;
    },
  };
}
