// The npm package on a machine that has a Node and nothing that builds: what is in it, that npm installs it without network and scripts, and
// that its agent serves.

import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { EXITS } from '../control/cli/exits.ts';
import { agentArguments, watchAgent } from './lib/agent.ts';
import { type Lab, openLab } from './lib/netns.ts';
import { plainLane } from './lib/topology.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const FLOWS = join(ROOT, 'test/flows/manifests');
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
const TARBALL = join(ROOT, `build/sluice-${version}.tgz`);

describe('npm package', () => {
  let lab: Lab;
  /** The whole path of a machine: what bin/sluice asks for, and no Node yet. */
  let path: string;
  let prefix: string;
  before(async () => {
    await execa('make', ['-s', 'package'], { cwd: ROOT });
    lab = openLab(plainLane);
    prefix = join(lab.directory, 'installed');
    mkdirSync(prefix);
    path = join(lab.directory, 'bin');
    mkdirSync(path);
    for (const tool of ['dirname', 'readlink', 'uname']) symlinkSync(realpathSync(`/usr/bin/${tool}`), join(path, tool));
  });
  after(() => lab?.close());

  const sluice = (...words: string[]) =>
    execa(join(prefix, 'node_modules/.bin/sluice'), words, { env: { PATH: path }, extendEnv: false, reject: false, all: true });

  it('holds the bundle, the addon and the objects, and no source', async () => {
    const { stdout } = await execa('tar', ['-tzf', TARBALL]);
    const objects = ['probe', 'sock', 'tc', 'xdp'].map((name) => `build/bpf/${name}.o`);
    const expected = ['README.md', 'bin/sluice', ...objects, 'build/LICENSES', 'build/sluice.js', 'build/sluice.node', 'package.json'];
    assert.deepEqual(stdout.split('\n').sort(), expected.map((file) => `package/${file}`).sort());
  });

  it('installs into an empty directory, with no network and nothing else', async () => {
    // Node itself may come by npm too; here the machine has one.
    await execa('npm', ['install', '--offline', '--omit=optional', TARBALL], { cwd: prefix });
    const { stdout } = await execa('ls', [join(prefix, 'node_modules')]);
    assert.equal(stdout, 'sluice');
    const lock = JSON.parse(readFileSync(join(prefix, 'package-lock.json'), 'utf8'));
    assert.equal(lock.packages['node_modules/sluice'].hasInstallScript, undefined);
  });

  it('runs with the Node that npm puts beside it', async () => {
    const without = await sluice('--help');
    assert.equal(without.exitCode, 1, without.all);
    assert.match(without.stderr, /needs Node 22\.18 or later/);
    const beside = join(prefix, `node_modules/node-linux-${process.arch}/bin`);
    mkdirSync(beside, { recursive: true });
    symlinkSync(process.execPath, join(beside, 'node'));
    const help = await sluice('--help');
    assert.equal(help.exitCode, 0, help.all);
    assert.match(help.stdout, /^Usage: sluice/);
  });

  it('serves', async () => {
    const places = agentArguments(lab, 'nodeA').slice(0, 4);
    const before = await sluice('dump', 'frontends', ...places);
    assert.equal(before.exitCode, EXITS.nothingPinned.code, before.all);
    const manifests = join(lab.directory, 'manifests');
    cpSync(FLOWS, manifests, { recursive: true });
    const words = ['agent', '--manifests', manifests, '--hostname-override', 'node-a', ...agentArguments(lab, 'nodeA')];
    const agent = await watchAgent(
      lab.start('nodeA', '/usr/bin/env', ['-i', `PATH=${path}`, join(prefix, 'node_modules/.bin/sluice'), ...words]),
    );
    const frontends = await sluice('dump', 'frontends', ...places);
    assert.match(frontends.stdout, /^10\.96\.0\.\d+:80 .*lab\//m, frontends.all);
    await agent.end('SIGTERM');
  });
});
