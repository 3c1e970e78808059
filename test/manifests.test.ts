// A directory of manifests as a Source: what it reads, how it follows, and what it keeps when a file cannot be believed.

import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import { stringify } from 'yaml';
import { type Manifests, openManifests } from '../control/source/manifests.ts';
import type { Objects } from '../control/source/objects.ts';
import { node, type Raw, service, serviceCIDR, slice } from './lib/objects.ts';

/** A change takes 50 ms to settle and a removal 1 s to be believed; the rest is a busy machine. */
const PATIENCE_MS = 15_000;

function directory(t: TestContext, files: Record<string, string> = {}): string {
  const path = mkdtempSync(join(tmpdir(), 'manifests-'));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(path, name), text);
  return path;
}

function yaml(...manifests: Raw[]): string {
  return manifests.map((manifest) => stringify(manifest)).join('---\n');
}

/** Waits until what the source says satisfies. */
function until(source: Manifests, what: string, satisfied: (objects: Objects) => boolean): Promise<Objects> {
  return new Promise((resolve, reject) => {
    const timeout = setTimeout(
      () => reject(new Error(`not within ${PATIENCE_MS} ms: ${what}; ${JSON.stringify(source.objects().problems)}`)),
      PATIENCE_MS,
    );
    const look = (): void => {
      if (!source.synced || !satisfied(source.objects())) return;
      clearTimeout(timeout);
      resolve(source.objects());
    };
    source.onChange(look);
    look();
  });
}

async function open(t: TestContext, path: string): Promise<Manifests> {
  const source = openManifests(path);
  t.after(() => source.close());
  await until(source, 'the first read', () => true);
  return source;
}

function services(objects: Objects): string[] {
  return [...objects.services.keys()];
}

function reasons(objects: Objects): string[] {
  return objects.problems.map((problem) => problem.reason);
}

describe('a directory of manifests', () => {
  it('gives the objects of all its YAML and JSON files, documents and Lists', async (t) => {
    const path = directory(t, {
      'a.yaml': `# with a comment\n${yaml(service('a'), slice('a', 'a-1', ['10.0.0.1']))}---\n---\n`,
      'b.yml': yaml({ apiVersion: 'v1', kind: 'List', items: [service('b'), node('here', ['192.168.0.1'])] }),
      'c.json': JSON.stringify(serviceCIDR('c', ['10.96.0.0/16'])),
      '.hidden.yaml': yaml(service('hidden')),
      'notes.txt': 'no manifest',
      'd.yaml': yaml(service('d'), { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'd' } }),
    });
    mkdirSync(join(path, 'directory.yaml'));
    const source = await open(t, path);
    const objects = source.objects();
    assert.deepEqual(services(objects), ['default/a', 'default/b', 'default/d']);
    assert.deepEqual(
      [[...objects.slices.keys()], [...objects.nodes.keys()], [...objects.serviceCIDRs.keys()]],
      [['default/a'], ['here'], ['c']],
    );
    assert.deepEqual([objects.problems, source.files, [...source.ignored()]], [[], 4, [['apps/v1 Deployment', 1]]]);
    assert.equal(objects.services.get('default/a')?.origin, 'a.yaml');
  });

  it('follows a file that appears, changes and is removed', async (t) => {
    const path = directory(t, { 'a.yaml': yaml(service('a')) });
    const source = await open(t, path);
    const before = source.objects().services.get('default/a');
    writeFileSync(join(path, 'b.yaml'), yaml(service('b'), service('c')));
    const appeared = await until(source, 'b and c', (objects) => objects.services.has('default/c'));
    assert.equal(appeared.services.get('default/a'), before, 'an untouched object is the identical one');
    writeFileSync(join(path, 'b.yaml'), yaml(service('b', { clusterIP: '10.96.0.77' })));
    await until(
      source,
      'the new b, no c',
      (objects) => objects.services.get('default/b')?.clusterIPs[0] === '10.96.0.77' && !objects.services.has('default/c'),
    );
    unlinkSync(join(path, 'b.yaml'));
    assert.deepEqual(services(await until(source, 'no b', (objects) => !objects.services.has('default/b'))), ['default/a']);
  });

  it('follows the swap of a ConfigMap’s link', async (t) => {
    const path = directory(t);
    for (const [version, name] of [
      ['..v1', 'a'],
      ['..v2', 'b'],
    ] as const) {
      mkdirSync(join(path, version));
      writeFileSync(join(path, version, 'web.yaml'), yaml(service(name)));
    }
    symlinkSync('..v1', join(path, '..data'));
    symlinkSync(join('..data', 'web.yaml'), join(path, 'web.yaml'));
    const source = await open(t, path);
    assert.deepEqual(services(source.objects()), ['default/a']);
    symlinkSync('..v2', join(path, '..data_tmp'));
    renameSync(join(path, '..data_tmp'), join(path, '..data'));
    await until(source, 'b', (objects) => objects.services.has('default/b') && !objects.services.has('default/a'));
  });

  const broken: [sentence: string, text: string, message: RegExp][] = [
    [
      'does not parse',
      `${yaml(service('a'))}---\nkind: [Service\nmetadata: x\n`,
      /^line \d+, column \d+: .*; the 2 objects last read from it are kept$/,
    ],
    ['is broken JSON', '{"apiVersion": "v1",\n "kind" "Service"}', /^line 2, column/],
    ['is cut where it still parses', yaml(service('a'), service('b')).slice(0, -22), /half written.*; the 2 objects/],
    ['is cut inside a value', yaml(service('a'), service('b', { ports: [{ port: 8080 }] })).slice(0, -3), /half written.*; the 2 objects/],
    ['is cut between two keys of an object', `${yaml(service('a'))}---\napiVersion: v1\n`, /not a Kubernetes object/],
    ['has become empty, as a shell’s > makes it first', '', /^the file is empty; the 2 objects/],
    [
      'has a document that is no Kubernetes object',
      `${yaml(service('a'))}---\nhello: world\n`,
      /^line \d+, column 1: .*not a Kubernetes object/,
    ],
    [
      'multiplies aliases',
      `a: &a [x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c,*c,*c]\n`,
      /kept$/,
    ],
  ];
  for (const [sentence, text, message] of broken) {
    it(`keeps the last good objects of a file that ${sentence}, until it parses again`, async (t) => {
      const path = directory(t, { 'web.yaml': yaml(service('a'), service('b')), 'other.yaml': yaml(service('c')) });
      const source = await open(t, path);
      const good = source.objects();
      writeFileSync(join(path, 'web.yaml'), text);
      const objects = await until(source, 'a Problem', (now) => now.problems.length > 0);
      assert.equal(objects.services, good.services);
      assert.deepEqual(
        [objects.problems[0]?.object, objects.problems[0]?.origin, reasons(objects)],
        ['File web.yaml', 'web.yaml', ['FileNotParsed']],
      );
      assert.match(objects.problems[0]!.message, message);
      writeFileSync(join(path, 'other.yaml'), yaml(service('d')));
      await until(source, 'd: other files are still followed', (now) => now.services.has('default/d'));
      writeFileSync(join(path, 'web.yaml'), yaml(service('a')));
      const healed = await until(source, 'no Problem', (now) => now.problems.length === 0);
      assert.deepEqual(services(healed), ['default/a', 'default/d']);
    });
  }

  it('has none of a broken file’s objects on a cold start, and is synced all the same (1.11)', async (t) => {
    const source = await open(t, directory(t, { 'a.yaml': 'kind: [\n', 'b.yaml': yaml(service('b')) }));
    assert.deepEqual([services(source.objects()), reasons(source.objects())], [['default/b'], ['FileNotParsed']]);
    assert.match(source.objects().problems[0]!.message, /nothing of it is known$/);
  });

  it('does not let go of a file that vanishes and comes back, as when it is replaced', async (t) => {
    const path = directory(t, { 'web.yaml': yaml(service('a')) });
    const source = await open(t, path);
    let lost = false;
    source.onChange(() => {
      lost ||= !source.objects().services.has('default/a');
    });
    unlinkSync(join(path, 'web.yaml'));
    writeFileSync(join(path, 'mark.yaml'), yaml(service('mark')));
    await until(source, 'a look while the file is away', (objects) => objects.services.has('default/mark'));
    writeFileSync(join(path, 'web.yaml'), yaml(service('a'), service('b')));
    await until(source, 'b', (objects) => objects.services.has('default/b'));
    assert.equal(lost, false);
  });

  it('keeps an object that moves to another file by a rename', async (t) => {
    const path = directory(t, { 'z.yaml': yaml(service('a')) });
    const source = await open(t, path);
    let lost = false;
    source.onChange(() => {
      lost ||= !source.objects().services.has('default/a');
    });
    renameSync(join(path, 'z.yaml'), join(path, 'a.yaml'));
    const objects = await until(source, 'the new origin', (now) => now.services.get('default/a')?.origin === 'a.yaml');
    assert.deepEqual([lost, objects.problems], [false, []]);
  });

  it('lets the first file by name define an object that two define, and says so', async (t) => {
    const path = directory(t, {
      'b.yaml': yaml(service('web', { clusterIP: '10.96.0.2' })),
      'c.yaml': yaml(service('web', { clusterIP: '10.96.0.3' })),
    });
    const source = await open(t, path);
    assert.deepEqual(source.objects().services.get('default/web')?.clusterIPs, ['10.96.0.2']);
    assert.deepEqual(
      source.objects().problems.map(({ object, origin, reason }) => [object, origin, reason]),
      [['Service default/web', 'c.yaml', 'DefinedTwice']],
    );
    writeFileSync(join(path, 'a.yaml'), yaml(service('web', { clusterIP: '10.96.0.1' })));
    await until(
      source,
      'a wins',
      (objects) => objects.services.get('default/web')?.clusterIPs[0] === '10.96.0.1' && objects.problems.length === 2,
    );
    unlinkSync(join(path, 'a.yaml'));
    unlinkSync(join(path, 'b.yaml'));
    await until(
      source,
      'c is left',
      (objects) => objects.services.get('default/web')?.clusterIPs[0] === '10.96.0.3' && objects.problems.length === 0,
    );
  });

  it('lets the first of two definitions in one file count', async (t) => {
    const source = await open(
      t,
      directory(t, { 'a.yaml': yaml(service('web', { clusterIP: '10.96.0.1' }), service('web', { clusterIP: '10.96.0.2' })) }),
    );
    assert.deepEqual(source.objects().services.get('default/web')?.clusterIPs, ['10.96.0.1']);
    assert.deepEqual(reasons(source.objects()), ['DefinedTwice']);
  });

  it('keeps everything when the directory itself goes away, and follows it when it is back', async (t) => {
    const parent = directory(t);
    const path = join(parent, 'manifests');
    mkdirSync(path);
    writeFileSync(join(path, 'a.yaml'), yaml(service('a')));
    const source = await open(t, path);
    renameSync(path, join(parent, 'away'));
    const gone = await until(source, 'a Problem', (objects) => reasons(objects).includes('DirectoryNotRead'));
    assert.deepEqual(services(gone), ['default/a']);
    mkdirSync(path);
    writeFileSync(join(path, 'a.yaml'), yaml(service('a'), service('b')));
    await until(source, 'b', (objects) => objects.services.has('default/b') && objects.problems.length === 0);
  });

  it('that is missing is one clear sentence', (t) => {
    assert.throws(
      () => openManifests(join(directory(t), 'missing')),
      /^Error: the directory of manifests cannot be read: ENOENT.*missing'$/,
    );
  });
});
