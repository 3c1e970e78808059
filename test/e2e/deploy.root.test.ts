// Is deploy/ what a cluster takes? The real API server judges every object, and what README has beside it.
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { parseAllDocuments, stringify } from 'yaml';
import { type ControlPlane, startControlPlane } from '../lib/control-plane.ts';
import { type Lab, openLab } from '../lib/netns.ts';
import { plainLane } from '../lib/topology.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEPLOY = join(ROOT, 'deploy');

/** The files that README's section on clusters shows, by kind. */
function filesOfReadme(): Map<string, Record<string, unknown>> {
  const [section = ''] = /^## On a cluster$[\s\S]*?(?=^## )/m.exec(readFileSync(join(ROOT, 'README.md'), 'utf8')) ?? [];
  const blocks = section.match(/(?:^ {4}.*\n)+/gm) ?? [];
  const files = blocks
    .filter((block) => block.startsWith('    apiVersion: '))
    .flatMap((block) => parseAllDocuments(block.replace(/^ {4}/gm, '')));
  return new Map(files.map((file) => file.toJS() as Record<string, unknown>).map((file) => [String(file.kind), file]));
}

describe('deploy/', () => {
  let lab: Lab;
  let plane: ControlPlane;
  before(async () => {
    await execa('make', ['-s', 'image-root'], { cwd: ROOT });
    lab = openLab(plainLane);
    plane = await startControlPlane(lab);
  });
  after(async () => {
    await plane?.close();
    lab?.close();
  });

  it('is accepted by the API server, each object of it', async () => {
    for (const [directory, count] of [
      [DEPLOY, 5],
      [join(DEPLOY, 'cleanup'), 1],
    ] as const) {
      const rendered = await plane.kubectl(['kustomize', directory]);
      const objects = parseAllDocuments(rendered).map((document) => document.toJS());
      assert.equal(objects.length, count);
      const said = await plane.kubectl(['apply', '--dry-run=server', '--warnings-as-errors', '-k', directory]);
      assert.deepEqual(
        said.split('\n').filter((line) => !line.endsWith(' created (server dry run)')),
        [],
      );
      assert.equal(said.split('\n').length, count);
    }
    const wrong = join(lab.directory, 'wrong');
    cpSync(DEPLOY, wrong, { recursive: true });
    const daemonSet = join(wrong, 'daemonset.yaml');
    writeFileSync(daemonSet, readFileSync(daemonSet, 'utf8').replace('hostNetwork:', 'hostNetworks:'));
    await assert.rejects(plane.kubectl(['apply', '--dry-run=server', '-k', wrong]), /unknown field "spec\.template\.spec\.hostNetworks"/);
  });

  it('is installed as README says, with two files of the cluster’s own', async () => {
    const files = filesOfReadme();
    const config = files.get('KubeProxyConfiguration') as { sluice: Record<string, unknown> };
    // This lab's addresses, and its node's cgroups.
    config.sluice = { ...config.sluice, apiServers: [plane.server], cgroupRoot: '/host/sys/fs/cgroup' };
    const mine = join(lab.directory, 'cluster');
    mkdirSync(mine);
    cpSync(DEPLOY, join(lab.directory, 'sluice/deploy'), { recursive: true });
    writeFileSync(join(mine, 'kustomization.yaml'), stringify(files.get('Kustomization')));
    writeFileSync(join(mine, 'config.yaml'), stringify(config));
    const said = await plane.kubectl(['apply', '--warnings-as-errors', '-k', mine]);
    assert.equal(said.split('\n').length, 5);
    const daemonSet = JSON.parse(await plane.kubectl(['-n', 'kube-system', 'get', 'daemonset', 'sluice', '-o', 'json']));
    assert.match(daemonSet.spec.template.spec.containers[0].image, /^registry\.example\/sluice:\d/);
  });
});
