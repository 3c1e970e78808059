// What types does a compiled BPF object describe? Reads the .BTF section of an ELF file: the page's layout as the
// compiler saw it. The format is that of the kernel's Documentation/bpf/btf.rst.

export interface Member {
  readonly name: string;
  readonly type: number;
  /** Bytes from the start of the struct; bit fields are refused. */
  readonly offset: number;
}

export type BtfType =
  | { readonly kind: 'int'; readonly name: string; readonly size: number }
  | { readonly kind: 'pointer' | 'typedef' | 'qualifier' | 'variable'; readonly name: string; readonly type: number }
  | { readonly kind: 'array'; readonly name: string; readonly type: number; readonly length: number }
  | { readonly kind: 'struct'; readonly name: string; readonly size: number; readonly members: readonly Member[] }
  | { readonly kind: 'enum'; readonly name: string; readonly size: number; readonly values: readonly (readonly [string, number])[] }
  | { readonly kind: 'section'; readonly name: string; readonly variables: readonly number[] }
  | { readonly kind: 'other'; readonly name: string };

/** Types by id; id 0 is void. */
export type Btf = readonly BtfType[];

const LITTLE = true;
const BTF_MAGIC = 0xeb9f;
const BITFIELD = 0x80000000;

function textAt(bytes: Uint8Array, at: number): string {
  const end = bytes.indexOf(0, at);
  return new TextDecoder().decode(bytes.subarray(at, end));
}

/** Contents of a named section of a little-endian 64-bit ELF file. Throws when the file is none or has no such section. */
export function elfSection(file: Uint8Array, name: string): Uint8Array {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0) !== 0x7f454c46 || file[4] !== 2 || file[5] !== 1) throw new Error('not a little-endian 64-bit ELF file');
  const table = Number(view.getBigUint64(0x28, LITTLE));
  const entrySize = view.getUint16(0x3a, LITTLE);
  const count = view.getUint16(0x3c, LITTLE);
  const contents = (index: number): Uint8Array => {
    const header = table + index * entrySize;
    const offset = Number(view.getBigUint64(header + 0x18, LITTLE));
    return file.subarray(offset, offset + Number(view.getBigUint64(header + 0x20, LITTLE)));
  };
  const names = contents(view.getUint16(0x3e, LITTLE));
  for (let i = 0; i < count; i++) if (textAt(names, view.getUint32(table + i * entrySize, LITTLE)) === name) return contents(i);
  throw new Error(`no section ${name}`);
}

/** Parses the contents of a .BTF section. */
export function parseBtf(section: Uint8Array): Btf {
  const view = new DataView(section.buffer, section.byteOffset, section.byteLength);
  if (view.getUint16(0, LITTLE) !== BTF_MAGIC) throw new Error('not BTF');
  const u32 = (at: number): number => view.getUint32(at, LITTLE);
  const header = u32(4);
  const strings = section.subarray(header + u32(16), header + u32(16) + u32(20));
  const end = header + u32(8) + u32(12);
  const types: BtfType[] = [{ kind: 'other', name: 'void' }];
  for (let at = header + u32(8); at < end; ) {
    const name = textAt(strings, u32(at));
    const word = u32(at + 4);
    const last = u32(at + 8);
    at += 12;
    const count = word & 0xffff;
    const kind = (word >>> 24) & 0x1f;
    const each = <T>(size: number, read: (at: number) => T): T[] => {
      const start = at;
      at += count * size;
      return Array.from({ length: count }, (_, i) => read(start + i * size));
    };
    switch (kind) {
      case 1: // INT
        at += 4;
        types.push({ kind: 'int', name, size: last });
        break;
      case 2:
        types.push({ kind: 'pointer', name, type: last });
        break;
      case 3: // ARRAY
        types.push({ kind: 'array', name, type: u32(at), length: u32(at + 8) });
        at += 12;
        break;
      case 4: // STRUCT
        types.push({
          kind: 'struct',
          name,
          size: last,
          members: each(12, (member) => {
            const bits = u32(member + 8);
            if (word & BITFIELD || bits % 8 !== 0) throw new Error(`struct ${name} has a bit field`);
            return { name: textAt(strings, u32(member)), type: u32(member + 4), offset: bits / 8 };
          }),
        });
        break;
      case 6: // ENUM
        types.push({ kind: 'enum', name, size: last, values: each(8, (value) => [textAt(strings, u32(value)), u32(value + 4)] as const) });
        break;
      case 8:
        types.push({ kind: 'typedef', name, type: last });
        break;
      case 9: // VOLATILE, CONST, RESTRICT
      case 10:
      case 11:
        types.push({ kind: 'qualifier', name, type: last });
        break;
      case 14: // VAR
        at += 4;
        types.push({ kind: 'variable', name, type: last });
        break;
      case 15: // DATASEC
        types.push({ kind: 'section', name, variables: each(12, (variable) => u32(variable)) });
        break;
      case 7: // FWD and FUNC have nothing more, FUNC_PROTO has parameters
      case 12:
        types.push({ kind: 'other', name });
        break;
      case 13:
        each(8, () => undefined);
        types.push({ kind: 'other', name });
        break;
      default:
        throw new Error(`BTF kind ${kind} is not one the page uses`);
    }
  }
  return types;
}
