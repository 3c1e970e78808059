// What bytes does a packet have? Builds Ethernet, IPv4, IPv6, TCP, UDP and ICMP packets for the program tests, and reads them back
// with every checksum verified. It knows nothing of the datapath, so that it can judge it.

export type PacketProtocol = 'TCP' | 'UDP' | 'ICMP';

/** What to build. Only addresses and protocol are needed; the rest has the defaults of an ordinary packet. */
export interface PacketText {
  source: string;
  destination: string;
  protocol: PacketProtocol;
  sourcePort?: number;
  destinationPort?: number;
  /** TCP flags as letters: `S`, `SA`, `A`, `FA`, `R`. Default `S`. */
  flags?: string;
  sequence?: number;
  acknowledgement?: number;
  payload?: Uint8Array;
  ttl?: number;
  /** IPv4 options, a multiple of 4 bytes. */
  options?: Uint8Array;
  /** IPv6 extension headers in order, each its number and body (the body without next header and length bytes). */
  extensions?: { header: number; body: Uint8Array }[];
  /** Makes it a fragment: offset in bytes, whether more follow. */
  fragment?: { offset: number; more: boolean; id?: number };
  dontFragment?: boolean;
  /** ICMP only. */
  icmp?: { type: number; code: number; rest?: number };
  sourceMac?: string;
  destinationMac?: string;
  vlan?: number;
  /** UDP over IPv4 without a checksum. */
  noChecksum?: boolean;
}

/** What was read. Ports are 0 where there are none. */
export interface Packet {
  sourceMac: string;
  destinationMac: string;
  etherType: number;
  family: 4 | 6;
  source: string;
  destination: string;
  ttl: number;
  /** IP protocol number of the payload, after extension headers. */
  protocol: number;
  sourcePort: number;
  destinationPort: number;
  flags: string;
  /** Of TCP, else 0. */
  sequence: number;
  acknowledgement: number;
  icmp: { type: number; code: number; rest: number } | undefined;
  fragment: { offset: number; more: boolean; id: number } | undefined;
  /** Behind the transport header. */
  payload: Uint8Array;
  /** Names of the checksums that are wrong: `ip`, `tcp`, `udp`, `icmp`. */
  wrongChecksums: string[];
}

export const numbers = { TCP: 6, UDP: 17, ICMP: 1, ICMPv6: 58 } as const;
const tcpFlags = 'FSRPAUEC';

/** Bytes of an address, 4 or 16. Throws on anything else. */
export function addressBytes(address: string): Uint8Array {
  if (!address.includes(':')) {
    const octets = address.split('.').map(Number);
    if (octets.length !== 4 || octets.some((octet) => !(octet >= 0 && octet <= 255))) throw new Error(`not an address: ${address}`);
    return Uint8Array.from(octets);
  }
  const [head = '', tail] = address.split('::');
  const words = (text: string) => (text === '' ? [] : text.split(':').map((word) => Number.parseInt(word, 16)));
  const front = words(head);
  const back = words(tail ?? '');
  const all = tail === undefined ? front : [...front, ...new Array<number>(8 - front.length - back.length).fill(0), ...back];
  if (all.length !== 8) throw new Error(`not an address: ${address}`);
  return Uint8Array.from(all.flatMap((word) => [word >> 8, word & 255]));
}

/** Canonical text (RFC 5952) of 4 or 16 bytes. */
export function addressText(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  const words = Array.from({ length: 8 }, (_, i) => (bytes[2 * i]! << 8) | bytes[2 * i + 1]!);
  let best = { at: -1, length: 1 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (at + length < 8 && words[at + length] === 0) length++;
    if (length > best.length) best = { at, length };
  }
  const hex = words.map((word) => word.toString(16));
  if (best.at < 0) return hex.join(':');
  return `${hex.slice(0, best.at).join(':')}::${hex.slice(best.at + best.length).join(':')}`;
}

const macBytes = (mac: string) => Uint8Array.from(mac.split(':').map((byte) => Number.parseInt(byte, 16)));
const macText = (bytes: Uint8Array) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');

function concatenate(...parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

/** The internet checksum (RFC 1071) of the parts one after the other; each but the last has an even length. */
export function checksum(...parts: Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) for (let i = 0; i < part.length; i++) sum += i % 2 ? part[i]! : part[i]! << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function pseudoHeader(source: Uint8Array, destination: Uint8Array, protocol: number, length: number): Uint8Array {
  const rest = source.length === 4 ? [0, protocol, length >> 8, length & 255] : [0, 0, length >> 8, length & 255, 0, 0, 0, protocol];
  return concatenate(source, destination, Uint8Array.from(rest));
}

function buildTransport(text: PacketText, source: Uint8Array, destination: Uint8Array): Uint8Array {
  const payload = text.payload ?? new Uint8Array(0);
  const six = source.length === 16;
  const sizes = { TCP: 20, UDP: 8, ICMP: 8 };
  const header = new Uint8Array(sizes[text.protocol]);
  const view = new DataView(header.buffer);
  const length = header.length + payload.length;
  if (text.protocol === 'ICMP') {
    header[0] = text.icmp?.type ?? (six ? 128 : 8);
    header[1] = text.icmp?.code ?? 0;
    view.setUint32(4, text.icmp?.rest ?? 0x00010001);
    view.setUint16(
      2,
      six ? checksum(pseudoHeader(source, destination, numbers.ICMPv6, length), header, payload) : checksum(header, payload),
    );
    return concatenate(header, payload);
  }
  view.setUint16(0, text.sourcePort ?? 40000);
  view.setUint16(2, text.destinationPort ?? 80);
  if (text.protocol === 'UDP') {
    view.setUint16(4, length);
    if (!text.noChecksum) view.setUint16(6, checksum(pseudoHeader(source, destination, numbers.UDP, length), header, payload) || 0xffff);
    return concatenate(header, payload);
  }
  view.setUint32(4, text.sequence ?? 1000);
  view.setUint32(8, text.acknowledgement ?? 0);
  view.setUint8(12, 5 << 4);
  view.setUint8(
    13,
    [...(text.flags ?? 'S')].reduce((bits, flag) => bits | (1 << tcpFlags.indexOf(flag)), 0),
  );
  view.setUint16(14, 64240);
  view.setUint16(16, checksum(pseudoHeader(source, destination, numbers.TCP, length), header, payload));
  return concatenate(header, payload);
}

function buildIPv4(text: PacketText, source: Uint8Array, destination: Uint8Array, body: Uint8Array): Uint8Array {
  const options = text.options ?? new Uint8Array(0);
  const header = new Uint8Array(20 + options.length);
  const view = new DataView(header.buffer);
  header[0] = 0x40 | (header.length >> 2);
  view.setUint16(2, header.length + body.length);
  view.setUint16(4, text.fragment?.id ?? 0x1234);
  const fragment = text.fragment ? (text.fragment.offset >> 3) | (text.fragment.more ? 0x2000 : 0) : 0;
  view.setUint16(6, fragment | (text.dontFragment ? 0x4000 : 0));
  header[8] = text.ttl ?? 64;
  header[9] = numbers[text.protocol];
  header.set(source, 12);
  header.set(destination, 16);
  header.set(options, 20);
  view.setUint16(10, checksum(header));
  return concatenate(header, body);
}

function buildIPv6(text: PacketText, source: Uint8Array, destination: Uint8Array, body: Uint8Array): Uint8Array {
  const extensions = (text.extensions ?? []).map(({ header, body: content }) => {
    const size = Math.ceil((content.length + 2) / 8) * 8;
    const bytes = new Uint8Array(size);
    bytes[1] = header === 44 ? 0 : size / 8 - 1;
    bytes.set(content, 2);
    return { header, bytes };
  });
  if (text.fragment) {
    const bytes = new Uint8Array(8);
    const view = new DataView(bytes.buffer);
    view.setUint16(2, text.fragment.offset | (text.fragment.more ? 1 : 0));
    view.setUint32(4, text.fragment.id ?? 0x12345678);
    extensions.push({ header: 44, bytes });
  }
  const last = text.protocol === 'ICMP' ? numbers.ICMPv6 : numbers[text.protocol];
  for (const [i, extension] of extensions.entries()) extension.bytes[0] = extensions[i + 1]?.header ?? last;
  const header = new Uint8Array(40);
  const rest = concatenate(...extensions.map(({ bytes }) => bytes), body);
  header[0] = 0x60;
  new DataView(header.buffer).setUint16(4, rest.length);
  header[6] = extensions[0]?.header ?? last;
  header[7] = text.ttl ?? 64;
  header.set(source, 8);
  header.set(destination, 24);
  return concatenate(header, rest);
}

/** The frame with all checksums right. A fragment carries the whole transport header only at offset 0. */
export function buildPacket(text: PacketText): Uint8Array {
  const source = addressBytes(text.source);
  const destination = addressBytes(text.destination);
  const six = source.length === 16;
  const body = text.fragment && text.fragment.offset > 0 ? (text.payload ?? new Uint8Array(16)) : buildTransport(text, source, destination);
  const packet = six ? buildIPv6(text, source, destination, body) : buildIPv4(text, source, destination, body);
  const tag = text.vlan === undefined ? [] : [0x81, 0x00, text.vlan >> 8, text.vlan & 255];
  const type = six ? [0x86, 0xdd] : [0x08, 0x00];
  return concatenate(
    macBytes(text.destinationMac ?? '02:00:00:00:00:02'),
    macBytes(text.sourceMac ?? '02:00:00:00:00:01'),
    Uint8Array.from([...tag, ...type]),
    packet,
  );
}

interface Layer {
  protocol: number;
  start: number;
  end: number;
  fragment: Packet['fragment'];
  wrong: string[];
}

function parseIPv4(bytes: Uint8Array, view: DataView): Layer {
  const length = (bytes[0]! & 15) * 4;
  const word = view.getUint16(6);
  const fragment = word & 0x3fff ? { offset: (word & 0x1fff) * 8, more: (word & 0x2000) > 0, id: view.getUint16(4) } : undefined;
  return { protocol: bytes[9]!, start: length, end: view.getUint16(2), fragment, wrong: checksum(bytes.subarray(0, length)) ? ['ip'] : [] };
}

function parseIPv6(bytes: Uint8Array, view: DataView): Layer {
  let protocol = bytes[6]!;
  let start = 40;
  let fragment: Packet['fragment'];
  while ([0, 43, 44, 60].includes(protocol)) {
    if (protocol === 44)
      fragment = { offset: view.getUint16(start + 2) & 0xfff8, more: (view.getUint16(start + 2) & 1) > 0, id: view.getUint32(start + 4) };
    const size = protocol === 44 ? 8 : (bytes[start + 1]! + 1) * 8;
    protocol = bytes[start]!;
    start += size;
  }
  return { protocol, start, end: 40 + view.getUint16(4), fragment, wrong: [] };
}

/** Reads an IP packet without a link-layer header, such as the one quoted in an ICMP error (whose checksums may be cut short). */
export function parseIP(all: Uint8Array): Omit<Packet, 'sourceMac' | 'destinationMac' | 'etherType'> {
  const view = new DataView(all.buffer, all.byteOffset, all.length);
  const six = all[0]! >> 4 === 6;
  const layer = six ? parseIPv6(all, view) : parseIPv4(all, view);
  const source = all.subarray(six ? 8 : 12, six ? 24 : 16);
  const destination = all.subarray(six ? 24 : 16, six ? 40 : 20);
  const body = all.subarray(layer.start, layer.end);
  const at = new DataView(body.buffer, body.byteOffset, body.length);
  const packet = {
    family: six ? (6 as const) : (4 as const),
    source: addressText(source),
    destination: addressText(destination),
    ttl: all[six ? 7 : 8]!,
    protocol: layer.protocol,
    sourcePort: 0,
    destinationPort: 0,
    flags: '',
    sequence: 0,
    acknowledgement: 0,
    icmp: undefined as Packet['icmp'],
    fragment: layer.fragment,
    payload: body,
    wrongChecksums: layer.wrong,
  };
  if (layer.fragment && layer.fragment.offset > 0) return packet;
  const whole = !layer.fragment && layer.end <= all.length;
  const pseudo = pseudoHeader(source, destination, layer.protocol, body.length);
  const icmp = layer.protocol === numbers.ICMP || layer.protocol === numbers.ICMPv6;
  if (icmp && body.length >= 8) {
    packet.icmp = { type: body[0]!, code: body[1]!, rest: at.getUint32(4) };
    packet.payload = body.subarray(8);
    if (whole && (six ? checksum(pseudo, body) : checksum(body))) packet.wrongChecksums.push('icmp');
    return packet;
  }
  if ((layer.protocol !== numbers.TCP && layer.protocol !== numbers.UDP) || body.length < 8) return packet;
  packet.sourcePort = at.getUint16(0);
  packet.destinationPort = at.getUint16(2);
  if (layer.protocol === numbers.UDP) {
    packet.payload = body.subarray(8);
    const absent = at.getUint16(6) === 0 && !six;
    if (whole && !absent && checksum(pseudo, body)) packet.wrongChecksums.push('udp');
  } else if (body.length >= 20) {
    packet.sequence = at.getUint32(4);
    packet.acknowledgement = at.getUint32(8);
    packet.flags = [...tcpFlags].filter((_, bit) => body[13]! & (1 << bit)).join('');
    packet.payload = body.subarray((body[12]! >> 4) * 4);
    if (whole && checksum(pseudo, body)) packet.wrongChecksums.push('tcp');
  }
  return packet;
}

/** Reads a frame. Throws when it is neither IPv4 nor IPv6. */
export function parsePacket(frame: Uint8Array): Packet {
  const etherType = (frame[12]! << 8) | frame[13]!;
  if (etherType !== 0x0800 && etherType !== 0x86dd) throw new Error(`neither IPv4 nor IPv6: ethertype 0x${etherType.toString(16)}`);
  return {
    destinationMac: macText(frame.subarray(0, 6)),
    sourceMac: macText(frame.subarray(6, 12)),
    etherType,
    ...parseIP(frame.subarray(14)),
  };
}

/** The answer of whoever received this TCP or UDP packet: addresses and ports turned round. */
export function buildReply(packet: Packet, text: Partial<PacketText> = {}): Uint8Array {
  return buildPacket({
    source: packet.destination,
    destination: packet.source,
    sourcePort: packet.destinationPort,
    destinationPort: packet.sourcePort,
    protocol: packet.protocol === numbers.TCP ? 'TCP' : 'UDP',
    flags: packet.flags === 'S' ? 'AS' : 'A',
    sourceMac: packet.destinationMac,
    destinationMac: packet.sourceMac,
    ...text,
  });
}
