// What does a flow remember, and what happens to it when the world changes between two of its packets? Short histories of one client from
// outside and the backends of other nodes, told to the programs packet by packet. Started like the bench, and asked by name.
import assert from 'node:assert/strict';
import { AddressFlag, FlowFlag, type FlowKey4, type FlowKey6, type Frontend } from '../../control/abi/layout.gen.ts';
import type { Maps, TypedMap } from '../../control/kernel/maps.ts';
import { type Bench, type BenchOptions, openBench } from './bench.ts';
import type { Outcome } from './early.ts';
import { type Case, type FlowProtocol, parseDestination, wordsOf } from './flow.ts';
import { buildPacket, buildReply, numbers, type Packet, type PacketText, parsePacket } from './packet.ts';
import { backendPort, type Family, type PodName, places } from './places.ts';
import { macsFrom, requestText } from './request.ts';

/** One history for one family and protocol. */
export interface Story {
  readonly name: string;
  readonly family: Family;
  readonly protocol: FlowProtocol;
}

type Key = FlowKey4 | FlowKey6;
type Flow = { backend: number; flags: number; destination: string };

/** The client and the node port of Service `web` on node A, whose Maglev table the history may change. */
class Stage {
  readonly #bench: Bench;
  readonly #case: Case;
  readonly #number: number;
  #port = 33000;
  readonly early: boolean;

  constructor(bench: Bench, { family, protocol, name }: Story, early: boolean) {
    const { address, port } = parseDestination(wordsOf(family, protocol).nodePort('web'));
    this.#bench = bench;
    this.#case = { name, rows: '', at: 'nic', from: 'outside', to: '', family, protocol, address, port };
    this.#number = numbers[protocol === 'tcp' ? 'TCP' : 'UDP'];
    this.early = early;
    this.forget();
  }

  get maps(): Maps {
    return this.#bench.maps;
  }

  get confirmed(): TypedMap<Key, Flow> {
    return (this.#case.family === 4 ? this.maps.flows4 : this.maps.flows6) as unknown as TypedMap<Key, Flow>;
  }

  get fresh(): TypedMap<Key, Flow> {
    return (this.#case.family === 4 ? this.maps.new_flows4 : this.maps.new_flows6) as unknown as TypedMap<Key, Flow>;
  }

  get #frontends(): TypedMap<{ address: string; port: number; protocol: number }, Frontend> {
    return this.#case.family === 4 ? this.maps.frontends4 : this.maps.frontends6;
  }

  get #frontendKey() {
    return { address: this.#case.family === 4 ? '0.0.0.0' : '::', port: this.#case.port, protocol: this.#number };
  }

  /** No flow is known, and the client is another. */
  forget(): void {
    for (const table of [this.confirmed, this.fresh]) table.deleteMany([...table.entries()].map(([key]) => key));
    this.#port++;
  }

  idOf(pod: PodName): number {
    const { family } = this.#case;
    const backends = family === 4 ? this.maps.backends4 : this.maps.backends6;
    for (const [id, backend] of backends.entries())
      if (backend.address === places[pod][family] && backend.port === backendPort && backend.protocol === this.#number) return id;
    throw new Error(`no backend ${pod}`);
  }

  /** From now on Maglev gives every client this pod. */
  giveAll(pod: PodName): void {
    const { first, count } = this.#frontends.get(this.#frontendKey)!.cluster_table;
    this.maps.slots.fill(first, new Array<number>(count).fill(this.idOf(pod)));
  }

  /** The Service is gone. Returns what brings it back. */
  removeService({ retired }: { retired: boolean }): () => void {
    const { family, address } = this.#case;
    const addresses = family === 4 ? this.maps.addresses4 : this.maps.addresses6;
    const [frontend, flags] = [this.#frontends.get(this.#frontendKey)!, addresses.get(address)!];
    this.#frontends.delete(this.#frontendKey);
    if (retired) addresses.set(address, flags | AddressFlag.ADDRESS_RETIRED);
    return () => {
      addresses.set(address, flags);
      this.#frontends.set(this.#frontendKey, frontend);
    };
  }

  /** The client sends. TCP: flags, and a sequence number. */
  send(flags = 'S', sequence = 1000): Outcome {
    const text: PacketText = { ...requestText(this.#case, this.#port), flags, sequence, payload: Uint8Array.of(1, 2, 3, 4) };
    return this.#bench.enter('outside', buildPacket(text));
  }

  /** The client sends, and is sent on to a pod. */
  reach(pod: PodName, flags = 'S', sequence = 1000): Packet {
    const { verdict, frame } = this.send(flags, sequence);
    assert.equal(verdict, 'FORWARD_REQUEST');
    const packet = parsePacket(frame);
    assert.deepEqual(
      [packet.destination, packet.destinationPort, packet.wrongChecksums],
      [places[pod][this.#case.family], backendPort, []],
    );
    return packet;
  }

  /** A pod answers a request, and the client hears the frontend. */
  answer(request: Packet, pod: PodName, flags = 'SA'): void {
    const { verdict, frame } = this.#bench.enter(pod, buildReply(request, { flags, ...macsFrom(pod) }));
    assert.equal(verdict, 'FORWARD_REPLY');
    const { source, sourcePort, destination, destinationPort } = parsePacket(frame);
    const { address, port, family } = this.#case;
    assert.deepEqual([source, sourcePort, destination, destinationPort], [address, port, places.outside[family], this.#port]);
  }

  /** Key of the answer to a request as it was sent on. */
  replyKey(request: Packet): Key {
    return {
      ...{ source: request.destination, destination: request.source, protocol: this.#number },
      ...{ source_port: request.destinationPort, destination_port: request.sourcePort },
    };
  }

  /** Where the request's entry is. */
  home(): 'flows' | 'new_flows' | 'none' {
    const { family, address, port } = this.#case;
    const key = {
      ...{ source: places.outside[family], destination: address, protocol: this.#number },
      ...{ source_port: this.#port, destination_port: port },
    };
    return this.confirmed.get(key) ? 'flows' : this.fresh.get(key) ? 'new_flows' : 'none';
  }

  /** Sends until XDP knows the way to a pod. */
  learn(pod: PodName): void {
    this.giveAll(pod);
    this.reach(pod);
    this.forget();
  }

  /** Who sent a first packet? Always tc, where XDP does not run. */
  firstSentBy(pod: PodName): 'xdp' | 'tc' {
    const outcome = this.send();
    assert.equal(parsePacket(outcome.frame).destination, places[pod][this.#case.family]);
    this.forget();
    return outcome.hook;
  }

  assertFirstSentBy(hook: 'xdp' | 'tc', pod: PodName, why: string): void {
    assert.equal(this.firstSentBy(pod), this.early ? hook : 'tc', why);
  }

  changeSettings(change: { next_hop_age?: number; route_generation?: number }): void {
    this.maps.settings.set(0, { ...this.maps.settings.get(0)!, ...change });
  }

  /** The pod's id is given away and comes back, of another generation. Returns what undoes it. */
  recycle(pod: PodName): () => void {
    const id = this.idOf(pod);
    const backends = (this.#case.family === 4 ? this.maps.backends4 : this.maps.backends6) as TypedMap<number, { generation: number }>;
    const backend = backends.get(id)!;
    backends.set(id, { ...backend, generation: backend.generation + 1 });
    return () => backends.set(id, backend);
  }

  /** Changes what is remembered of the way to a pod. */
  changeWay(pod: PodName, change: { check?: number; entered?: number }): void {
    const ways = (this.#case.family === 4 ? this.maps.next_hops4 : this.maps.next_hops6) as TypedMap<
      number,
      { check: number; entered: number }
    >;
    const index = this.idOf(pod) & 0xffff;
    const way = ways.get(index)!;
    // An entry whose words belong together, or not.
    const check = change.entered === undefined ? way.check : (way.check ^ way.entered ^ change.entered) >>> 0;
    ways.set(index, { ...way, check, ...change });
  }
}

const closing = (protocol: FlowProtocol) => (protocol === 'tcp' ? 'A' : '');

/** The histories by what they show. */
const told: Readonly<Record<string, (stage: Stage, protocol: FlowProtocol) => void>> = {
  'an answer makes the entry of its request'(stage, protocol) {
    stage.giveAll('b1');
    const request = stage.reach('b1');
    assert.equal(stage.home(), 'none');
    stage.answer(request, 'b1');
    assert.equal(stage.home(), 'flows');
    stage.giveAll('b2');
    assert.deepEqual(stage.reach('b1', closing(protocol)).sourcePort, request.sourcePort);
  },

  'who speaks again before an answer goes the same way, and stays though the table changes (9.1)'(stage) {
    stage.giveAll('b1');
    const first = stage.reach('b1');
    const again = stage.reach('b1');
    assert.equal(again.sourcePort, first.sourcePort);
    assert.equal(stage.home(), 'new_flows');
    assert.equal([...stage.confirmed.entries()].length, 1, 'one way back');
    stage.giveAll('b2');
    assert.equal(stage.reach('b1').sourcePort, first.sourcePort);
    stage.answer(first, 'b1');
    assert.equal(stage.home(), 'flows');
  },

  'windows and sequence numbers are not checked (9.7)'(stage, protocol) {
    stage.giveAll('b1');
    const first = stage.reach('b1');
    stage.answer(first, 'b1');
    for (const sequence of [1001, 0x7fff_0000, 7, 0xffff_fff0])
      assert.equal(stage.reach('b1', closing(protocol), sequence).sourcePort, first.sourcePort);
  },

  'a datagram leaves a backend whose id was given away, a connection stays (9.2, 9.3)'(stage, protocol) {
    stage.giveAll('b1');
    const request = stage.reach('b1');
    stage.answer(request, 'b1');
    stage.giveAll('b2');
    assert.equal(stage.reach('b1', closing(protocol)).sourcePort, request.sourcePort, 'while it is there both stay');
    const restore = stage.recycle('b1');
    stage.reach(protocol === 'udp' ? 'b2' : 'b1', closing(protocol));
    restore();
  },

  'of two backends that answer the first has the connection'(stage, protocol) {
    stage.giveAll('b1');
    const first = stage.reach('b1');
    stage.giveAll('b2');
    const second = stage.reach('b2');
    stage.answer(second, 'b2');
    stage.answer(first, 'b1');
    stage.answer(second, 'b2', closing(protocol));
    assert.equal(stage.reach('b2', closing(protocol)).sourcePort, second.sourcePort);
    stage.answer(first, 'b1', closing(protocol));
    assert.equal(stage.reach('b2', closing(protocol)).sourcePort, second.sourcePort);
  },

  'a client that was refused and tries again has a new connection'(stage, protocol) {
    if (protocol === 'udp') return;
    stage.giveAll('b1');
    stage.answer(stage.reach('b1'), 'b1', 'RA');
    const again = stage.reach('b1');
    stage.answer(again, 'b1', 'SA');
    const ended = [...stage.confirmed.entries()].filter(([, flow]) => flow.flags & FlowFlag.FLOW_RST);
    assert.deepEqual(ended, [], 'the end of the first is not the end of the second');
    stage.giveAll('b2');
    assert.equal(stage.reach('b1', 'A').sourcePort, again.sourcePort);
  },

  "a flow whose first masquerade port is another one's is remembered at once"(stage) {
    stage.giveAll('b1');
    const request = stage.reach('b1');
    const key = stage.replyKey(request);
    const claim = stage.confirmed.get(key)!;
    // Another client of the same frontend has it now.
    stage.confirmed.set(key, { ...claim, destination: places.stranger[request.family] });
    const other = stage.reach('b1');
    assert.notEqual(other.sourcePort, request.sourcePort);
    assert.equal(stage.home(), 'new_flows');
    stage.confirmed.delete(key);
    assert.equal(stage.reach('b1').sourcePort, other.sourcePort, 'and keeps its port when the other one is gone');
  },

  'where the table of flows is full when the answer comes, the flow works on (9.9)'(stage, protocol) {
    stage.giveAll('b1');
    const request = stage.reach('b1');
    const [key, claim] = [...stage.confirmed.entries()][0]!;
    const others: Key[] = [];
    for (let n = 0; n < stage.confirmed.maxEntries - 1; n++) {
      const other = { ...key, source_port: n & 0xffff, destination_port: 1 + (n >> 16), protocol: 254 };
      stage.confirmed.set(other, claim);
      others.push(other);
    }
    stage.answer(request, 'b1');
    assert.equal(stage.home(), 'new_flows');
    assert.equal(stage.reach('b1', closing(protocol)).sourcePort, request.sourcePort);
    stage.confirmed.deleteMany(others);
    stage.answer(request, 'b1', closing(protocol));
    assert.equal(stage.home(), 'flows');
  },

  'of a Service that is gone: answered flows go on, unanswered ones where their address is retired (9.1)'(stage, protocol) {
    stage.giveAll('b1');
    stage.reach('b1');
    const request = stage.reach('b1');
    const back = [false, true].map((retired) => {
      const restore = stage.removeService({ retired });
      const { verdict } = stage.send();
      restore();
      return verdict;
    });
    assert.deepEqual(back, ['PASS_NOT_OURS', 'FORWARD_REQUEST']);
    stage.answer(request, 'b1');
    const restore = stage.removeService({ retired: false });
    stage.reach('b1', closing(protocol));
    restore();
  },

  'a way is looked up once for all flows to a backend'(stage) {
    stage.changeSettings({ route_generation: stage.maps.settings.get(0)!.route_generation + 1 });
    stage.giveAll('b1');
    stage.assertFirstSentBy('tc', 'b1', 'the first after routes, links or addresses changed');
    stage.assertFirstSentBy('xdp', 'b1', 'the second');
    stage.assertFirstSentBy('xdp', 'b1', 'the third');
  },

  'an established flow whose way is over takes the one that another flow found'(stage, protocol) {
    stage.learn('b1');
    const request = stage.reach('b1');
    stage.answer(request, 'b1');
    stage.changeSettings({ route_generation: stage.maps.settings.get(0)!.route_generation + 1 });
    const hooks = [0, 1].map(() => stage.send(closing(protocol)).hook);
    assert.deepEqual(hooks, stage.early ? ['tc', 'xdp'] : ['tc', 'tc']);
  },

  'a way that is too old is looked up again'(stage) {
    const { next_hop_age } = stage.maps.settings.get(0)!;
    stage.learn('b1');
    stage.changeSettings({ next_hop_age: -1 >>> 0 });
    stage.assertFirstSentBy('tc', 'b1', 'older than may be');
    stage.changeSettings({ next_hop_age });
    stage.assertFirstSentBy('xdp', 'b1', 'young enough');
  },

  'a way of the backend that had the id before is not taken'(stage) {
    stage.learn('b1');
    const restore = stage.recycle('b1');
    stage.assertFirstSentBy('tc', 'b1', 'the id has another generation');
    stage.assertFirstSentBy('xdp', 'b1', 'its way is known now');
    restore();
  },

  'a way that is read while it is written is not taken'(stage) {
    stage.learn('b1');
    stage.changeWay('b1', { check: 1 });
    stage.assertFirstSentBy('tc', 'b1', 'its words do not belong together');
    stage.assertFirstSentBy('xdp', 'b1', 'it was written again');
  },

  'a way of packets that entered by another device is not taken'(stage) {
    stage.learn('b1');
    stage.changeWay('b1', { entered: 4242 });
    stage.assertFirstSentBy('tc', 'b1', 'another device may have other routes');
    stage.assertFirstSentBy('xdp', 'b1', 'this one is known now');
  },
};

/** Every history. */
export const histories: readonly string[] = Object.keys(told);

if (import.meta.main) {
  const options = JSON.parse(process.argv[2]!) as BenchOptions;
  const bench = openBench(options);
  process.on('message', (story: Story) => {
    let failure: string | undefined;
    try {
      told[story.name]!(new Stage(bench, story, options.xdp !== undefined), story.protocol);
    } catch (error) {
      failure = (error as Error).message;
    }
    process.send!({ failure });
  });
  process.on('disconnect', () => bench.close());
  process.send!({ failure: undefined });
}
