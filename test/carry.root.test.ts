// Which flows of maps of another generation come into ours, and when? A flow that is copied while the other one still gives ports away must
// keep its port there, or the answer to the next flow that gets it would go to the client of before.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { execa } from 'execa';
import { encoded } from '../control/abi/codec.ts';
import { Flow4, FlowFlag, type FlowKey4, LAYOUT, Settings } from '../control/abi/layout.gen.ts';
import { buildDirectory, loadNative } from '../control/kernel/addon.ts';
import { carry, type Deciding, FLOW_MAPS } from '../control/kernel/carry.ts';
import { kernelMaps, type Maps } from '../control/kernel/maps.ts';
import type { NativeObject } from '../control/kernel/native.ts';
import { type Pins, pinsOf } from '../control/kernel/pins.ts';

const native = loadNative();
const NOW = 1_000_000;
const TCP = 6;
const blankFlow = Flow4.decode(new DataView(new ArrayBuffer(Flow4.size)), 0);
const settings: Settings = {
  ...Settings.decode(new DataView(new ArrayBuffer(Settings.size)), 0),
  ...{ tcp_syn_timeout: 6000, tcp_established_timeout: 8_640_000, tcp_close_timeout: 3000, udp_timeout: 3000, udp_stream_timeout: 12000 },
};

const { FLOW_REPLY, FLOW_SEND, FLOW_CONFIRMED, FLOW_FIN, FLOW_PEER_FIN } = FlowFlag;
const [client, vip, node, backend] = ['198.51.100.2', '172.18.0.2', '172.18.0.2', '10.1.2.11'];

describe('carry', () => {
  const directory = mkdtempSync(join(tmpdir(), 'sluice-carry-'));
  const mount = join(directory, 'pins');
  let number = 0;
  let from: Pins;
  let objects: NativeObject[];
  let theirs: Maps;
  let ours: Maps;
  before(() => {
    mkdirSync(mount);
    native.mount('bpf', mount, 'bpf');
  });
  after(async () => {
    await execa('umount', [mount]);
    rmSync(directory, { recursive: true });
  });
  beforeEach(() => {
    from = pinsOf(mount, 'shape', ++number);
    mkdirSync(from.directory);
    objects = [native.load(`${buildDirectory}bpf/abi.o`, {}), native.load(`${buildDirectory}bpf/abi.o`, {})];
    for (const map of [...FLOW_MAPS, 'settings', 'backends4', 'backends6']) native.pin(objects[0]!.maps[map]!, from.map(map));
    native.mapUpdate(objects[0]!.maps.settings!, new Uint8Array(4), encoded(Settings, settings), 0);
    [theirs, ours] = objects.map((object) => kernelMaps(native, object.maps)) as [Maps, Maps];
  });

  /** A masqueraded connection: key and entry of the request, key and entry of the reply. */
  function connection(clientPort: number, port: number, flags = 0, seen = NOW - 100): [FlowKey4, Flow4, FlowKey4, Flow4] {
    const common = { ...blankFlow, backend: 1, generation: 1, seen };
    return [
      { source: client!, destination: vip!, source_port: clientPort, destination_port: 30080, protocol: TCP },
      { ...common, flags: FLOW_SEND | flags, source: node!, destination: backend!, source_port: port, destination_port: 8080 },
      { source: backend!, destination: node!, source_port: 8080, destination_port: port, protocol: TCP },
      {
        ...common,
        flags: FLOW_SEND | FLOW_REPLY | flags,
        source: vip!,
        destination: client!,
        source_port: 30080,
        destination_port: clientPort,
      },
    ];
  }

  function put(maps: Maps, [key, request, replyKey, reply]: ReturnType<typeof connection>): void {
    maps.flows4.set(key, request);
    maps.flows4.set(replyKey, reply);
  }

  const pass = (deciding: Deciding) => carry(native, { pins: from, layout: LAYOUT }, objects[1]!.maps, FLOW_MAPS, new Set(), deciding, NOW);
  const ends = () => [...ours.flows4.entries()].map(([key]) => key.destination_port).sort((a, b) => a - b);

  test('a connection in use comes at once, both directions', async () => {
    put(theirs, connection(40001, 20001, FLOW_CONFIRMED));
    await pass('theirs');
    assert.deepEqual(ends(), [20001, 30080]);
  });

  test('one that is closed stays with who gives its port away, and comes when we do', async () => {
    put(theirs, connection(40001, 20001, FLOW_CONFIRMED | FLOW_FIN | FLOW_PEER_FIN));
    await pass('theirs');
    assert.deepEqual(ends(), []);
    await pass('ours');
    assert.deepEqual(ends(), [20001, 30080]);
  });

  test('one that is over never comes', async () => {
    put(theirs, connection(40001, 20001, FLOW_CONFIRMED | FLOW_FIN | FLOW_PEER_FIN, NOW - 3001));
    await pass('theirs');
    await pass('ours');
    assert.deepEqual(ends(), []);
  });

  test('a reply without its request waits: the first packet would make it again', async () => {
    const [, , key, reply] = connection(40001, 20001);
    theirs.flows4.set(key, reply);
    await pass('theirs');
    assert.deepEqual(ends(), []);
    await pass('ours');
    assert.deepEqual(ends(), [20001]);
  });

  test('the port is another’s here by now: its flow stays whole, the other’s request does not lead there', async () => {
    put(theirs, connection(40001, 20001, FLOW_CONFIRMED));
    put(ours, connection(40002, 20001, FLOW_CONFIRMED));
    await pass('ours');
    assert.deepEqual(
      [...ours.flows4.entries()].map(([key, flow]) => [key.source_port, flow.destination_port]).sort(),
      [
        [40002, 8080],
        [8080, 40002],
      ].sort(),
    );
  });
});
