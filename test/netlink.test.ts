// Do netlink messages mean what we read? Dumps that a kernel wrote (6.18; test/lib/netlink-dump.json), and messages built here.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, test } from 'node:test';
import {
  attributesIn,
  encodeMessage,
  linkAddressOf,
  linkOf,
  messagesIn,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  Rtm,
  routeOf,
  uint32,
  viewOf,
} from '../control/kernel/netlink.ts';
import { waysOf } from '../control/kernel/network.ts';
import { destroyRequest, socketsIn } from '../control/kernel/sockdiag.ts';
import { clsactDevices, filtersIn } from '../control/kernel/tc.ts';

type Dump = 'links' | 'addresses' | 'routes4' | 'routes6' | 'qdiscs' | 'filters';
const dumps = JSON.parse(readFileSync(new URL('lib/netlink-dump.json', import.meta.url), 'utf8')) as Record<Dump, string>;

function bytesOf(name: Dump): Uint8Array {
  return new Uint8Array(Buffer.from(dumps[name], 'base64'));
}

function dumped<T>(name: Dump, read: (body: Uint8Array) => T | undefined): T[] {
  return [...messagesIn(bytesOf(name))].map(({ body }) => read(body)).filter((value) => value !== undefined);
}

describe('links', () => {
  const links = dumped('links', linkOf);
  const named = (name: string) => links.find((link) => link.name === name);

  test('a veth whose peer is in another namespace', () => {
    assert.deepEqual(named('nic0'), {
      ifindex: 2,
      name: 'nic0',
      kind: 'veth',
      hardware: 1,
      up: true,
      loopback: false,
      mtu: 1500,
      mac: '02:00:00:00:00:01',
      master: 0,
      peer: 2,
      peerElsewhere: true,
    });
  });
  test('a port of a bridge', () => {
    assert.equal(named('br0')?.kind, 'bridge');
    assert.equal(named('pod0')?.master, named('br0')?.ifindex);
  });
  test('a tunnel over another device', () => {
    assert.deepEqual([named('vx0')?.kind, named('vx0')?.mtu, named('vx0')?.peerElsewhere], ['vxlan', 1450, false]);
  });
  test('the loopback has no kind and no MAC', () => {
    assert.deepEqual([named('lo')?.loopback, named('lo')?.kind, named('lo')?.mac], [true, undefined, undefined]);
  });
  test("a bridge port's own message (AF_BRIDGE) is not a link", () => {
    const fixed = new Uint8Array(16);
    fixed[0] = 7;
    assert.equal(linkOf(fixed), undefined);
  });
});

describe('addresses', () => {
  const addresses = dumped('addresses', linkAddressOf);
  const shown = addresses.map((entry) => `${entry.ifindex} ${entry.address}/${entry.prefixLength} ${entry.scope}`);

  test('of both families', () => {
    assert(shown.includes('2 10.1.0.2/24 0'));
    assert(shown.includes('2 fd01::2/64 0'));
    assert(shown.includes('1 ::1/128 254'));
  });
  test("of a point-to-point device our own, not the peer's", () => {
    assert(shown.includes('2 10.1.0.77/32 0'));
    assert(!shown.some((text) => text.includes('10.1.0.78')));
  });
});

describe('routes', () => {
  const routes = [...dumped('routes4', routeOf), ...dumped('routes6', routeOf)];

  test('by several next hops', () => {
    assert.deepEqual(routes.find((route) => route.destination === '10.9.0.0')?.devices, [2, 5]);
  });
  test('with the metric that decides', () => {
    const metrics = routes.filter((route) => route.prefixLength === 0 && route.family === 4).map((route) => route.metric);
    assert.deepEqual(metrics.sort(), [100, 50]);
  });
  test('lead where they lead: the preferred default first, no blackhole, no local table, no link-local network', () => {
    const ways = waysOf(routes);
    assert.deepEqual(ways.defaults, { 4: [5, 2], 6: [2] });
    assert.deepEqual([...ways.routed].sort(), [2, 5]);
  });
});

describe('clsact', () => {
  test('devices that have one', () => assert.deepEqual([...clsactDevices(bytesOf('qdiscs'))], [2]));
  test('filters in their order, with the program behind', () => {
    const [first, ...others] = filtersIn(bytesOf('filters'));
    assert.deepEqual([first?.priority, first?.handle, first?.kind, first?.name], [1, 7, 'bpf', 'probe.o:[tc]']);
    assert((first?.program ?? 0) > 0);
    assert(others.every((filter) => filter.priority > 1));
  });
});

describe('messages', () => {
  test('are built as they are read, attributes padded to four bytes', () => {
    const message = encodeMessage(Rtm.GETLINK, NLM_F_REQUEST | NLM_F_DUMP, new Uint8Array(16), [
      [3, new TextEncoder().encode('eth0\0')],
      [29, uint32(8)],
    ]);
    assert.equal(message.length, 16 + 16 + 12 + 8);
    const [read] = messagesIn(message);
    assert.deepEqual([read?.type, read?.flags], [Rtm.GETLINK, 0x301]);
    const attributes = attributesIn(read!.body, 16);
    assert.equal(Buffer.from(attributes.get(3)!).toString(), 'eth0\0');
    assert.equal(viewOf(attributes.get(29)!).getUint32(0, true), 8);
  });
  test('control messages are left out', () => {
    assert.deepEqual([...messagesIn(encodeMessage(3, 0, new Uint8Array(4)))], []);
  });
  test('a length that leaves the buffer is an error, an attribute that does so ends the list', () => {
    const message = encodeMessage(Rtm.NEWLINK, 0, new Uint8Array(16));
    viewOf(message).setUint32(0, 400, true);
    assert.throws(() => [...messagesIn(message)], RangeError);
    assert.equal(attributesIn(Uint8Array.of(255, 0, 1, 0, 1, 2)).size, 0);
  });
});

describe('sockets', () => {
  test('of either family, and the request that destroys exactly one', () => {
    const body = new Uint8Array(72);
    const view = viewOf(body);
    body[0] = 2;
    view.setUint16(4, 40000);
    view.setUint16(6, 53);
    body.set([10, 0, 0, 1], 8);
    body.set([10, 0, 0, 9], 24);
    view.setBigUint64(44, 0x1122334455667788n, true);
    const [socket] = socketsIn(encodeMessage(20, 0, body));
    assert.deepEqual([socket?.port, socket?.peerAddress, socket?.peerPort, socket?.cookie], [40000, '10.0.0.9', 53, 0x1122334455667788n]);
    const [request] = messagesIn(destroyRequest(socket!, 17));
    assert.equal(request?.type, 21);
    assert.equal(viewOf(request!.body).getBigUint64(8 + 40, true), 0x1122334455667788n);
  });
});
