// How do bytes of one layout become bytes of another? Field by field, by name: what both have is copied, what only the new one has is
// zero, what only the old one has is dropped. Both layouts come as values, so that neither has to be this version's.

/** Where the fields of the maps lie, and what their numbers are called; as plain text beside the maps it says what they hold. */
export interface Layout {
  /** Type of a field: a word of the page (`u32`, `be16`, `addr4`, …), a struct of this list, or `TYPE*LENGTH`. */
  readonly structs: Readonly<Record<string, StructLayout>>;
  readonly maps: Readonly<Record<string, { readonly key: string; readonly value: string }>>;
  readonly enums: Readonly<Record<string, Readonly<Record<string, number>>>>;
}

export interface StructLayout {
  readonly size: number;
  readonly fields: Readonly<Record<string, readonly [offset: number, type: string]>>;
}

/** Makes a key or a value of the new layout from one of the old, which begins at `at`. */
export type Translate = (from: Uint8Array, at: number) => Uint8Array;

/** Bytes of the words that fields are made of. */
export const WORD_SIZES: Readonly<Record<string, number>> = {
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  be16: 2,
  be32: 4,
  addr4: 4,
  addr6: 16,
  mac: 6,
};

/** Fields that hold flags of an enum: moved bit by bit, by the names of the bits. */
const FLAGS: Readonly<Record<string, string>> = {
  'flow4.flags': 'flow_flag',
  'flow6.flags': 'flow_flag',
  'backend4.flags': 'backend_flag',
  'backend6.flags': 'backend_flag',
  'settings.flags': 'setting_flag',
};

/** Fields that hold one number of an enum. */
const NUMBERS: Readonly<Record<string, string>> = {
  'affinity_key.kind': 'client_kind',
  'socket_key.direction': 'socket_direction',
};

/** Maps whose value is flags. */
const FLAG_MAPS: Readonly<Record<string, string>> = { addresses4: 'address_flag', addresses6: 'address_flag' };

type Step = (from: Uint8Array, at: number, to: Uint8Array) => void;

function sizeOf(layout: Layout, type: string): number {
  const [item, length] = itemOf(type);
  const size = WORD_SIZES[item] ?? layout.structs[item]?.size;
  if (size === undefined) throw new Error(`the layout has no type ${item}`);
  return size * length;
}

function itemOf(type: string): [item: string, length: number] {
  const [item = '', length] = type.split('*');
  return [item, length === undefined ? 1 : Number(length)];
}

function copy(from: number, to: number, size: number): Step {
  return (source, at, target) => {
    for (let i = 0; i < size; i++) target[to + i] = source[at + from + i]!;
  };
}

interface Place {
  readonly at: number;
  /** `u32`, `be16`, … */
  readonly type: string;
}

/** An unsigned number, perhaps of another width or byte order. What does not fit becomes the largest that does. */
function number(from: Place, to: Place, through: (value: number) => number = (value) => value): Step {
  const [fromSize, toSize] = [WORD_SIZES[from.type]!, WORD_SIZES[to.type]!];
  const [fromBig, toBig] = [from.type.startsWith('be'), to.type.startsWith('be')];
  const most = 2 ** (8 * toSize) - 1;
  return (source, at, target) => {
    let value = 0;
    for (let i = 0; i < fromSize; i++) value = value * 256 + source[at + from.at + (fromBig ? i : fromSize - 1 - i)]!;
    value = Math.min(through(value), most);
    for (let i = 0; i < toSize; i++) {
      target[to.at + (toBig ? toSize - 1 - i : i)] = value % 256;
      value = Math.floor(value / 256);
    }
  };
}

/** What a number means under its new names; undefined where every name kept its number. */
function renamed(
  before: Readonly<Record<string, number>> = {},
  after: Readonly<Record<string, number>> = {},
  bits: boolean,
): ((value: number) => number) | undefined {
  const pairs = Object.entries(before).map(([name, value]) => [value, after[name] ?? 0] as const);
  if (pairs.every(([old, now]) => old === now)) return undefined;
  if (!bits) return (value) => pairs.find(([old]) => old === value)?.[1] ?? value;
  return (value) => pairs.reduce((sum, [old, now]) => (value & old ? sum | now : sum), 0) >>> 0;
}

function stepsOf(from: Layout, to: Layout, fromType: string, toType: string, fromAt: number, toAt: number): Step[] {
  const [fromItem, fromLength] = itemOf(fromType);
  const [toItem, toLength] = itemOf(toType);
  if (fromLength > 1 || toLength > 1) {
    const [fromSize, toSize] = [sizeOf(from, fromItem), sizeOf(to, toItem)];
    return Array.from({ length: Math.min(fromLength, toLength) }, (_, i) =>
      stepsOf(from, to, fromItem, toItem, fromAt + i * fromSize, toAt + i * toSize),
    ).flat();
  }
  const struct = to.structs[toItem];
  const old = from.structs[fromItem];
  if (struct !== undefined && old !== undefined) {
    return Object.entries(struct.fields).flatMap(([name, [offset, type]]) => {
      const before = old.fields[name];
      if (before === undefined) return [];
      const field = `${toItem}.${name}`;
      const words = FLAGS[field] ?? NUMBERS[field];
      const through = words && renamed(from.enums[words], to.enums[words], field in FLAGS);
      if (through) return [number({ at: fromAt + before[0], type: before[1] }, { at: toAt + offset, type }, through)];
      return stepsOf(from, to, before[1], type, fromAt + before[0], toAt + offset);
    });
  }
  const [fromSize, toSize] = [WORD_SIZES[fromItem], WORD_SIZES[toItem]];
  if (fromSize === undefined || toSize === undefined) return [];
  if (fromItem === toItem) return [copy(fromAt, toAt, toSize)];
  // IPv4 in a field for both families, and back.
  if (fromItem === 'addr4' && toItem === 'addr6') return [mappedPrefix(toAt), copy(fromAt, toAt + 12, 4)];
  if (![fromItem, toItem].every((item) => /^(u|be)\d+$/.test(item))) return [];
  return [number({ at: fromAt, type: fromItem }, { at: toAt, type: toItem })];
}

/** RFC 4291 2.5.5.2. */
function mappedPrefix(to: number): Step {
  return (_source, _at, target) => {
    target[to + 10] = 0xff;
    target[to + 11] = 0xff;
  };
}

/** How entries of a map get from one layout into another; undefined where one of them has no such map. */
export function translation(
  from: Layout,
  to: Layout,
  map: string,
): { readonly keySize: number; readonly valueSize: number; readonly key: Translate; readonly value: Translate } | undefined {
  const [before, after] = [from.maps[map], to.maps[map]];
  if (before === undefined || after === undefined) return undefined;
  const translate = (fromType: string, toType: string, words: string | undefined): Translate => {
    const size = sizeOf(to, toType);
    const through = words && renamed(from.enums[words], to.enums[words], true);
    const steps = through
      ? [number({ at: 0, type: fromType }, { at: 0, type: toType }, through)]
      : stepsOf(from, to, fromType, toType, 0, 0);
    return (bytes, at) => {
      const made = new Uint8Array(size);
      for (const step of steps) step(bytes, at, made);
      return made;
    };
  };
  return {
    keySize: sizeOf(from, before.key),
    valueSize: sizeOf(from, before.value),
    key: translate(before.key, after.key, undefined),
    value: translate(before.value, after.value, FLAG_MAPS[map]),
  };
}
