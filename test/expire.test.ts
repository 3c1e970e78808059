// Which flows end, and when? Entries in memory, a clock that is a number.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AddressFlag, type Flow4, FlowFlag, type FlowKey4, type Settings } from '../control/abi/layout.gen.ts';
import { expireFlows, expiryClock } from '../control/kernel/expire.ts';
import { openGoneBackends } from '../control/kernel/gone.ts';
import { type Maps, memoryMaps } from '../control/kernel/maps.ts';

const { FLOW_REPLY, FLOW_CONFIRMED, FLOW_FIN, FLOW_PEER_FIN, FLOW_RST } = FlowFlag;
const TCP = 6;
const UDP = 17;
const HZ = 100;
const timeouts = { tcpEstablishedSeconds: 1000, tcpCloseWaitSeconds: 200, udpSeconds: 30, udpStreamSeconds: 120 };
const settings = {
  jiffies_per_second: HZ,
  tcp_syn_timeout: 60 * HZ,
  tcp_established_timeout: 1000 * HZ,
  tcp_close_timeout: 30 * HZ,
  udp_timeout: 30 * HZ,
  udp_stream_timeout: 120 * HZ,
} as Settings;

/** Near the wrap of 32 bits: ages are differences. */
const NOW = 5 * HZ;

const blank = {
  frontend: 1,
  backend: 1,
  generation: 1,
  ifindex: 0,
  route_generation: 0,
  resolved: 0,
  next_hop: '0.0.0.0',
  mtu: 0,
  source_mac: '00:00:00:00:00:00',
  destination_mac: '00:00:00:00:00:00',
};

interface Told {
  readonly protocol: number;
  /** Seconds since the last packet of the request, and of the reply. */
  readonly ages: readonly [number, number];
  readonly flags?: readonly [number, number];
  /** The request's entry waits in new_flows. */
  readonly requestIsNew?: boolean;
  readonly client?: string;
}

/** Puts both directions of client → 10.96.0.1:80 → 10.244.0.9:8080 into the maps; returns their keys. */
function remember(maps: Maps, { protocol, ages, flags = [0, 0], requestIsNew = false, client = '10.244.0.1' }: Told): [FlowKey4, FlowKey4] {
  const seen = (age: number) => (NOW - age * HZ) >>> 0;
  const request: FlowKey4 = { source: client, destination: '10.96.0.1', source_port: 1000, destination_port: 80, protocol };
  const reply: FlowKey4 = { source: '10.244.0.9', destination: client, source_port: 8080, destination_port: 1000, protocol };
  const there: Flow4 = {
    ...blank,
    source: client,
    destination: '10.244.0.9',
    source_port: 1000,
    destination_port: 8080,
    seen: seen(ages[0]),
    flags: flags[0],
  };
  const back: Flow4 = {
    ...blank,
    source: '10.96.0.1',
    destination: client,
    source_port: 80,
    destination_port: 1000,
    seen: seen(ages[1]),
    flags: flags[1] | FLOW_REPLY,
  };
  (requestIsNew ? maps.new_flows4 : maps.flows4).set(request, there);
  maps.flows4.set(reply, back);
  return [request, reply];
}

async function survives(told: Told): Promise<boolean> {
  const maps = memoryMaps({ flows4: 16, new_flows4: 16 });
  const keys = remember(maps, told);
  const { deleted } = await expireFlows(maps, expiryClock(settings, timeouts, NOW));
  const left = keys.filter((key) => maps.flows4.get(key) !== undefined || maps.new_flows4.get(key) !== undefined).length;
  assert(left === 2 || maps.flows4.get(keys[1]) === undefined, 'never half a flow in flows');
  assert.equal(deleted > 0, left < 2);
  return left === 2;
}

const confirmed = [FLOW_CONFIRMED, FLOW_CONFIRMED] as const;
const rows: readonly (readonly [string, Told, boolean])[] = [
  ['an established connection at rest', { protocol: TCP, ages: [900, 900], flags: confirmed }, true],
  ['an established connection past its time', { protocol: TCP, ages: [1001, 1001], flags: confirmed }, false],
  ['one direction is enough', { protocol: TCP, ages: [5000, 10], flags: confirmed }, true],
  ['the other one too', { protocol: TCP, ages: [10, 5000], flags: confirmed }, true],
  ['a claimed port without an answer', { protocol: TCP, ages: [61, 61], requestIsNew: true }, false],
  ['a claimed port whose request is still tried', { protocol: TCP, ages: [10, 61], requestIsNew: true }, true],
  [
    'closed by both ends',
    { protocol: TCP, ages: [31, 31], flags: [FLOW_CONFIRMED | FLOW_FIN | FLOW_PEER_FIN, FLOW_CONFIRMED | FLOW_FIN | FLOW_PEER_FIN] },
    false,
  ],
  [
    'closed by both ends, each known to one direction',
    { protocol: TCP, ages: [31, 31], flags: [FLOW_CONFIRMED | FLOW_FIN, FLOW_CONFIRMED | FLOW_FIN] },
    false,
  ],
  ['closed just now', { protocol: TCP, ages: [29, 29], flags: [FLOW_CONFIRMED | FLOW_FIN | FLOW_PEER_FIN, FLOW_CONFIRMED] }, true],
  ['closed by one end', { protocol: TCP, ages: [150, 150], flags: [FLOW_CONFIRMED | FLOW_FIN, FLOW_CONFIRMED | FLOW_PEER_FIN] }, true],
  [
    'closed by one end long ago',
    { protocol: TCP, ages: [201, 201], flags: [FLOW_CONFIRMED | FLOW_FIN, FLOW_CONFIRMED | FLOW_PEER_FIN] },
    false,
  ],
  ['reset', { protocol: TCP, ages: [31, 31], flags: [FLOW_CONFIRMED | FLOW_RST, FLOW_CONFIRMED] }, false],
  ['a UDP stream', { protocol: UDP, ages: [119, 119], flags: confirmed }, true],
  ['a UDP stream past its time', { protocol: UDP, ages: [121, 121], flags: confirmed }, false],
  ['UDP without an answer', { protocol: UDP, ages: [31, 31] }, false],
  ['a packet since the clock was read', { protocol: UDP, ages: [-1, -1] }, true],
];

describe('flows', () => {
  for (const [name, told, expected] of rows)
    test(`${name}: ${expected ? 'stays' : 'ends'}`, async () => assert.equal(await survives(told), expected));

  test('the event loop turns while many are looked at', async () => {
    const maps = memoryMaps({ flows4: 4096 });
    for (let i = 0; i < 2000; i++) remember(maps, { protocol: TCP, ages: [0, 0], flags: confirmed, client: `10.244.${i >> 8}.${i & 255}` });
    let turns = 0;
    let done = false;
    const turn = () => {
      turns++;
      if (!done) setImmediate(turn);
    };
    setImmediate(turn);
    const { scanned, deleted } = await expireFlows(maps, expiryClock(settings, timeouts, NOW));
    done = true;
    assert.deepEqual([scanned, deleted], [4000, 0]);
    assert(turns >= 4);
  });
});

describe('retired addresses', () => {
  const { ADDRESS_RETIRED, ADDRESS_FRONTEND } = AddressFlag;

  test('go with their last flow', async () => {
    const maps = memoryMaps({ flows4: 16, new_flows4: 16 });
    remember(maps, { protocol: TCP, ages: [10, 10], flags: confirmed });
    maps.addresses4.set('10.96.0.1', ADDRESS_RETIRED);
    maps.addresses4.set('10.96.0.2', ADDRESS_RETIRED);
    maps.addresses4.set('10.96.0.3', ADDRESS_FRONTEND);
    maps.addresses6.set('fd96::1', ADDRESS_RETIRED);
    const clock = expiryClock(settings, timeouts, NOW);
    assert.deepEqual((await expireFlows(maps, clock)).addresses, ['10.96.0.2', 'fd96::1']);
    assert.equal(maps.addresses4.get('10.96.0.1'), ADDRESS_RETIRED);
    assert.equal(maps.addresses4.get('10.96.0.3'), ADDRESS_FRONTEND);
    assert.deepEqual((await expireFlows(maps, { ...clock, now: NOW + 2000 * HZ })).addresses, ['10.96.0.1']);
  });

  test('stay for a flow that no reply has confirmed yet', async () => {
    const maps = memoryMaps({ flows4: 16, new_flows4: 16 });
    const [request, reply] = remember(maps, { protocol: UDP, ages: [1, 1], requestIsNew: true });
    maps.flows4.delete(reply);
    assert(maps.new_flows4.get(request) !== undefined);
    maps.addresses4.set('10.96.0.1', ADDRESS_RETIRED);
    assert.deepEqual((await expireFlows(maps, expiryClock(settings, timeouts, NOW))).addresses, []);
  });
});

test('a reply whose request has another backend by now ends by itself, and the request stays', async () => {
  const maps = memoryMaps();
  const [request, reply] = remember(maps, { protocol: UDP, ages: [1, 121], flags: [FLOW_CONFIRMED, FLOW_CONFIRMED] });
  maps.flows4.set(request, { ...maps.flows4.get(request)!, backend: 2 });
  await expireFlows(maps, expiryClock(settings, timeouts, NOW));
  assert.equal(maps.flows4.get(reply), undefined);
  assert.ok(maps.flows4.get(request));
});

describe('connections to a backend that is gone (9.4)', () => {
  const { FLOW_RESET } = FlowFlag;
  const living = { address: '10.244.0.9', port: 8080, protocol: TCP, flags: 1, generation: 1 };
  const confirmed = [FLOW_CONFIRMED, FLOW_CONFIRMED] as const;

  /** Sweeps at the given seconds; the flags of both entries after each. */
  async function sweeps(maps: Maps, keys: readonly FlowKey4[], at: readonly number[], before: (second: number) => void = () => {}) {
    let now = 0;
    const gone = openGoneBackends(() => now);
    const found: boolean[] = [];
    for (const second of at) {
      now = second * 1000;
      before(second);
      await expireFlows(maps, expiryClock(settings, timeouts, NOW), gone);
      found.push(keys.every((key) => ((maps.flows4.get(key)?.flags ?? 0) & FLOW_RESET) !== 0));
    }
    return found;
  }

  test('are marked in both directions after 30 s, not before', async () => {
    const maps = memoryMaps();
    const keys = remember(maps, { protocol: TCP, ages: [1, 1], flags: confirmed });
    maps.backends4.set(1, { ...living, flags: 0 });
    assert.deepEqual(await sweeps(maps, keys, [0, 29, 30]), [false, false, true]);
  });

  test('are left alone while the backend drains, and when its address comes back in time', async () => {
    const maps = memoryMaps();
    const keys = remember(maps, { protocol: TCP, ages: [1, 1], flags: confirmed });
    maps.backends4.set(1, living);
    assert.deepEqual(await sweeps(maps, keys, [0, 60]), [false, false]);
    const comesBack = (second: number) => maps.backends4.set(1, { ...living, flags: second === 20 ? 1 : 0 });
    assert.deepEqual(await sweeps(maps, keys, [0, 20, 31, 60, 61], comesBack), [false, false, false, false, true]);
  });

  test('are marked when the id has another use by now', async () => {
    const maps = memoryMaps();
    const keys = remember(maps, { protocol: TCP, ages: [1, 1], flags: confirmed });
    maps.backends4.set(1, { ...living, generation: 2 });
    assert.deepEqual(await sweeps(maps, keys, [0, 30]), [false, true]);
  });

  test('UDP is not: its next datagram picks again anyway (9.2)', async () => {
    const maps = memoryMaps();
    const keys = remember(maps, { protocol: UDP, ages: [1, 1], flags: confirmed });
    maps.backends4.set(1, { ...living, protocol: UDP, flags: 0 });
    assert.deepEqual(await sweeps(maps, keys, [0, 60]), [false, false]);
  });
});
