// What does the page say, in TypeScript? Writes layout.gen.ts from the BTF of build/bpf/abi.o: a type and a codec for
// every struct of the maps, the enums, the table of maps. With --check it only says whether the committed file is that.

import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type Btf, type BtfType, elfSection, parseBtf } from './btf.ts';

const OBJECT = fileURLToPath(new URL('../../build/bpf/abi.o', import.meta.url));
const OUTPUT = fileURLToPath(new URL('layout.gen.ts', import.meta.url));

/** Typedefs that say more than their type does: what the codec is and how TypeScript sees the value. */
const MEANINGS: ReadonlyMap<string, readonly [codec: string, type: string]> = new Map([
  ['__u8', ['u8', 'number']],
  ['__u16', ['u16', 'number']],
  ['__u32', ['u32', 'number']],
  ['__u64', ['u64', 'bigint']],
  ['__be16', ['be16', 'number']],
  ['__be32', ['be32', 'number']],
  ['addr4', ['addr4', 'Address']],
  ['addr6', ['addr6', 'Address']],
]);

/** enum bpf_map_type: those whose values exist once per CPU. */
const PER_CPU_TYPES: ReadonlySet<number> = new Set([5, 6, 10]);

interface Shape {
  readonly codec: string;
  readonly type: string;
  readonly size: number;
}

function pascal(name: string): string {
  return name.replace(/(?:^|_)([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

/** The whole of layout.gen.ts. */
function layoutText(btf: Btf): string {
  const structs = new Map<string, string>();
  const enums = new Map<string, string>();
  /** The lines of LAYOUT: what a version with another layout must know. */
  const described = { structs: new Map<string, string>(), maps: new Map<string, string>(), enums: new Map<string, string>() };

  function typeOf(id: number): BtfType {
    const type = btf[id];
    if (type === undefined) throw new Error(`BTF has no type ${id}`);
    return type.kind === 'qualifier' ? typeOf(type.type) : type;
  }

  function sizeOf(id: number): number {
    const type = typeOf(id);
    if (type.kind === 'array') return sizeOf(type.type) * type.length;
    if (type.kind === 'typedef') return sizeOf(type.type);
    if (type.kind === 'struct' || type.kind === 'enum' || type.kind === 'int') return type.size;
    throw new Error(`${type.kind} ${type.name} has no size`);
  }

  /** How a type is written in the output; structs and enums are put out as they are met. */
  function shapeOf(id: number, field: string): Shape {
    const type = typeOf(id);
    const size = sizeOf(id);
    switch (type.kind) {
      case 'typedef': {
        const meaning = MEANINGS.get(type.name);
        return meaning === undefined ? shapeOf(type.type, field) : { codec: meaning[0], type: meaning[1], size };
      }
      case 'enum':
        addEnum(type);
        return { codec: 'u32', type: 'number', size };
      case 'struct':
        addStruct(type);
        return { codec: pascal(type.name), type: pascal(type.name), size };
      case 'array': {
        const item = shapeOf(type.type, field);
        if (item.codec === 'u8' && /(^|_)mac$/.test(field) && type.length === 6) return { codec: 'mac', type: 'Mac', size };
        return { codec: `list(${item.codec}, ${type.length})`, type: `readonly ${item.type}[]`, size };
      }
      default:
        throw new Error(`${field}: ${type.kind} ${type.name} is no type of the page; use __u8, __be16, addr4, …`);
    }
  }

  /** A type as LAYOUT names it: a word of the page, a struct, or `TYPE*LENGTH`. */
  function wordOf(id: number, codec: string): string {
    const type = typeOf(id);
    if (type.kind === 'struct') return type.name;
    if (type.kind === 'array' && codec !== 'mac') return `${wordOf(type.type, shapeOf(type.type, '').codec)}*${type.length}`;
    if (type.kind === 'typedef' && !MEANINGS.has(type.name)) return wordOf(type.type, codec);
    return codec;
  }

  function addEnum(type: BtfType & { kind: 'enum' }): void {
    const name = pascal(type.name);
    const words = type.values.map(([word, value]) => `  ${word}: ${value},\n`).join('');
    described.enums.set(type.name, `    ${type.name}: ${name},\n`);
    enums.set(name, `/** enum ${type.name} */\nexport const ${name} = {\n${words}} as const satisfies Words;\n`);
  }

  function addStruct(type: BtfType & { kind: 'struct' }): void {
    const name = pascal(type.name);
    if (structs.has(name)) return;
    const fields: string[] = [];
    const encode: string[] = [];
    const decode: string[] = [];
    const constants: string[] = [];
    const words: string[] = [];
    let end = 0;
    for (const member of type.members) {
      if (member.offset !== end) throw new Error(`struct ${type.name} has a hole before ${member.name}: name it pad`);
      end += sizeOf(member.type);
      const at = member.offset === 0 ? 'at' : `at + ${member.offset}`;
      if (member.name.startsWith('pad')) {
        encode.push(`    pad(view, ${at}, ${sizeOf(member.type)});\n`);
        continue;
      }
      const shape = shapeOf(member.type, member.name);
      words.push(`${member.name}: [${member.offset}, '${wordOf(member.type, shape.codec)}']`);
      let codec = shape.codec;
      if (codec.startsWith('list(')) {
        codec = `${name}_${member.name}`;
        constants.push(`const ${codec} = ${shape.codec};\n`);
      }
      fields.push(`  readonly ${member.name}: ${shape.type};\n`);
      encode.push(`    ${codec}.encode(value.${member.name}, view, ${at});\n`);
      decode.push(`      ${member.name}: ${codec}.decode(view, ${at}),\n`);
    }
    if (end !== type.size) throw new Error(`struct ${type.name} has a hole at its end: name it pad`);
    described.structs.set(type.name, `    ${type.name}: { size: ${type.size}, fields: { ${words.join(', ')} } },\n`);
    structs.set(
      name,
      `/** struct ${type.name}, ${type.size} bytes */\nexport interface ${name} {\n${fields.join('')}}\n\n${constants.join('')}${constants.length > 0 ? '\n' : ''}` +
        `export const ${name}: Codec<${name}> = {\n  size: ${type.size},\n  encode(value, view, at) {\n${encode.join('')}  },\n` +
        `  decode(view, at) {\n    return {\n${decode.join('')}    };\n  },\n};\n`,
    );
  }

  function variablesOf(name: string): { name: string; type: number }[] {
    const section = btf.find((type) => type.kind === 'section' && type.name === name);
    if (section?.kind !== 'section') throw new Error(`the object has no ${name}`);
    return section.variables.map((id) => {
      const variable = typeOf(id);
      if (variable.kind !== 'variable') throw new Error(`${name} holds a ${variable.kind}`);
      return variable;
    });
  }

  /** A map definition is a struct of pointers: to the key, to the value, and to arrays whose length is a number. */
  function describeMap(variable: { name: string; type: number }): { text: string; stable: string } {
    const definition = typeOf(variable.type);
    if (definition.kind !== 'struct') throw new Error(`map ${variable.name} is a ${definition.kind}`);
    const target = (name: string): number | undefined => {
      const member = definition.members.find((candidate) => candidate.name === name);
      const pointer = member && typeOf(member.type);
      return pointer?.kind === 'pointer' ? pointer.type : undefined;
    };
    const number = (name: string): number => {
      const array = typeOf(target(name) ?? 0);
      return array.kind === 'array' ? array.length : 0;
    };
    const [key, value] = ['key', 'value'].map((name) => {
      const id = target(name);
      if (id === undefined) throw new Error(`map ${variable.name} has no ${name}`);
      const shape = shapeOf(id, name);
      return { ...shape, word: wordOf(id, shape.codec) };
    }) as [Shape & { word: string }, Shape & { word: string }];
    described.maps.set(variable.name, `    ${variable.name}: { key: '${key.word}', value: '${value.word}' },\n`);
    const type = number('type');
    const fixed = `type: ${type}, flags: ${number('map_flags')}, perCpu: ${PER_CPU_TYPES.has(type)}, key: ${key.codec}, value: ${value.codec}`;
    return {
      text: `  ${variable.name}: { name: '${variable.name}', ${fixed}, maxEntries: ${number('max_entries')} },\n`,
      stable: `${variable.name}: ${fixed}\n`,
    };
  }

  const maps = variablesOf('.maps').map((variable) => describeMap(variable));
  for (const variable of [...variablesOf('.rodata.features'), ...variablesOf('.rodata.words')]) {
    const type = typeOf(variable.type);
    if (type.kind !== 'struct') throw new Error(`${variable.name} is a ${type.kind}`);
    if (variable.name === 'words') for (const member of type.members) shapeOf(member.type, member.name);
    else shapeOf(variable.type, variable.name);
  }
  const body = [...enums.values(), ...structs.values()].join('\n');
  const stable = body + maps.map((map) => map.stable).join('');
  const fingerprint = createHash('sha256').update(stable).digest('hex').slice(0, 16);
  return (
    '// What is in the maps? Written by control/abi/generate.ts from bpf/abi.h; `make layout` writes it again. Never edited.\n\n' +
    "import type { Address } from '../model/model.ts';\n" +
    "import { addr4, addr6, be16, be32, type Codec, list, type Mac, mac, pad, u8, u16, u32, u64, type Words } from './codec.ts';\n" +
    "import type { Layout } from './translation.ts';\n\n" +
    `${body}\n` +
    `/** Every map of the page: kernel type and flags, codecs, and the default of max_entries. */\n` +
    `export const MAPS = {\n${maps.map((map) => map.text).join('')}} as const;\n\n` +
    'export type MapName = keyof typeof MAPS;\n\n' +
    '/** Names this layout: maps of another fingerprint hold other bytes. Sizes of maps are not part of it. */\n' +
    `export const LAYOUT_FINGERPRINT = '${fingerprint}';\n\n` +
    '/** This layout in words, for a version that has another: where each field lies, and what the numbers are called. */\n' +
    `export const LAYOUT: Layout = {\n${Object.entries(described)
      .map(([name, lines]) => `  ${name}: {\n${[...lines.values()].join('')}  },\n`)
      .join('')}};\n`
  );
}

const text = layoutText(parseBtf(elfSection(readFileSync(OBJECT), '.BTF')));
if (!process.argv.includes('--check')) {
  writeFileSync(OUTPUT, text);
} else if (readFileSync(OUTPUT, 'utf8') !== text) {
  console.error('control/abi/layout.gen.ts is not what bpf/abi.h says: run "make layout" and commit it');
  process.exitCode = 1;
}
