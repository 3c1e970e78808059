// How does a value become bytes of a map and back? The primitives that layout.gen.ts is made of: byte orders, ranges,
// addresses as text, enums as names. Host order is little-endian on every machine this runs on.

import { addressBytes, addressText, quadOf } from '../address.ts';
import type { Address } from '../model/model.ts';

/** A fixed layout: size bytes at an offset of a DataView. */
export interface Codec<T> {
  readonly size: number;
  /** Writes every byte, padding as zero. Throws RangeError for a value that the field cannot hold. */
  encode(value: T, view: DataView, at: number): void;
  decode(view: DataView, at: number): T;
}

/** Hardware address: `02:00:00:00:00:01`. */
export type Mac = string;

const LITTLE = true;

function checked(value: number, limit: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= limit) return value;
  throw new RangeError(`${value} is not an integer from 0 to ${limit}`);
}

export const u8: Codec<number> = {
  size: 1,
  encode: (value, view, at) => view.setUint8(at, checked(value, 0xff)),
  decode: (view, at) => view.getUint8(at),
};

export const u16: Codec<number> = {
  size: 2,
  encode: (value, view, at) => view.setUint16(at, checked(value, 0xffff), LITTLE),
  decode: (view, at) => view.getUint16(at, LITTLE),
};

export const u32: Codec<number> = {
  size: 4,
  encode: (value, view, at) => view.setUint32(at, checked(value, 0xffffffff), LITTLE),
  decode: (view, at) => view.getUint32(at, LITTLE),
};

export const u64: Codec<bigint> = {
  size: 8,
  encode(value, view, at) {
    if (BigInt.asUintN(64, value) !== value) throw new RangeError(`${value} is not an unsigned 64-bit integer`);
    view.setBigUint64(at, value, LITTLE);
  },
  decode: (view, at) => view.getBigUint64(at, LITTLE),
};

export const be16: Codec<number> = {
  size: 2,
  encode: (value, view, at) => view.setUint16(at, checked(value, 0xffff)),
  decode: (view, at) => view.getUint16(at),
};

export const be32: Codec<number> = {
  size: 4,
  encode: (value, view, at) => view.setUint32(at, checked(value, 0xffffffff)),
  decode: (view, at) => view.getUint32(at),
};

function viewed(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, length);
}

export const addr4: Codec<Address> = {
  size: 4,
  encode(value, view, at) {
    const quad = quadOf(value);
    if (quad < 0) throw new RangeError(`${value} is not an IPv4 address`);
    view.setUint32(at, quad);
  },
  decode: (view, at) => `${view.getUint8(at)}.${view.getUint8(at + 1)}.${view.getUint8(at + 2)}.${view.getUint8(at + 3)}`,
};

/** IPv4 text is stored IPv4-mapped, and an IPv4-mapped address is shown as IPv4 (RFC 4291 2.5.5.2). */
export const addr6: Codec<Address> = {
  size: 16,
  encode(value, view, at) {
    const bytes = addressBytes(value);
    if (bytes.length === 4) {
      for (let i = 0; i < 10; i++) view.setUint8(at + i, 0);
      view.setUint16(at + 10, 0xffff);
    }
    for (let i = 0; i < bytes.length; i++) view.setUint8(at + 16 - bytes.length + i, bytes[i]!);
  },
  decode: (view, at) => addressText(viewed(view, at, 16)),
};

export const mac: Codec<Mac> = {
  size: 6,
  encode(value, view, at) {
    if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(value)) throw new RangeError(`${value} is not a MAC address`);
    for (let i = 0; i < 6; i++) view.setUint8(at + i, Number.parseInt(value.slice(3 * i, 3 * i + 2), 16));
  },
  decode: (view, at) => Array.from(viewed(view, at, 6), (byte) => byte.toString(16).padStart(2, '0')).join(':'),
};

/** An array of fixed length. A shorter one is filled with zero bytes, a longer one refused. */
export function list<T>(item: Codec<T>, length: number): Codec<readonly T[]> {
  return {
    size: item.size * length,
    encode(values, view, at) {
      if (values.length > length) throw new RangeError(`${values.length} items where ${length} fit`);
      values.forEach((value, i) => {
        item.encode(value, view, at + i * item.size);
      });
      pad(view, at + values.length * item.size, (length - values.length) * item.size);
    },
    decode: (view, at) => Array.from({ length }, (_, i) => item.decode(view, at + i * item.size)),
  };
}

/** Writes length zero bytes. */
export function pad(view: DataView, at: number, length: number): void {
  for (let i = 0; i < length; i++) view.setUint8(at + i, 0);
}

/** The bytes of one value. */
export function encoded<T>(codec: Codec<T>, value: T): Uint8Array {
  const bytes = new Uint8Array(codec.size);
  codec.encode(value, new DataView(bytes.buffer), 0);
  return bytes;
}

/** The value of exactly as many bytes as the codec has. */
export function decoded<T>(codec: Codec<T>, bytes: Uint8Array): T {
  if (bytes.byteLength !== codec.size) throw new RangeError(`${bytes.byteLength} bytes where ${codec.size} are needed`);
  return codec.decode(new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
}

/** An enum of the page: its words and their numbers. */
export type Words<Name extends string = string> = Readonly<Record<Name, number>>;

/** The word of a number, or undefined where the enum has none. */
export function nameOf<Name extends string>(words: Words<Name>, value: number): Name | undefined {
  for (const name in words) if (words[name] === value) return name;
  return undefined;
}

/** The words of the flags that are set, in the page's order; unknown bits as one hexadecimal number at the end. */
export function namesOf<Name extends string>(words: Words<Name>, flags: number): (Name | `0x${string}`)[] {
  const names: (Name | `0x${string}`)[] = [];
  let rest = flags;
  for (const name in words) {
    if ((flags & words[name]) === 0) continue;
    names.push(name);
    rest &= ~words[name];
  }
  if (rest !== 0) names.push(`0x${(rest >>> 0).toString(16)}`);
  return names;
}
