// The runner `wire`: namespaces, sockets and a real agent on node A. A row is asked for with real connections; who answered, what he saw
// and which verdicts moved on the node must be what the row says.
import assert from 'node:assert/strict';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { FlowFlag } from '../../control/abi/layout.gen.ts';
import { pinnedMaps, verdictCounts, verdictsBetween } from './agent.ts';
import { type Case, type FlowProtocol, type VerdictName, verdictOf } from './flow.ts';
import type { Lab } from './netns.ts';
import { backendPort, isPod, type PlaceName, places } from './places.ts';
import { masqueradeAddresses } from './topology.ts';

const peer = fileURLToPath(new URL('../../build/peer', import.meta.url));

/** One line of `peer ask`. */
export type Answer =
  | { readonly error: string; readonly ms: number; readonly name?: undefined }
  | {
      readonly error?: undefined;
      readonly name: PlaceName;
      readonly port: number;
      /** The source that the backend saw. */
      readonly seen: string;
      readonly seenPort: number;
      readonly peer?: string;
      readonly peerPort?: number;
      /** UDP: the source of the answer. */
      readonly from?: string;
      readonly fromPort?: number;
      readonly connectMs: number;
      /** SYNs sent again: one was lost. Time alone says only that the machine was slow. */
      readonly synsAgain: number;
      readonly ms: number;
    };

export interface AskOptions {
  /** UDP without connect. */
  readonly unconnected?: boolean;
  readonly timeoutMs?: number;
  readonly times?: number;
  readonly count?: number;
  readonly size?: number;
  readonly sourcePort?: number;
}

/** Starts a backend in a place; resolves when it listens. SIGTERM drains it. */
export async function serve(lab: Lab, place: PlaceName, name: string, ports: readonly string[]): Promise<ChildProcess> {
  const server = lab.start(place, peer, ['serve', name, ...ports]);
  let complaint = '';
  server.stderr!.on('data', (text) => {
    complaint += text;
  });
  await Promise.race([
    once(server.stdout!, 'data'),
    once(server, 'exit').then(() => {
      throw new Error(`the backend ${name} ended: ${complaint}`);
    }),
  ]);
  return server;
}

/** Every backend of the manifests: pods and nodes on the backend port, nodes on 22 besides. */
export async function serveAll(lab: Lab): Promise<Map<PlaceName, ChildProcess>> {
  const both = (port: number) => [`${port}/tcp`, `${port}/udp`];
  const names = (Object.keys(places) as PlaceName[]).filter((name) => isPod(name) || places[name].node === name);
  const servers = await Promise.all(
    names.map(async (name) => [name, await serve(lab, name, name, [...both(backendPort), ...(isPod(name) ? [] : both(22))])] as const),
  );
  return new Map(servers);
}

/** Asks from a place; one answer for each time. */
export async function ask(
  lab: Lab,
  from: PlaceName,
  protocol: FlowProtocol,
  address: string,
  port: number,
  options: AskOptions = {},
): Promise<Answer[]> {
  const words = [options.unconnected ? 'sendto' : protocol, address, String(port)];
  const word = (name: string, value: number | string | undefined) => {
    if (value !== undefined) words.push(`--${name}`, String(value));
  };
  word('timeout', options.timeoutMs ?? 3000);
  word('times', options.times);
  word('count', options.count);
  word('size', options.size);
  word('source-port', options.sourcePort);
  if (from === 'stranger') word('source', places.stranger[address.includes(':') ? 6 : 4]);
  const output = await lab.run(from, peer, ['ask', ...words], { accept: [1], timeoutMs: 60_000 });
  return output.split('\n').map((line) => JSON.parse(line) as Answer);
}

/** What neighbours, routers and other software send anyway, and our own packets at the next hook. */
const noise: readonly VerdictName[] = ['PASS_NOT_IP', 'PASS_NOT_OURS', 'PASS_OWN', 'PASS_SOCKET', 'PASS_SELF_TEST'];
const replies: Readonly<Record<string, readonly VerdictName[]>> = {
  TRANSLATE_REQUEST: ['TRANSLATE_REPLY', 'PASS_REPLY'],
  FORWARD_REQUEST: ['FORWARD_REPLY'],
  FORWARD_HAIRPIN: [],
  TRANSLATE_SOCKET: ['TRANSLATE_SOCKET_REPLY'],
};

export interface WireRunner {
  /** Rejects where anything but what the row says happened. also: verdicts that may move besides. */
  check(flow: Case, also?: readonly VerdictName[]): Promise<void>;
}

/** Opens the runner over a lab with an agent on node A and all backends serving. */
export function openWireRunner(lab: Lab): WireRunner {
  const maps = pinnedMaps(lab, 'nodeA');

  /** Have both ends closed every connection? A peer that is late to close sends its last packets into the next row. */
  function allClosed(): boolean {
    const { FLOW_FIN, FLOW_PEER_FIN, FLOW_RST } = FlowFlag;
    const closed = FLOW_FIN | FLOW_PEER_FIN;
    for (const flows of [maps.flows4, maps.flows6])
      for (const [{ protocol }, { flags }] of flows.entries())
        if (protocol === 6 && !(flags & FLOW_RST) && (flags & closed) !== closed) return false;
    return true;
  }

  /** The counts once they stand still: the last packets of a closed connection come after its answer. */
  async function settledCounts(): Promise<Map<VerdictName, number>> {
    let counts = verdictCounts(maps);
    for (let tries = 0; tries < 300; tries++) {
      await new Promise((resolve) => setTimeout(resolve, 3));
      const next = verdictCounts(maps);
      if (verdictsBetween(counts, next).size === 0 && allClosed()) return next;
      counts = next;
    }
    return counts;
  }

  /** Runs it and says which verdicts moved meanwhile. */
  async function moving<T>(run: () => Promise<T>): Promise<{ result: T; moved: Map<VerdictName, number> }> {
    const before = await settledCounts();
    const result = await run();
    return { result, moved: verdictsBetween(before, await settledCounts()) };
  }

  function assertOnly(moved: ReadonlyMap<VerdictName, number>, allowed: readonly VerdictName[], wanted: readonly VerdictName[]): void {
    const text = [...moved].map(([verdict, count]) => `${verdict} ${count}`).join(', ');
    for (const verdict of wanted) assert.ok(moved.has(verdict), `${verdict} did not move; these did: ${text}`);
    const others = [...moved.keys()].filter((verdict) => !allowed.includes(verdict) && !noise.includes(verdict));
    assert.deepEqual(others, [], `other verdicts moved: ${text}`);
  }

  /** The addresses that a row means in this lane: a node has several, and a CNI masquerades what leaves the pods' network. */
  function sourcesOf(flow: Case, seen: PlaceName, backend: PlaceName): string[] {
    const masqueraded = seen === 'nodeA' || (lab.lane.netfilter && isPod(seen) && !isPod(backend));
    return [...(seen === 'nodeA' ? [] : [places[seen][flow.family]]), ...(masqueraded ? masqueradeAddresses(lab.lane, flow.family) : [])];
  }

  function assertAnswer(flow: Case, answer: Answer): PlaceName {
    assert.equal(answer.error, undefined, `no answer: ${answer.error} after ${answer.ms} ms`);
    assert.ok(answer.name);
    const seen = flow.reaches![answer.name];
    assert.ok(seen, `answered by ${answer.name}, not one of ${Object.keys(flow.reaches!)}`);
    assert.ok(
      sourcesOf(flow, seen, answer.name).includes(answer.seen),
      `source that ${answer.name} sees: ${answer.seen}, not ${places[seen][flow.family]}`,
    );
    if (answer.peer !== undefined)
      assert.deepEqual([answer.peer, answer.peerPort], [flow.address, flow.port], 'the frontend, as the client knows it');
    if (answer.from !== undefined)
      assert.deepEqual([answer.from, answer.fromPort], [flow.address, flow.port], 'the answer comes from the frontend');
    assert.equal(answer.synsAgain, 0, `connected after ${answer.connectMs} ms: a SYN was lost`);
    return answer.name;
  }

  /** Connections in rounds until every backend came up, or one of them again and again. */
  async function reach(flow: Case, also: readonly VerdictName[]): Promise<void> {
    const wanted = Object.keys(flow.reaches!);
    const met = new Set<PlaceName>();
    const { moved } = await moving(async () => {
      for (let round = 0; round < 12 && (round === 0 || (!flow.sticks && met.size < wanted.length)); round++) {
        const times = flow.sticks || wanted.length > 1 ? 8 : 1;
        const unconnected = flow.protocol === 'udp' && (round % 2 === 1 || times === 1);
        for (const answer of await ask(lab, flow.from, flow.protocol, flow.address, flow.port, { times, unconnected }))
          met.add(assertAnswer(flow, answer));
      }
    });
    if (flow.sticks) assert.equal(met.size, 1, `affinity: went to ${[...met]}`);
    else assert.deepEqual([...met].sort(), [...wanted].sort(), 'every backend comes up');
    const requests = [...new Set([...met].map((backend) => verdictOf(flow, backend)))];
    assertOnly(moved, [...requests, ...requests.flatMap((verdict) => replies[verdict] ?? []), ...also], requests);
  }

  async function check(flow: Case, also: readonly VerdictName[] = []): Promise<void> {
    if (flow.reaches) return reach(flow, also);
    // A call that the socket hook refuses fails at once, whatever it is refused for (4.3).
    const refused = flow.verdict!.startsWith('REJECT') || (flow.at === 'socket' && flow.verdict!.startsWith('DROP'));
    const options = { timeoutMs: refused ? 2000 : 250, size: flow.shape === 'fragment' ? 4000 : undefined };
    const { result, moved } = await moving(() => ask(lab, flow.from, flow.protocol, flow.address, flow.port, options));
    const [answer] = result;
    assert.ok(answer?.error, `answered by ${answer?.name}`);
    if (refused) assert.equal(answer.error, 'ECONNREFUSED');
    if (!refused && flow.verdict!.startsWith('DROP')) assert.equal(answer.error, 'ETIMEDOUT');
    // What the socket hook leaves alone is decided packet by packet.
    const after = flow.verdict === 'PASS_ABSTAIN' ? ['DROP_SOURCE_RANGE'] : [];
    assertOnly(moved, [flow.verdict!, ...after, ...also], [flow.verdict!, ...after]);
  }

  return { check };
}
