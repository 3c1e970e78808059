// Addresses as text: what is accepted, how it is spelled afterwards, and what an address is for (semantics 1.13).

import assert from 'node:assert/strict';
import { isIP } from 'node:net';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { addressBytes, addressKind, addressText, contains, insideOf, parseAddress, parsePrefix } from '../control/address.ts';

describe('an address is accepted as the sloppy parser accepts it, and spelled in one way', () => {
  const rows: [given: string, canonical: string | undefined][] = [
    ['10.96.0.1', '10.96.0.1'],
    ['010.244.001.002', '10.244.1.2'],
    ['0000010.1.1.1', '10.1.1.1'],
    ['255.255.255.255', '255.255.255.255'],
    ['::ffff:10.1.1.1', '10.1.1.1'],
    ['::ffff:a01:101', '10.1.1.1'],
    ['0:0:0:0:0:FFFF:8.8.8.8', '8.8.8.8'],
    ['FD00:0:0:0:0:0:0:1', 'fd00::1'],
    ['2001:db8:0:0:1:0:0:1', '2001:db8::1:0:0:1'],
    ['2001:db8:0:1:1:1:1:1', '2001:db8:0:1:1:1:1:1'],
    ['2001:0db8::0001', '2001:db8::1'],
    ['0:0:1::', '0:0:1::'],
    ['::', '::'],
    ['::1', '::1'],
    ['1::', '1::'],
    ['64:ff9b::1.2.3.4', '64:ff9b::102:304'],
    ['', undefined],
    ['10.0.0', undefined],
    ['10.0.0.0.0', undefined],
    ['10.0.0.256', undefined],
    ['10..0.1', undefined],
    ['.10.0.0.1', undefined],
    [' 10.0.0.1', undefined],
    ['10.0.0.1\n', undefined],
    ['10.0.0.-1', undefined],
    ['0x0a.0.0.1', undefined],
    ['fe80::1%eth0', undefined],
    [':::', undefined],
    ['1::2::3', undefined],
    ['1:2:3:4:5:6:7:8:9', undefined],
    ['1:2:3:4:5:6:7::8', undefined],
    ['12345::', undefined],
    ['1.2.3.4::', undefined],
    [':1:2:3:4:5:6:7', undefined],
    ['constructor', undefined],
  ];
  for (const [given, canonical] of rows) {
    it(`${JSON.stringify(given)} is ${canonical ?? 'no address'}`, () => assert.equal(parseAddress(given), canonical));
  }
});

describe('a network is spelled without host bits', () => {
  const rows: [given: string, canonical: string | undefined][] = [
    ['10.0.0.5/8', '10.0.0.0/8'],
    [' 10.1.2.3/32 ', '10.1.2.3/32'],
    ['010.0.0.0/8', '10.0.0.0/8'],
    ['10.1.255.255/17', '10.1.128.0/17'],
    ['0.0.0.0/0', '0.0.0.0/0'],
    ['FD00:10:244::5/56', 'fd00:10:244::/56'],
    ['::/0', '::/0'],
    ['2001:db8:ffff::/33', '2001:db8:8000::/33'],
    ['::ffff:10.0.0.0/104', '10.0.0.0/8'],
    ['::ffff:10.0.0.0/95', undefined],
    ['10.0.0.0/33', undefined],
    ['10.0.0.0/-1', undefined],
    ['10.0.0.0/', undefined],
    ['10.0.0.0', undefined],
    ['::/129', undefined],
  ];
  for (const [given, canonical] of rows) {
    it(`${JSON.stringify(given)} is ${canonical ?? 'no network'}`, () => assert.equal(parsePrefix(given), canonical));
  }
});

describe('a network holds its own addresses and no others', () => {
  const rows: [prefix: string, address: string, inside: boolean][] = [
    ['10.0.0.0/8', '10.255.255.255', true],
    ['10.0.0.0/8', '11.0.0.0', false],
    ['10.1.128.0/17', '10.1.127.255', false],
    ['10.1.128.0/17', '10.1.200.1', true],
    ['10.1.2.3/32', '10.1.2.3', true],
    ['10.1.2.3/32', '10.1.2.2', false],
    ['0.0.0.0/0', '1.2.3.4', true],
    ['0.0.0.0/0', '::1', false],
    ['::/0', '1.2.3.4', false],
    ['fd00::/63', 'fd00:0:0:1::5', true],
    ['fd00::/63', 'fd00:0:0:2::5', false],
  ];
  for (const [prefix, address, inside] of rows) {
    it(`${prefix} ${inside ? 'holds' : 'does not hold'} ${address}`, () => assert.equal(contains(prefix, address), inside));
  }
  it('no networks hold nothing', () => assert.equal(insideOf([])('10.0.0.1'), false));
});

describe('an address is for', () => {
  const rows: [address: string, kind: string][] = [
    ['10.0.0.1', 'unicast'],
    ['223.255.255.255', 'unicast'],
    ['0.0.0.0', 'unspecified'],
    ['0.1.2.3', 'reserved'],
    ['127.0.0.53', 'loopback'],
    ['169.254.169.254', 'link-local'],
    ['224.0.0.1', 'multicast'],
    ['239.1.1.1', 'multicast'],
    ['240.0.0.1', 'unicast'],
    ['255.255.255.254', 'unicast'],
    ['255.255.255.255', 'broadcast'],
    ['::', 'unspecified'],
    ['::1', 'loopback'],
    ['::2', 'unicast'],
    ['fe80::1', 'link-local'],
    ['febf::1', 'link-local'],
    ['fec0::1', 'unicast'],
    ['ff02::1', 'multicast'],
    ['fd00::1', 'unicast'],
  ];
  for (const [address, kind] of rows) it(`${address}: ${kind}`, () => assert.equal(addressKind(address), kind));
});

describe('whatever the bytes', () => {
  const bytes = fc.oneof(
    fc.uint8Array({ minLength: 4, maxLength: 4 }),
    fc.uint8Array({ minLength: 16, maxLength: 16 }),
    fc.array(fc.constantFrom(0, 0, 0, 1, 255), { minLength: 16, maxLength: 16 }).map((list) => Uint8Array.from(list)),
  );
  it('text and bytes are each other’s way back, and the text is what the parser gives', () => {
    fc.assert(
      fc.property(bytes, (given) => {
        const text = addressText(given);
        assert.equal(parseAddress(text), text);
        const again = addressBytes(text);
        // An IPv4-mapped address comes back as IPv4.
        assert.deepEqual(again, again.length === 4 ? given.slice(-4) : given);
      }),
    );
  });
  it('Node agrees about what is an address, but for the leading zeros that only we accept', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.stringMatching(/^[0-9a-f:.]{1,20}$/), fc.ipV6(), fc.ipV4()), (text) => {
        const canonical = parseAddress(text);
        if (isIP(text) !== 0 && !text.includes('%')) assert.notEqual(canonical, undefined);
        if (canonical !== undefined) assert.notEqual(isIP(canonical), 0);
      }),
    );
  });
  it('a network holds every address made of its first bits', () => {
    fc.assert(
      fc.property(bytes, bytes, fc.nat(128), (network, host, bits) => {
        if (network.length !== host.length || addressText(network).includes('.') !== (network.length === 4)) return;
        const length = Math.min(bits, network.length * 8);
        const prefix = parsePrefix(`${addressText(network)}/${length}`)!;
        const same = network.every((byte, i) => {
          const mask = 0xff & (0xff00 >> Math.min(8, Math.max(0, length - 8 * i)));
          return (byte & mask) === (host[i]! & mask);
        });
        if (addressText(host).includes('.') === (host.length === 4)) assert.equal(contains(prefix, addressText(host)), same);
      }),
    );
  });
});
