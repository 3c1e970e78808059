// What do netlink messages say? Framing, attributes, and the links, addresses and routes inside (rtnetlink(7)). Pure: bytes in, values out.
// Who asks and who listens is network.ts's business, queueing disciplines are tc.ts's, sockets sockdiag.ts's.

import { addressBytes, addressText } from '../address.ts';
import type { Address, Family } from '../model/model.ts';

/** netlink(7): message types below this one are control messages (NLMSG_NOOP, ERROR, DONE, OVERRUN). */
const NLMSG_MIN_TYPE = 16;
const HEADER_SIZE = 16;

export const NLM_F_REQUEST = 0x1;
export const NLM_F_ACK = 0x4;
export const NLM_F_DUMP = 0x300;

/** Message types of rtnetlink(7) that are used here. */
export const Rtm = {
  NEWLINK: 16,
  DELLINK: 17,
  GETLINK: 18,
  NEWADDR: 20,
  DELADDR: 21,
  GETADDR: 22,
  NEWROUTE: 24,
  DELROUTE: 25,
  GETROUTE: 26,
  NEWRULE: 32,
  DELRULE: 33,
  DELQDISC: 37,
  GETQDISC: 38,
  NEWTFILTER: 44,
  DELTFILTER: 45,
  GETTFILTER: 46,
} as const;

/** One message without its header. `body` starts with the fixed struct of its type. */
export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
}

/** The messages of a buffer in order, control messages left out. Throws RangeError on a length that leaves the buffer. */
export function* messagesIn(bytes: Uint8Array): Generator<Message> {
  const view = viewOf(bytes);
  for (let at = 0; at + HEADER_SIZE <= bytes.length; ) {
    const length = view.getUint32(at, true);
    if (length < HEADER_SIZE || at + length > bytes.length)
      throw new RangeError(`netlink message of ${length} bytes at ${at} of ${bytes.length}`);
    const type = view.getUint16(at + 4, true);
    if (type >= NLMSG_MIN_TYPE) yield { type, flags: view.getUint16(at + 6, true), body: bytes.subarray(at + HEADER_SIZE, at + length) };
    at += align(length);
  }
}

/** A whole message: header, fixed struct and attributes. The addon fills in sequence number and port. */
export function encodeMessage(
  type: number,
  flags: number,
  fixed: Uint8Array,
  attributes: readonly (readonly [number, Uint8Array])[] = [],
): Uint8Array {
  const total = attributes.reduce((sum, [, value]) => sum + align(4 + value.length), HEADER_SIZE + align(fixed.length));
  const bytes = new Uint8Array(total);
  const view = viewOf(bytes);
  view.setUint32(0, total, true);
  view.setUint16(4, type, true);
  view.setUint16(6, flags, true);
  bytes.set(fixed, HEADER_SIZE);
  let at = HEADER_SIZE + align(fixed.length);
  for (const [attribute, value] of attributes) {
    view.setUint16(at, 4 + value.length, true);
    view.setUint16(at + 2, attribute, true);
    bytes.set(value, at + 4);
    at += align(4 + value.length);
  }
  return bytes;
}

/** Attributes by type, from `offset` of a body or attribute on; of two of one type the last counts. Stops at bytes that are none. */
export function attributesIn(bytes: Uint8Array, offset = 0): Map<number, Uint8Array> {
  const attributes = new Map<number, Uint8Array>();
  const view = viewOf(bytes);
  for (let at = offset; at + 4 <= bytes.length; ) {
    const length = view.getUint16(at, true);
    if (length < 4 || at + length > bytes.length) break;
    // The upper two bits say nested and network order (NLA_TYPE_MASK).
    attributes.set(view.getUint16(at + 2, true) & 0x3fff, bytes.subarray(at + 4, at + length));
    at += align(length);
  }
  return attributes;
}

/** A network device as the kernel shows it. */
export interface Link {
  readonly ifindex: number;
  readonly name: string;
  /** IFLA_INFO_KIND: `veth`, `bridge`, `vxlan`, …; undefined for hardware and the loopback. */
  readonly kind: string | undefined;
  /** ARPHRD_* of its packets: 1 is Ethernet. */
  readonly hardware: number;
  readonly up: boolean;
  readonly loopback: boolean;
  readonly mtu: number;
  /** `aa:bb:cc:dd:ee:ff`; undefined where it has no Ethernet address. */
  readonly mac: string | undefined;
  /** ifindex of the bridge, bond or VRF it belongs to; 0: none. */
  readonly master: number;
  /** IFLA_LINK: peer of a veth (in the peer's namespace), lower device of a VLAN; 0: none. */
  readonly peer: number;
  /** The peer or lower device is in another network namespace (IFLA_LINK_NETNSID is there). */
  readonly peerElsewhere: boolean;
}

/** An address on a device. */
export interface LinkAddress {
  readonly ifindex: number;
  readonly address: Address;
  readonly family: Family;
  readonly prefixLength: number;
  /** RT_SCOPE_*: 0 global, 253 link, 254 host. */
  readonly scope: number;
  /** IFA_F_*: 0x01 secondary or temporary, 0x08 DAD failed, 0x20 deprecated, 0x40 tentative. */
  readonly flags: number;
}

/** A route by which packets leave. */
export interface Route {
  readonly family: Family;
  readonly table: number;
  /** RTN_*: 1 unicast, 2 local. */
  readonly type: number;
  readonly destination: Address | undefined;
  readonly prefixLength: number;
  /** RTA_PRIORITY; the lowest wins. */
  readonly metric: number;
  /** Devices of its next hops. */
  readonly devices: readonly number[];
}

const AF_INET = 2;
const AF_INET6 = 10;
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
export const ARPHRD_ETHER = 1;

/** The device of a RTM_NEWLINK or RTM_DELLINK message; undefined for a bridge port's copy (AF_BRIDGE), which is not whole. */
export function linkOf(body: Uint8Array): Link | undefined {
  const view = viewOf(body);
  if (view.getUint8(0) !== 0) return undefined;
  const hardware = view.getUint16(2, true);
  const flags = view.getUint32(8, true);
  const attributes = attributesIn(body, 16);
  const address = attributes.get(1);
  const nested = attributes.get(18);
  const kind = nested === undefined ? undefined : attributesIn(nested).get(1);
  return {
    ifindex: view.getInt32(4, true),
    name: text(attributes.get(3)),
    kind: kind === undefined ? undefined : text(kind),
    hardware,
    up: (flags & IFF_UP) !== 0,
    loopback: (flags & IFF_LOOPBACK) !== 0,
    mtu: number(attributes.get(4)),
    mac: hardware === ARPHRD_ETHER && address?.length === 6 ? macText(address) : undefined,
    master: number(attributes.get(10)),
    peer: number(attributes.get(5)),
    peerElsewhere: attributes.has(37),
  };
}

/** The address of a RTM_NEWADDR or RTM_DELADDR message; undefined for another family than IP. */
export function linkAddressOf(body: Uint8Array): LinkAddress | undefined {
  const view = viewOf(body);
  const family = familyNumber(view.getUint8(0));
  const attributes = attributesIn(body, 8);
  // A point-to-point device has its own address in IFA_LOCAL and its peer's in IFA_ADDRESS.
  const address = attributes.get(2) ?? attributes.get(1);
  if (family === undefined || address === undefined) return undefined;
  return {
    ifindex: view.getUint32(4, true),
    address: addressText(address),
    family,
    prefixLength: view.getUint8(1),
    scope: view.getUint8(3),
    flags: attributes.has(8) ? number(attributes.get(8)) : view.getUint8(2),
  };
}

/** The route of a RTM_NEWROUTE or RTM_DELROUTE message; undefined for another family than IP. */
export function routeOf(body: Uint8Array): Route | undefined {
  const view = viewOf(body);
  const family = familyNumber(view.getUint8(0));
  if (family === undefined) return undefined;
  const attributes = attributesIn(body, 12);
  const destination = attributes.get(1);
  const single = number(attributes.get(4));
  return {
    family,
    table: attributes.has(15) ? number(attributes.get(15)) : view.getUint8(4),
    type: view.getUint8(7),
    destination: destination === undefined ? undefined : addressText(destination),
    prefixLength: view.getUint8(1),
    metric: number(attributes.get(6)),
    devices: single !== 0 ? [single] : nextHopDevices(attributes.get(9)),
  };
}

/** ifindex of every struct rtnexthop in RTA_MULTIPATH. */
function nextHopDevices(multipath: Uint8Array | undefined): number[] {
  const devices: number[] = [];
  if (multipath === undefined) return devices;
  const view = viewOf(multipath);
  for (let at = 0; at + 8 <= multipath.length; ) {
    const length = view.getUint16(at, true);
    if (length < 8) break;
    devices.push(view.getInt32(at + 4, true));
    at += align(length);
  }
  return devices;
}

/** Dump requests; the answers are read with linkOf, linkAddressOf and routeOf. */
export function linksRequest(): Uint8Array {
  // RTEXT_FILTER_SKIP_STATS: a third of the answer's size, and nobody reads the counters.
  return encodeMessage(Rtm.GETLINK, NLM_F_REQUEST | NLM_F_DUMP, new Uint8Array(16), [[29, uint32(1 << 3)]]);
}

export function addressesRequest(): Uint8Array {
  return encodeMessage(Rtm.GETADDR, NLM_F_REQUEST | NLM_F_DUMP, new Uint8Array(8));
}

export function routesRequest(family: Family): Uint8Array {
  const fixed = new Uint8Array(12);
  fixed[0] = family === 4 ? AF_INET : AF_INET6;
  return encodeMessage(Rtm.GETROUTE, NLM_F_REQUEST | NLM_F_DUMP, fixed);
}

/** Asks by which route a packet to one address would leave; the answer is read with routeOf. */
export function routeToRequest(address: Address): Uint8Array {
  const bytes = addressBytes(address);
  const fixed = new Uint8Array(12);
  fixed[0] = bytes.length === 4 ? AF_INET : AF_INET6;
  fixed[1] = bytes.length * 8;
  return encodeMessage(Rtm.GETROUTE, NLM_F_REQUEST, fixed, [[1, bytes]]);
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Four bytes in the machine's order: netlink speaks the host's, and the product runs on little-endian machines. */
export function uint32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  viewOf(bytes).setUint32(0, value, true);
  return bytes;
}

/** Text of a NUL-terminated attribute. */
export function text(bytes: Uint8Array | undefined): string {
  if (bytes === undefined) return '';
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}

/** A 32-bit attribute; 0 where it is absent. */
export function number(bytes: Uint8Array | undefined): number {
  return bytes === undefined || bytes.length < 4 ? 0 : viewOf(bytes).getUint32(0, true);
}

function familyNumber(family: number): Family | undefined {
  if (family === AF_INET) return 4;
  return family === AF_INET6 ? 6 : undefined;
}

function macText(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}

function align(length: number): number {
  return (length + 3) & ~3;
}
