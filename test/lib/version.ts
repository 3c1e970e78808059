// Another version of the product: the same code over another page, so that its maps hold other bytes. Its own objects and its own layout.

import { cpSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';

const home = fileURLToPath(new URL('../../', import.meta.url));
const objects = ['abi', 'tc', 'sock', 'xdp', 'probe'];

/** What is other on the page: fields in another order and new ones, flags with other numbers, keys with other padding. */
const changes: readonly (readonly [RegExp, string])[] = [
  [/(struct flow[46] \{\n)\t(__u32 frontend;.*\n)\t(__u32 backend;.*\n)/g, '$1\t__u32 weight;\n\t$3\t$2'],
  [/FLOW_CONFIRMED = 1 << 5/, 'FLOW_CONFIRMED = 1 << 10'],
  [/FLOW_EGRESS = 1 << 1,/, 'FLOW_EGRESS = 1 << 11,'],
  [/(struct affinity_key \{\n)\t(__u32 frontend;.*\n)\t(__u32 kind;.*\n)/, '$1\t$3\t$2'],
  [/(struct socket_flow \{\n)/, '$1\t__u32 weight;\n'],
  [/(struct backend4 \{\n)\t(addr4 address;\n)((?:.*\n){3})\t(__u32 generation;.*\n)/, '$1\t$4\t$2$3'],
  [/SETTING_SOCKET_HOST = 1 << 3/, 'SETTING_SOCKET_HOST = 1 << 9'],
];

/** Makes it in a directory, and returns its main file. Half a minute of compiling. */
export async function makeOtherVersion(directory: string): Promise<string> {
  mkdirSync(join(directory, 'build'), { recursive: true });
  for (const part of ['bpf', 'control', 'Makefile', 'package.json']) cpSync(join(home, part), join(directory, part), { recursive: true });
  symlinkSync(join(home, 'node_modules'), join(directory, 'node_modules'));
  symlinkSync(join(home, 'build/sluice.node'), join(directory, 'build/sluice.node'));
  const page = join(directory, 'bpf/abi.h');
  let text = readFileSync(page, 'utf8');
  for (const [pattern, replacement] of changes) {
    const next = text.replace(pattern, replacement);
    if (next === text) throw new Error(`bpf/abi.h has nothing like ${pattern}`);
    text = next;
  }
  writeFileSync(page, text);
  await execa('make', ['-C', directory, ...objects.map((name) => `build/bpf/${name}.o`)]);
  await execa(process.execPath, [join(directory, 'control/abi/generate.ts')]);
  return join(directory, 'control/main.ts');
}
