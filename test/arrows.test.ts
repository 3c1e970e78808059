// Who may know whom? The arrows between the rooms of the house as data; anything that is not written here is refused.

import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { describe, test } from 'node:test';

const ROOT = new URL('..', import.meta.url).pathname;

/** What a room of control/ may take from another: only types, or values too. Its own files are always allowed. */
type Reach = 'types' | 'values';

const EVERYTHING: Readonly<Record<string, Reach>> = {
  ...{
    abi: 'values',
    address: 'values',
    agent: 'values',
    cli: 'values',
    compile: 'values',
    config: 'values',
    home: 'values',
    kernel: 'values',
  },
  ...{ look: 'values', loop: 'values', model: 'values', observe: 'values', sorted: 'values', source: 'values', sync: 'values' },
};

const CONTROL: Readonly<Record<string, Readonly<Record<string, Reach>>>> = {
  address: { model: 'types' },
  sorted: {},
  // Pure: no bytes, no kernel. Objects are its input.
  model: { address: 'values', sorted: 'values', source: 'types' },
  // Problems and the limits of what is honoured are the Model's words.
  source: { address: 'values', model: 'values', sorted: 'values' },
  config: { abi: 'values', address: 'values', model: 'values' },
  abi: { address: 'values', model: 'types' },
  // Pure: entries as values, not as bytes.
  compile: { abi: 'values', address: 'values', model: 'values', sorted: 'values' },
  // Sees entries, Plan and Changes, never a Service or where it came from.
  kernel: { abi: 'values', address: 'values', compile: 'values', home: 'values', model: 'types' },
  // Of the source it sees what an Event is put at.
  observe: { abi: 'values', address: 'values', config: 'types', kernel: 'types', model: 'types', source: 'types' },
  // The loop and the verbs put the rooms together.
  main: EVERYTHING,
  cli: EVERYTHING,
  agent: EVERYTHING,
  loop: { config: 'types', kernel: 'values', model: 'types', observe: 'values', sync: 'values' },
  look: { kernel: 'values', sync: 'types' },
  sync: { abi: 'values', compile: 'values', kernel: 'values', model: 'types', observe: 'types' },
};

/** Rooms whose results depend on nothing but their input: nothing of Node's own, and no bytes but those of an address. */
const PURE: readonly string[] = ['address', 'sorted', 'model', 'compile'];

const SUBJECT = ['abi.h', 'addr.h', 'ctx.h', 'packet.h', 'verdict.h'];
const BPF: Readonly<Record<string, readonly string[]>> = {
  'abi.h': [],
  'addr.h': ['abi.h'],
  'ctx.h': ['abi.h', 'addr.h'],
  'packet.h': ['abi.h', 'addr.h', 'ctx.h'],
  'verdict.h': ['abi.h'],
  'frontend.h': SUBJECT,
  'backend.h': SUBJECT,
  'conntrack.h': SUBJECT,
  'nat.h': SUBJECT,
  'forward.h': SUBJECT,
  'icmp.h': [...SUBJECT, 'nat.h'],
  'reset.h': SUBJECT,
  'lb.h': [...SUBJECT, 'frontend.h', 'backend.h', 'conntrack.h', 'nat.h', 'forward.h', 'icmp.h', 'reset.h'],
  'abi.bpf.c': ['abi.h'],
  // Tried on a kernel before anything else is loaded, so it stands alone.
  'probe.bpf.c': [],
  'tc.bpf.c': ['lb.h'],
  'xdp.bpf.c': ['lb.h'],
  // Has no packet to parse, so no lb.h: it finds and selects.
  'sock.bpf.c': ['verdict.h', 'frontend.h', 'backend.h'],
};

interface Import {
  readonly path: string;
  readonly reach: Reach;
}

function files(pattern: string): string[] {
  return globSync(pattern, { cwd: ROOT }).sort();
}

function read(file: string): string {
  return readFileSync(join(ROOT, file), 'utf8');
}

/** The modules a TypeScript file names, and whether it takes more than types from each. */
function importsOf(text: string): Import[] {
  const found: Import[] = [];
  for (const [, type, names, path] of text.matchAll(/^(?:import|export)\s+(type\s)?([^;'"]*?)\s*from\s+'([^']+)'/gm)) {
    const values = names!
      .replace(/[{}]/g, '')
      .split(',')
      .filter((name) => name.trim() !== '' && !/^\s*type\s/.test(name));
    found.push({ path: path!, reach: type !== undefined || values.length === 0 ? 'types' : 'values' });
  }
  for (const [, path] of text.matchAll(/^import\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)/gm))
    if (path) found.push({ path, reach: 'values' });
  return found;
}

/** The room of a file below control/: its directory there, or its own name. */
function roomOf(file: string): string {
  return file.split('/')[1]!.replace(/\.ts$/, '');
}

function refusedImports(file: string, text: string): string[] {
  const room = roomOf(file);
  return importsOf(text)
    .filter(({ path, reach }) => {
      if (path.startsWith('node:')) return PURE.includes(room);
      if (!path.startsWith('.')) return false;
      const target = normalize(join(dirname(file), path));
      if (!target.startsWith('control/')) return true;
      const allowed = roomOf(target) === room ? 'values' : CONTROL[room]?.[roomOf(target)];
      return allowed === undefined || (allowed === 'types' && reach === 'values');
    })
    .map(({ path, reach }) => `${file} takes ${reach} from ${path}`);
}

function includesOf(text: string): string[] {
  return [...text.matchAll(/^\s*#\s*include\s+"([^"]+)"/gm)].map((match) => match[1]!);
}

describe('arrows', () => {
  test('control: every import is an arrow of the house', () => {
    const all = files('control/**/*.ts');
    assert(all.length > 20);
    assert.deepEqual(
      all.flatMap((file) => refusedImports(file, read(file))),
      [],
    );
  });

  // The demo shows the product as a user meets it, so it has the command line and no module of control/; the lab is the tests'.
  test('demo: takes the lab of namespaces and nothing of the product', () => {
    const all = files('demo/*.ts');
    assert(all.length > 5);
    const taken = all.flatMap((file) =>
      importsOf(read(file))
        .filter(({ path }) => path.startsWith('.'))
        .map(({ path }) => normalize(join(dirname(file), path))),
    );
    const lab = ['netns', 'places', 'topology'].map((name) => `test/lib/${name}.ts`);
    assert.deepEqual([...new Set(taken)].filter((path) => !path.startsWith('demo/')).sort(), lab);
  });

  // The benchmarks measure the product's own programs and agent; of the tests they take what builds packets and objects, and the lab's cluster.
  test('bench: takes the product, and of the tests packets, objects and the lab', () => {
    const all = files('bench/**/*.ts');
    assert(all.length > 5);
    const taken = all.flatMap((file) =>
      importsOf(read(file))
        .filter(({ path }) => path.startsWith('.'))
        .map(({ path }) => normalize(join(dirname(file), path))),
    );
    const foreign = taken.filter((path) => !path.startsWith('bench/') && !path.startsWith('control/'));
    const lab = ['agent', 'component', 'control-plane', 'kubelet', 'netns', 'places', 'topology', 'wire'];
    assert.deepEqual([...new Set(foreign)].sort(), [...lab, 'objects', 'packet'].map((name) => `test/lib/${name}.ts`).sort());
  });

  test('deploy: puts together what others built and takes no module of it', () => {
    const all = files('deploy/**/*.ts');
    assert(all.length > 1);
    assert.deepEqual(
      all.flatMap((file) => importsOf(read(file)).filter(({ path }) => path.startsWith('.'))),
      [],
    );
  });

  // The bundle carries them, so whoever installs the package is to get none by npm.
  test('control: what it runs with is in package.json, and nothing of it is for npm to install with us', () => {
    const manifest = JSON.parse(read('package.json')) as { dependencies?: unknown; devDependencies: Record<string, string> };
    assert.equal(manifest.dependencies, undefined);
    const used = files('control/**/*.ts').flatMap((file) =>
      importsOf(read(file))
        .filter(({ path }) => !/^(\.|node:)/.test(path))
        .map(({ path }) =>
          path
            .split('/')
            .slice(0, path.startsWith('@') ? 2 : 1)
            .join('/'),
        ),
    );
    assert(used.length > 5);
    assert.deepEqual(
      used.filter((name) => !(name in manifest.devDependencies)),
      [],
    );
  });

  test('bpf: every include is an arrow of the house', () => {
    const wrong = files('bpf/*.{h,c}').flatMap((file) => {
      const name = file.slice('bpf/'.length);
      const allowed = BPF[name];
      if (allowed === undefined) return [`${file} has no arrows here`];
      return includesOf(read(file))
        .filter((include) => !allowed.includes(include))
        .map((include) => `${file} includes ${include}`);
    });
    assert.deepEqual(wrong, []);
  });

  test('native: includes only its own headers and knows no word of a Service', () => {
    const all = files('native/*');
    assert(all.length > 5);
    for (const file of all) {
      const text = read(file);
      for (const include of includesOf(text)) assert(all.includes(`native/${include}`), `${file} includes ${include}`);
      assert.doesNotMatch(text, /frontend|backend|service|endpoint|maglev|conntrack|\bvips?\b/i, file);
    }
  });

  test('this test sees what it must refuse', () => {
    const refuses = (file: string, text: string): void => assert.equal(refusedImports(file, text).length, 1, `${file}: ${text}`);
    refuses('control/model/policy.ts', "import { u32 } from '../abi/codec.ts';");
    refuses('control/kernel/diff.ts', "import type { Objects } from '../source/objects.ts';");
    refuses('control/kernel/diff.ts', "import {\n  type Model,\n  emptyModel,\n} from '../model/model.ts';");
    refuses('control/compile/plan.ts', "import { readFileSync } from 'node:fs';");
    refuses('control/agent.ts', "import { netns } from '../test/lib/netns.ts';");
    refuses('control/abi/codec.ts', "export { compile } from '../compile/compile.ts';");
    assert.deepEqual(refusedImports('control/kernel/diff.ts', "import { type Model } from '../model/model.ts';"), []);
    assert.deepEqual(includesOf('#include <linux/bpf.h>\n#include "lb.h"\n'), ['lb.h']);
  });
});
