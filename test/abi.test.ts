// Are the codecs what the C compiler makes of bpf/abi.h, and does every value survive its bytes?

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { execa } from 'execa';
import fc from 'fast-check';
import {
  addr4,
  addr6,
  be16,
  be32,
  type Codec,
  decoded,
  encoded,
  list,
  mac,
  nameOf,
  namesOf,
  u8,
  u16,
  u32,
  u64,
} from '../control/abi/codec.ts';
import * as layout from '../control/abi/layout.gen.ts';
import { parseAddress } from '../control/address.ts';

const { BackendFlag, ClientKind, DeviceFlag, FlowFlag, FrontendFlag, SettingFlag, SocketDirection, Verdict } = layout;

const flow = {
  ...{
    source_port: 40000,
    destination_port: 8443,
    frontend: 1,
    backend: 2,
    generation: 3,
    seen: 0xffffffff,
    ifindex: 5,
    route_generation: 6,
    resolved: 7,
  },
  ...{ mtu: 1450, flags: FlowFlag.FLOW_REPLY | FlowFlag.FLOW_RST, source_mac: '01:02:03:04:05:06', destination_mac: '07:08:09:0a:0b:0c' },
};

const nextHop = {
  ...{ check: 1, backend: 2, generation: 3, entered: 4, ifindex: 5, route_generation: 6, resolved: 7, mtu: 1450 },
  ...{ destination_mac: '07:08:09:0a:0b:0c', source_mac: '01:02:03:04:05:06' },
};

function golden<T>(codec: Codec<T>, value: T): () => Uint8Array {
  return () => encoded(codec, value);
}

/** The values of test/golden.c, by the struct's name. */
const GOLDEN: Record<string, () => Uint8Array> = {
  frontend_key4: golden(layout.FrontendKey4, { address: '10.96.0.10', port: 53, protocol: 17 }),
  frontend_key6: golden(layout.FrontendKey6, { address: 'fd00:10:96::a', port: 53, protocol: 17 }),
  frontend: golden(layout.Frontend, {
    ...{ id: 0x01020304, flags: FrontendFlag.FRONTEND_LOCAL | FrontendFlag.FRONTEND_AFFINITY, affinity_seconds: 10800, check: 0xfffefdfc },
    ...{ cluster: { first: 1, count: 2 }, local: { first: 3, count: 4 } },
    ...{ cluster_table: { first: 5, count: 6 }, local_table: { first: 7, count: 8 } },
  }),
  backend4: golden(layout.Backend4, {
    ...{ address: '10.244.1.2', port: 8080, protocol: 6, generation: 0xdeadbeef },
    flags: BackendFlag.BACKEND_LIVE | BackendFlag.BACKEND_HOST,
  }),
  backend6: golden(layout.Backend6, {
    ...{ address: '2001:db8::1:2', port: 8080, protocol: 6, generation: 0xdeadbeef, flags: BackendFlag.BACKEND_SERVING },
  }),
  source_range_key4: golden(layout.SourceRangeKey4, { prefix_length: 56, frontend: 0x01020304, address: '192.0.2.0' }),
  source_range_key6: golden(layout.SourceRangeKey6, { prefix_length: 96, frontend: 0x01020304, address: '2001:db8::' }),
  device: golden(layout.Device, {
    address6: 'fe80::1',
    address4: '172.18.0.2',
    mtu: 1500,
    mac: '02:00:ab:cd:ef:01',
    flags: DeviceFlag.DEVICE_XDP,
  }),
  flow_key4: golden(layout.FlowKey4, {
    ...{ source: '10.0.0.1', destination: '10.96.0.1', source_port: 40000, destination_port: 443, protocol: 6 },
  }),
  flow_key6: golden(layout.FlowKey6, {
    ...{ source: '10.0.0.1', destination: 'fd00::1', source_port: 40000, destination_port: 443, protocol: 6 },
  }),
  flow4: golden(layout.Flow4, { ...flow, source: '10.0.0.1', destination: '10.244.0.7', next_hop: '10.0.0.254' }),
  flow6: golden(layout.Flow6, { ...flow, source: 'fd00::1', destination: 'fd00:244::7', next_hop: 'fe80::2' }),
  next_hop4: golden(layout.NextHop4, { ...nextHop, address: '10.0.0.254', source: '10.0.0.1' }),
  next_hop6: golden(layout.NextHop6, { ...nextHop, address: 'fe80::2', source: 'fd00::1' }),
  affinity_key: golden(layout.AffinityKey, { frontend: 9, kind: ClientKind.CLIENT_ADDRESS, client: '192.0.2.7' }),
  affinity: golden(layout.Affinity, { backend: 1, generation: 2, seen: 3 }),
  service_count: golden(layout.ServiceCount, {
    ...{ flows: 0x0102030405060708n, no_endpoints: 2n, no_local_backend: 3n, source_range: 4n, others: 5n },
  }),
  socket_key: golden(layout.SocketKey, {
    ...{ cookie: 0x0102030405060708n, address: '10.96.0.1', port: 443, protocol: 17, direction: SocketDirection.SOCKET_REPLY },
  }),
  socket_flow: golden(layout.SocketFlow, { address: '2001:db8::2', port: 53, frontend: 1, backend: 2, generation: 3, seen: 4 }),
  settings: golden(layout.Settings, {
    ...{ host_netns_cookie: 0x8070605040302010n, flags: SettingFlag.SETTING_SOCKET_PODS, jiffies_per_second: 250, tcp_syn_timeout: 1 },
    ...{
      tcp_established_timeout: 2,
      tcp_close_timeout: 3,
      udp_timeout: 4,
      udp_stream_timeout: 5,
      next_hop_age: 6,
      route_generation: 6,
      mark: 0x80000000,
    },
    ...{ snat_first: 20000, snat_last: 65535, service_count4: 1, service_count6: 1, local_count4: 0, local_count6: 0 },
    ...{ service4: [{ network: '10.96.0.0', mask: '255.240.0.0' }], local4: [], local6: [] },
    service6: [{ network: 'fd00:10:96::', mask: 'ffff:ffff:ffff::' }],
  }),
};

/** Every struct codec of the layout, by name. */
const STRUCTS = Object.entries(layout).filter((entry): entry is [string, Codec<unknown> & (typeof entry)[1]] => {
  const value: unknown = entry[1];
  return typeof value === 'object' && value !== null && 'encode' in value;
});

function bytesOf(size: number): fc.Arbitrary<Uint8Array<ArrayBuffer>> {
  return fc.uint8Array({ minLength: size, maxLength: size });
}

describe('the layout and the C compiler', () => {
  test('every struct that control writes or reads has the same bytes', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'sluice-golden-'));
    try {
      const program = join(directory, 'golden');
      const source = new URL('golden.c', import.meta.url).pathname;
      await execa('cc', ['-std=gnu11', '-Wno-unused', '-o', program, source]);
      const { stdout } = await execa(program);
      const printed = new Map(stdout.split('\n').map((line) => line.split(' ') as [string, string]));
      assert.deepEqual([...printed.keys()].sort(), Object.keys(GOLDEN).sort());
      for (const [name, bytes] of printed) assert.equal(Buffer.from(GOLDEN[name]!()).toString('hex'), bytes, name);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  test('every struct is compared, but for words in a row and parts of others', () => {
    const left = ['features', 'prefix4', 'prefix6', 'self_test', 'slice', 'verdict_count'];
    const names = STRUCTS.map(([name]) => name.replace(/[A-Z]/g, (letter, at) => `${at === 0 ? '' : '_'}${letter.toLowerCase()}`));
    assert.deepEqual([...Object.keys(GOLDEN), ...left].sort(), names.sort());
  });
});

describe('codecs', () => {
  for (const [name, codec] of STRUCTS) {
    test(`${name}: bytes that were decoded and encoded again are the same value, in exactly its bytes`, () => {
      fc.assert(
        fc.property(bytesOf(codec.size), (bytes) => {
          const value = decoded(codec, bytes);
          const room = new Uint8Array(codec.size + 16).fill(0xee);
          codec.encode(value, new DataView(room.buffer), 8);
          assert.deepEqual(codec.decode(new DataView(room.buffer), 8), value);
          assert(room.subarray(0, 8).every((byte) => byte === 0xee) && room.subarray(8 + codec.size).every((byte) => byte === 0xee));
          // Whatever was in the room before: padding is zero.
          assert.deepEqual(room.subarray(8, 8 + codec.size), encoded(codec, value));
        }),
      );
    });
  }

  test('numbers have the byte order of their type', () => {
    assert.deepEqual([...encoded(u16, 0x0102), ...encoded(u32, 0x01020304)], [2, 1, 4, 3, 2, 1]);
    assert.deepEqual([...encoded(be16, 0x0102), ...encoded(be32, 0x01020304)], [1, 2, 1, 2, 3, 4]);
    assert.deepEqual([...encoded(u64, 0x0102030405060708n)], [8, 7, 6, 5, 4, 3, 2, 1]);
  });

  test('addresses are canonical text, IPv4 inside IPv6 included', () => {
    fc.assert(
      fc.property(fc.oneof(fc.ipV4(), fc.ipV6()), (text) => {
        const address = parseAddress(text)!;
        assert.equal(decoded(addr6, encoded(addr6, address)), address);
        if (!address.includes(':')) assert.equal(decoded(addr4, encoded(addr4, address)), address);
      }),
    );
    assert.equal(Buffer.from(encoded(addr6, '10.0.0.1')).toString('hex'), '00000000000000000000ffff0a000001');
    assert.deepEqual([decoded(addr6, new Uint8Array(16)), decoded(addr4, new Uint8Array(4))], ['::', '0.0.0.0']);
  });

  test('what does not fit is refused, never cut', () => {
    const refused: [Codec<never>, unknown][] = [
      ...([-1, 256, 1.5, Number.NaN].map((value) => [u8, value]) as [Codec<never>, unknown][]),
      ...([-1, 65536].flatMap((value) => [
        [u16, value],
        [be16, value],
      ]) as [Codec<never>, unknown][]),
      ...([-1, 2 ** 32].flatMap((value) => [
        [u32, value],
        [be32, value],
      ]) as [Codec<never>, unknown][]),
      ...([-1n, 2n ** 64n].map((value) => [u64, value]) as [Codec<never>, unknown][]),
      [addr4, '::1'] as [Codec<never>, unknown],
      [mac, '02:00:00:00:00'] as [Codec<never>, unknown],
      [list(u8, 2), [1, 2, 3]] as unknown as [Codec<never>, unknown],
    ];
    for (const [codec, value] of refused) assert.throws(() => encoded(codec, value as never), RangeError, String(value));
    assert.throws(() => encoded(addr4, '10.0.0'), Error);
  });
});

describe('words', () => {
  test('a number has its name, flags have theirs', () => {
    assert.equal(nameOf(Verdict, Verdict.DROP_FRAGMENT), 'DROP_FRAGMENT');
    assert.equal(nameOf(Verdict, 9999), undefined);
    assert.deepEqual(namesOf(BackendFlag, 0b1011), ['BACKEND_LIVE', 'BACKEND_SERVING', 'BACKEND_HOST']);
    assert.deepEqual(namesOf(BackendFlag, 0), []);
    assert.deepEqual(namesOf(BackendFlag, 0x80000001), ['BACKEND_LIVE', '0x80000000']);
  });
});
