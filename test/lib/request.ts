// Which bytes does a flow begin with, and what must come out? Packets for the program runner and the judgement of what a program made
// of them. It does not know the maps.
import assert from 'node:assert/strict';
import type { Case } from './flow.ts';
import { buildPacket, numbers, type Packet, type PacketText, parseIP, parsePacket } from './packet.ts';
import { backendPort, isPod, mac, type PlaceName, places } from './places.ts';

export const act = { UNSPEC: -1, SHOT: 2, REDIRECT: 7 } as const;
/** The way between the nodes is this wide in the plain lane. */
const wide = 1500;

/** MACs of a frame as it arrives at node A from a place. */
export function macsFrom(from: PlaceName): { sourceMac: string; destinationMac: string } {
  const own = isPod(from) && places[from].node === 'nodeA';
  return own
    ? { sourceMac: mac(from), destinationMac: mac(from, 'outer') }
    : { sourceMac: mac('nodeA', 'outer'), destinationMac: mac('nodeA') };
}

/** The first packet of a flow. */
export function requestText(flow: Case, sourcePort: number): PacketText {
  const text: PacketText = {
    source: places[flow.from][flow.family],
    destination: flow.address,
    protocol: flow.protocol === 'tcp' ? 'TCP' : 'UDP',
    sourcePort,
    destinationPort: flow.port,
    payload: flow.protocol === 'tcp' ? new Uint8Array(0) : new TextEncoder().encode('question\n'),
    dontFragment: true,
    ...macsFrom(flow.from),
  };
  switch (flow.shape) {
    case 'fragment':
      return { ...text, dontFragment: false, fragment: { offset: 0, more: true }, payload: new Uint8Array(64) };
    case 'VLAN tag':
      return { ...text, vlan: 7 };
    case 'options':
      return { ...text, options: Uint8Array.of(1, 1, 1, 0), extensions: [0, 60].map((header) => ({ header, body: new Uint8Array(6) })) };
    case 'no checksum':
      return { ...text, noChecksum: true };
    case 'last hop':
      return { ...text, ttl: 1 };
    case 'too big':
      return { ...text, payload: new Uint8Array(wide + 100) };
    case 'no SYN':
      return { ...text, flags: 'A' };
    case 'gone backend':
      return { ...text, flags: 'A', acknowledgement: 0xfedcba98, payload: Uint8Array.of(1, 2, 3, 4, 5) };
    default:
      return text;
  }
}

/** Its bytes. */
export function requestBytes(flow: Case, sourcePort: number): Uint8Array {
  const bytes = buildPacket(requestText(flow, sourcePort));
  if (flow.shape !== 'malformed') return bytes;
  if (flow.family === 4) bytes[14] = 0x44;
  else {
    bytes[14 + 6] = 0; // an extension header that ends behind the packet
    bytes[14 + 40] = numbers.UDP;
    bytes[14 + 41] = 31;
  }
  return bytes;
}

/** An ICMP error of a router on the way about a packet, to whoever sent it. */
export function errorAbout(frame: Uint8Array): PacketText {
  const about = parsePacket(frame);
  const six = about.family === 6;
  return {
    source: six ? 'fd18::1' : '172.18.0.1',
    destination: about.source,
    protocol: 'ICMP',
    icmp: six ? { type: 1, code: 0, rest: 0 } : { type: 3, code: 1, rest: 0 },
    payload: frame.subarray(14, 14 + (six ? 48 : 28)),
    ...macsFrom('nodeB'),
  };
}

/** Same bytes, the link-layer header apart where it may change. */
export function assertUntouched(before: Uint8Array, after: Uint8Array, what: string): void {
  assert.deepEqual(Buffer.from(after).toString('hex'), Buffer.from(before).toString('hex'), `${what}: touched`);
}

/** The place whose backend a translated request goes to. */
export function reachedBy(packet: Packet): PlaceName | undefined {
  const reached = Object.entries(places).find(([, place]) => place[packet.family] === packet.destination);
  return packet.destinationPort === backendPort ? (reached?.[0] as PlaceName | undefined) : undefined;
}

/** Did the program tell the sender, in the words of RFC 792 or 4443, from the right address, quoting what it was sent? */
export function assertRejected(flow: Case, sent: Uint8Array, bytes: Uint8Array): void {
  const request = parsePacket(sent);
  const error = parsePacket(bytes);
  const six = flow.family === 6;
  const kinds: Record<string, readonly [number, number]> = {
    REJECT_TTL_EXPIRED: six ? [3, 0] : [11, 0],
    REJECT_TOO_BIG: six ? [2, 0] : [3, 4],
  };
  const [type, code] = kinds[flow.verdict!] ?? (six ? [1, 4] : [3, 3]);
  assert.deepEqual(error.wrongChecksums, [], 'checksums of the ICMP error');
  assert.equal(error.protocol, six ? numbers.ICMPv6 : numbers.ICMP);
  assert.deepEqual([error.icmp?.type, error.icmp?.code], [type, code], 'type and code of the ICMP error');
  if (flow.verdict === 'REJECT_TOO_BIG') assert.equal(error.icmp!.rest & 0xffff, wide, 'the MTU it tells');
  const teller = flow.verdict === 'REJECT_TTL_EXPIRED' || flow.verdict === 'REJECT_TOO_BIG' ? places.nodeA[flow.family] : flow.address;
  assert.deepEqual([error.source, error.destination], [teller, request.source], 'who tells whom');
  assert.deepEqual([error.sourceMac, error.destinationMac], [request.destinationMac, request.sourceMac], 'MACs of the ICMP error');
  const quoted = parseIP(error.payload);
  assert.deepEqual(
    [quoted.source, quoted.sourcePort, quoted.destination, quoted.destinationPort],
    [request.source, request.sourcePort, request.destination, request.destinationPort],
    'the packet it quotes',
  );
  assert.deepEqual(
    Buffer.from(error.payload).toString('hex'),
    Buffer.from(sent.subarray(14, 14 + error.payload.length)).toString('hex'),
    'every byte it quotes',
  );
}

/** Is it the RST that RFC 9293 3.10.7.1 answers a segment with, at the link layer too? */
export function assertReset(sent: Uint8Array, bytes: Uint8Array): void {
  const segment = parsePacket(sent);
  const reset = parsePacket(bytes);
  assert.deepEqual(reset.wrongChecksums, [], 'checksums of the RST');
  assert.equal(reset.flags, 'R');
  assert.equal(reset.sequence, segment.acknowledgement, 'its sequence number is the one that was acknowledged');
  assert.deepEqual(
    [reset.source, reset.sourcePort, reset.destination, reset.destinationPort],
    [segment.destination, segment.destinationPort, segment.source, segment.sourcePort],
    'it answers the segment',
  );
  assert.deepEqual([reset.sourceMac, reset.destinationMac], [segment.destinationMac, segment.sourceMac], 'MACs of the RST');
  assert.equal(reset.payload.length, 0);
}
