// Does the tests' own packet library build what it reads, and see a wrong checksum? It judges the datapath, so it is judged first.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { addressBytes, addressText, buildPacket, buildReply, parseIP, parsePacket } from './lib/packet.ts';

const ends = [
  { source: '198.51.100.2', destination: '10.96.0.10' },
  { source: '2001:db8:51::2', destination: 'fd96::10' },
];

for (const { source, destination } of ends)
  for (const protocol of ['TCP', 'UDP', 'ICMP'] as const)
    test(`a ${protocol} packet from ${source} reads back with right checksums, and any wrong byte is seen`, () => {
      const payload = Uint8Array.from({ length: 33 }, (_, i) => i);
      const frame = buildPacket({ source, destination, protocol, sourcePort: 1234, destinationPort: 80, payload });
      const packet = parsePacket(frame);
      assert.deepEqual(packet.wrongChecksums, []);
      assert.deepEqual({ source: packet.source, destination: packet.destination }, { source, destination });
      if (protocol !== 'ICMP') assert.deepEqual([packet.sourcePort, packet.destinationPort], [1234, 80]);
      assert.deepEqual([...packet.payload], [...payload]);
      frame[frame.length - 5]! ^= 0x40;
      assert.deepEqual(parsePacket(frame).wrongChecksums, [protocol.toLowerCase()]);
    });

test('IPv4 options, IPv6 extension headers and fragments are read past', () => {
  const four = parsePacket(buildPacket({ ...ends[0]!, protocol: 'UDP', options: Uint8Array.of(1, 1, 1, 0), destinationPort: 53 }));
  assert.deepEqual([four.destinationPort, four.wrongChecksums], [53, []]);
  const extensions = [0, 60, 43].map((header) => ({ header, body: new Uint8Array(header === 60 ? 14 : 6) }));
  const six = parsePacket(buildPacket({ ...ends[1]!, protocol: 'TCP', extensions, destinationPort: 53 }));
  assert.deepEqual([six.destinationPort, six.wrongChecksums], [53, []]);
  for (const end of ends) {
    const fragment = { offset: 1480, more: true, id: 7 };
    assert.deepEqual(parsePacket(buildPacket({ ...end, protocol: 'UDP', fragment })).fragment, fragment);
  }
});

test('a reply turns addresses, ports and MACs round', () => {
  const request = parsePacket(buildPacket({ ...ends[0]!, protocol: 'TCP', sourcePort: 1, destinationPort: 2 }));
  const reply = parsePacket(buildReply(request));
  assert.deepEqual([reply.source, reply.sourcePort, reply.destination, reply.destinationPort], [request.destination, 2, request.source, 1]);
  assert.deepEqual([reply.flags, reply.sourceMac, reply.wrongChecksums], ['SA', request.destinationMac, []]);
});

test('a packet quoted in an ICMP error, cut short, is read as far as it goes', () => {
  const quoted = buildPacket({ ...ends[0]!, protocol: 'TCP', sourcePort: 5, destinationPort: 6, payload: new Uint8Array(100) }).subarray(
    14,
    14 + 28,
  );
  assert.deepEqual([parseIP(quoted).sourcePort, parseIP(quoted).destinationPort, parseIP(quoted).wrongChecksums], [5, 6, []]);
});

test('addresses have one text', () => {
  for (const address of ['fd96::10', '::', '::1', '2001:db8:0:1:1:1:1:1', '2001:db8::1:0:0:1', '10.0.0.1'])
    assert.equal(addressText(addressBytes(address)), address);
  assert.throws(() => addressBytes('10.0.0'));
});
