// The objects under BPF_PROG_TEST_RUN, in the network namespace this process was started in: loaded, filled from manifests by the
// real source, model and compiler, and asked one packet at a time. program.ts starts it and sends it cases.
import assert from 'node:assert/strict';
import { encoded, nameOf } from '../../control/abi/codec.ts';
import { DeviceFlag, Features, type Flow4, type Flow6, FlowFlag, type MapName, Verdict } from '../../control/abi/layout.gen.ts';
import { loadNative } from '../../control/kernel/addon.ts';
import { probeFeatures } from '../../control/kernel/features.ts';
import { kernelMaps, type Maps } from '../../control/kernel/maps.ts';
import { watchNetwork } from '../../control/kernel/network.ts';
import { addressesOf, devicesOf } from '../../control/kernel/node.ts';
import type { DatapathOptions } from '../../control/kernel/options.ts';
import { portWords } from '../../control/kernel/ports.ts';
import { settingsOf } from '../../control/kernel/settings.ts';
import { contextOf, eitherHook, type Outcome, outcomeOf } from './early.ts';
import { cause } from './fault.ts';
import { type Case, type VerdictName, verdictOf } from './flow.ts';
import { buildPacket, buildReply, type Packet, parsePacket } from './packet.ts';
import { hostDevice, isPod, type PlaceName, type PodName, places } from './places.ts';
import {
  act,
  assertRejected,
  assertReset,
  assertUntouched,
  errorAbout,
  macsFrom,
  reachedBy,
  requestBytes,
  requestText,
} from './request.ts';
import { fillMaps, modelOf, readObjects } from './world.ts';

export interface BenchOptions {
  /** An object with the tc programs. */
  readonly object: string;
  /** The object with the XDP program, to run it before tc at the NIC; undefined: tc alone. */
  readonly xdp?: string;
  /** Test runs of XDP enter by the loopback, not by the NIC: a kernel that takes no context for them. It then counts as the NIC. */
  readonly loopback?: boolean;
  /** A directory of manifests. */
  readonly manifests: string;
  readonly masqueradeAll: boolean;
  readonly sourceRangesEverywhere?: boolean;
}

export interface Bench {
  readonly maps: Maps;
  /** Throws where the programs do with a flow anything but what its row says. */
  check(flow: Case): void;
  /** The verdict about the flow's first packet alone, whatever the row says. */
  verdict(flow: Case): VerdictName;
  /** A frame from a place, through the programs that see it first. */
  enter(from: PlaceName, frame: Uint8Array): Outcome;
  close(): void;
}

const pool = { first: 20000, last: 29999 };
const markBit = 1 << 14;
const options: DatapathOptions = {
  pinDirectory: '',
  stateDirectory: '',
  cgroupRoot: undefined,
  hooks: { tc: true, socket: 'off' },
  xdp: 'off',
  socketExceptions: [],
  devices: ['eth0'],
  podInterfaces: undefined,
  detectLocal: { mode: 'PodInterfaces' },
  mapSizes: {},
  masqueradeAll: false,
  masqueradeMark: markBit,
  snatPorts: pool,
  conntrack: { tcpEstablishedSeconds: 86400, tcpCloseWaitSeconds: 3600, udpSeconds: 60, udpStreamSeconds: 180 },
};
/** Small maps: each test makes its own. */
const sizes: Partial<Record<MapName, number>> = {
  frontends4: 1024,
  frontends6: 1024,
  backends4: 1024,
  backends6: 1024,
  slots: 1 << 20,
  flows4: 16384,
  flows6: 16384,
  new_flows4: 16384,
  new_flows6: 16384,
  affinities: 4096,
};
/** struct __sk_buff: what a test run may set. kernel 5.10: ingress_ifindex is refused. */
const skb = { size: 192, mark: 8, ifindex: 40 } as const;

/** Loads the object and fills its maps as the agent of node A would. */
export function openBench({ object, xdp, loopback = false, manifests, masqueradeAll, sourceRangesEverywhere }: BenchOptions): Bench {
  const native = loadNative();
  const rodata = { '.rodata.features': encoded(Features, probeFeatures(native)) };
  const loaded = native.load(object, { mapSizes: sizes as Record<string, number>, rodata });
  const early = xdp === undefined ? undefined : native.load(xdp, { maps: loaded.maps, rodata });
  const maps = kernelMaps(native, loaded.maps);
  const watch = watchNetwork(native);
  const network = watch.current();
  watch.close();
  const ifindexOf = (device: string) => [...network.links.values()].find((link) => link.name === device)!.ifindex;
  const model = modelOf(readObjects(manifests), sourceRangesEverywhere);
  const prefixes = { serviceCIDRs: model.serviceCIDRs, localPrefixes: undefined };
  const clocks = { netnsCookie: 0n, jiffiesPerSecond: 250 };
  // A way does not get too old here: an emulated machine takes longer than its ten seconds from one row to the next.
  maps.settings.set(0, { ...settingsOf({ ...options, masqueradeAll }, clocks, prefixes, 1).settings, next_hop_age: 0x7fffffff });
  for (const [index, word] of portWords(pool, new Set()).entries()) maps.snat_ports.set(index, word);
  for (const [ifindex, device] of devicesOf(network, addressesOf(network, options).defaultRouteAddresses))
    maps.devices.set(ifindex, device);
  if (loopback) {
    const nic = { ...maps.devices.get(ifindexOf('eth0'))!, flags: DeviceFlag.DEVICE_XDP };
    for (const device of ['eth0', 'lo']) maps.devices.set(ifindexOf(device), nic);
  }
  fillMaps(maps, model);

  let lastPort = 32000;
  const nextPort = () => {
    lastPort = lastPort === 60999 ? 32000 : lastPort + 1;
    return lastPort;
  };
  const counts = () =>
    Object.values(Verdict).map((verdict) => Number(maps.verdicts.get(verdict)?.packets.reduce((sum, packets) => sum + packets, 0n) ?? 0n));

  /** As they were left: nobody else runs the programs. */
  let before = counts();

  /** The one verdict that moved, by one, while something ran. */
  function counted<T>(what: string, runs: () => T): { result: T; verdict: VerdictName } {
    const result = runs();
    const now = counts();
    const moved = now.flatMap((count, index) =>
      new Array<string>(count - before[index]!).fill(nameOf(Verdict, Object.values(Verdict)[index]!)!),
    );
    before = now;
    assert.equal(moved.length, 1, `${what}: verdicts counted: ${moved.join(', ') || 'none'}`);
    return { result, verdict: moved[0]! };
  }

  /** One packet through one program of tc. */
  function run(program: string, frame: Uint8Array, device: string, mark = 0): Outcome {
    const ctx = new Uint8Array(skb.size);
    const view = new DataView(ctx.buffer);
    view.setUint32(skb.mark, mark, true);
    view.setUint32(skb.ifindex, ifindexOf(device), true);
    const { result, verdict } = counted(program, () => native.testRun(loaded.programs[program]!, frame, { ctx, packetSize: 4096 }));
    const after = new DataView(result.ctx!.buffer, result.ctx!.byteOffset);
    return { hook: 'tc', action: result.returnValue | 0, frame: result.packet, mark: after.getUint32(skb.mark, true), verdict };
  }

  /** One packet into the NIC. */
  function enterNic(frame: Uint8Array): Outcome {
    const late = (bytes: Uint8Array) => run('nic_ingress', bytes, loopback ? 'lo' : 'eth0');
    if (early === undefined) return late(frame);
    const where = loopback ? {} : { ctx: contextOf(frame, ifindexOf('eth0')) };
    const { result, verdict } = counted('nic_xdp', () => native.testRun(early.programs.nic_xdp!, frame, { ...where, packetSize: 4096 }));
    return eitherHook(frame, outcomeOf(result.returnValue, result.packet, verdict), late);
  }

  const isHere = (place: PlaceName): place is PodName => isPod(place) && places[place].node === 'nodeA';
  const deviceOf = (place: PlaceName) => (isHere(place) ? hostDevice(place) : 'eth0');
  const enter = (place: PlaceName, frame: Uint8Array) => (isHere(place) ? run('pod_ingress', frame, deviceOf(place)) : enterNic(frame));
  const leave = (place: PlaceName, frame: Uint8Array) => run(isHere(place) ? 'pod_egress' : 'nic_egress', frame, deviceOf(place));

  /** What we send shows up at our own egress hook: known by its mark, let go as it is. */
  function assertLetGo(sent: Outcome): void {
    if (sent.hook === 'xdp') return; // which no hook sees
    assert.ok(sent.mark & markBit, 'a packet that we send is marked');
    const own = run('nic_egress', sent.frame, 'eth0', sent.mark);
    assert.equal(own.verdict, 'PASS_OWN');
    assert.equal(own.mark & markBit, 0, 'the mark is cleared');
    assertUntouched(sent.frame, own.frame, 'our own packet');
  }

  /** The rewritten request: who gets it and what does he see? */
  function assertTranslated(flow: Case, request: Packet, outcome: Outcome): PlaceName {
    const packet = parsePacket(outcome.frame);
    const backend = reachedBy(packet);
    assert.ok(
      backend && flow.reaches?.[backend],
      `reaches ${packet.destination}:${packet.destinationPort}, not one of ${Object.keys(flow.reaches ?? {})}`,
    );
    assert.equal(outcome.verdict, verdictOf(flow, backend), `verdict when ${backend} answers`);
    assert.deepEqual(packet.wrongChecksums, [], 'checksums of the request');
    const seen = flow.reaches[backend]!;
    assert.equal(packet.source, places[seen][flow.family], `source that ${backend} sees`);
    if (seen === flow.from) assert.equal(packet.sourcePort, request.sourcePort, 'source port');
    else
      assert.ok(packet.sourcePort >= pool.first && packet.sourcePort <= pool.last, `masquerade port ${packet.sourcePort} is of the pool`);
    assert.deepEqual([...packet.payload], [...request.payload], 'payload of the request');
    const forwarded = outcome.verdict === 'FORWARD_REQUEST';
    assert.equal(packet.ttl, request.ttl - (forwarded ? 1 : 0), 'hop limit of the request');
    assert.equal(outcome.action, outcome.verdict === 'TRANSLATE_REQUEST' ? act.UNSPEC : act.REDIRECT);
    if (outcome.verdict === 'FORWARD_HAIRPIN')
      assert.deepEqual([packet.sourceMac, packet.destinationMac], [request.destinationMac, request.sourceMac]);
    if (forwarded) assertLetGo(outcome);
    return backend;
  }

  /** On a shared bridge the reply is addressed to the client's own MAC: it gets the gateway's, and nothing else changes. */
  function assertRouted(request: Packet, bridged: Uint8Array, backend: PlaceName): void {
    const entered = enter(backend, bridged);
    assert.equal(entered.verdict, 'PASS_REPLY');
    assert.equal(parsePacket(entered.frame).destinationMac, request.destinationMac, 'a bridged reply goes to the gateway');
    assertUntouched(bridged.subarray(6), entered.frame.subarray(6), 'a bridged reply behind its destination MAC');
  }

  /** Sends the backend's answer and requires it to come from the frontend. */
  function assertAnswered(flow: Case, request: Packet, sent: Outcome, backend: PlaceName): Outcome {
    const payload = flow.protocol === 'udp' ? Uint8Array.of(1, 2, 3) : new Uint8Array(0);
    const translated = parsePacket(sent.frame);
    const frame = buildReply(translated, { payload, ...macsFrom(backend) });
    let back: Outcome;
    if (sent.verdict === 'TRANSLATE_REQUEST') {
      if (backend !== 'nodeA') {
        const entered = enter(backend, frame);
        assert.equal(entered.verdict, places[backend].node === 'nodeA' ? 'PASS_REPLY' : 'PASS_NOT_OURS');
        assertUntouched(frame, entered.frame, 'a reply that the stack routes');
      }
      if (isHere(backend) && isHere(flow.from)) assertRouted(request, buildReply(translated, { payload }), backend);
      back = leave(flow.from, frame);
      assert.equal(back.verdict, 'TRANSLATE_REPLY');
      assert.equal(back.action, act.UNSPEC);
    } else {
      back = enter(backend, frame);
      assert.equal(back.verdict, sent.verdict === 'FORWARD_HAIRPIN' ? 'FORWARD_HAIRPIN' : 'FORWARD_REPLY');
      assert.equal(back.action, act.REDIRECT);
      if (back.verdict === 'FORWARD_REPLY') assertLetGo(back);
    }
    const reply = parsePacket(back.frame);
    assert.deepEqual(reply.wrongChecksums, [], 'checksums of the reply');
    assert.deepEqual(
      [reply.source, reply.sourcePort, reply.destination, reply.destinationPort],
      [flow.address, flow.port, request.source, request.sourcePort],
      'the reply comes from the frontend to the client',
    );
    return back;
  }

  /** Backends whose way tc has looked up for packets that enter by the NIC: from then on XDP sends new flows to them. */
  const waysKnown = new Set<string>();

  /** A new connection of the flow, answered, and two packets more; who served it? */
  function connect(flow: Case): PlaceName {
    const port = nextPort();
    const first = requestBytes(flow, port);
    const outcome = enter(flow.from, first);
    const backend = assertTranslated(flow, parsePacket(first), outcome);
    const way = `${backend} ${flow.family} ${flow.protocol} ${parsePacket(outcome.frame).destinationPort}`;
    if (waysKnown.has(way)) assertHook(flow, outcome);
    if (outcome.verdict === 'FORWARD_REQUEST' && !isHere(flow.from)) waysKnown.add(way);
    assertAnswered(flow, parsePacket(first), outcome, backend);
    for (const settled of [false, true]) {
      const more = buildPacket({ ...requestText(flow, port), flags: 'A', payload: Uint8Array.of(1, 2, 3, 4, 5) });
      const next = enter(flow.from, more);
      assert.equal(assertTranslated(flow, parsePacket(more), next), backend, 'the connection stays with its backend');
      const answered = assertAnswered(flow, parsePacket(more), next, backend);
      if (settled) for (const one of [next, answered]) assertHook(flow, one);
    }
    return backend;
  }

  /** Where XDP runs, it sends what comes from outside and whose way it knows. */
  function assertHook(flow: Case, { verdict, hook }: Outcome): void {
    const sent = verdict === 'FORWARD_REQUEST' || verdict === 'FORWARD_REPLY';
    if (early !== undefined && sent && !isHere(flow.from)) assert.equal(hook, 'xdp', `${verdict}, sent by`);
  }

  /** An ICMP error about a request that was just translated. */
  function enterWithError(flow: Case): Outcome {
    const plain = { ...flow, shape: undefined } as unknown as Case;
    const sent = enter(flow.from, requestBytes(plain, nextPort()));
    return enter('outside', buildPacket(errorAbout(sent.frame)));
  }

  /** Both ends of an established connection whose entries control has marked: each is answered with RST. The client's outcome. */
  function enterWithGoneBackend(flow: Case, bytes: Uint8Array): Outcome {
    const port = parsePacket(bytes).sourcePort;
    const request = buildPacket({ ...requestText(flow, port), flags: 'S', payload: new Uint8Array(0) });
    const sent = enter(flow.from, request);
    const translated = parsePacket(sent.frame);
    const backend = reachedBy(translated)!;
    assertAnswered(flow, parsePacket(request), sent, backend);
    for (const flows of [maps.flows4, maps.flows6] as const)
      for (const [key, entry] of [...flows.entries()] as [never, Flow4 & Flow6][])
        flows.set(key, { ...entry, flags: entry.flags | FlowFlag.FLOW_RESET });
    const more = buildReply(translated, { payload: Uint8Array.of(1, 2, 3), flags: 'A', acknowledgement: 77, ...macsFrom(backend) });
    const back = sent.verdict === 'TRANSLATE_REQUEST' && isHere(flow.from) ? leave(flow.from, more) : enter(backend, more);
    assert.equal(back.verdict, 'REJECT_GONE_BACKEND', 'of what the backend sends');
    assertReset(more, back.frame);
    return enter(flow.from, bytes);
  }

  function check(flow: Case): void {
    // XDP has the way to the backend, or it would leave the packet to tc for that alone.
    if (flow.fault) enter(flow.from, requestBytes(flow, nextPort()));
    const mend = flow.fault ? cause(maps, flow) : () => {};
    try {
      checkSound(flow);
    } finally {
      mend();
    }
  }

  function checkSound(flow: Case): void {
    if (flow.reaches && !flow.verdict) {
      const wanted = new Set(Object.keys(flow.reaches));
      const met = new Set<PlaceName>();
      for (let tries = 0; tries < (flow.sticks ? 20 : 300) && (flow.sticks || met.size < wanted.size); tries++) met.add(connect(flow));
      if (flow.sticks) assert.equal(met.size, 1, `affinity: went to ${[...met]}`);
      else assert.deepEqual([...met].sort(), [...wanted].sort(), 'every backend comes up');
      return;
    }
    const bytes = requestBytes(flow, nextPort());
    const outcome =
      flow.shape === 'icmp error'
        ? enterWithError(flow)
        : flow.shape === 'gone backend'
          ? enterWithGoneBackend(flow, bytes)
          : enter(flow.from, bytes);
    assert.equal(outcome.verdict, flow.verdict);
    const kind = outcome.verdict.split('_')[0];
    assert.equal(outcome.action, kind === 'PASS' ? act.UNSPEC : kind === 'DROP' ? act.SHOT : act.REDIRECT);
    if (kind === 'PASS') assertUntouched(bytes, outcome.frame, 'what passes');
    if (outcome.verdict === 'REJECT_GONE_BACKEND') assertReset(bytes, outcome.frame);
    else if (kind === 'REJECT') assertRejected(flow, bytes, outcome.frame);
  }

  return {
    maps,
    check,
    enter,
    verdict: (flow) => enter(flow.from, requestBytes(flow, nextPort())).verdict,
    close() {
      early?.close();
      loaded.close();
    },
  };
}

if (import.meta.main) {
  const bench = openBench(JSON.parse(process.argv[2]!) as BenchOptions);
  process.on('message', (flow: Case) => {
    let failure: string | undefined;
    try {
      bench.check(flow);
    } catch (error) {
      failure = (error as Error).message;
    }
    process.send!({ failure });
  });
  process.on('disconnect', () => bench.close());
  process.send!({ failure: undefined });
}
