// Is deploy/ what a cluster takes and the agent needs? The real API server judges every object; the agent runs as the DaemonSet says, with its
// ServiceAccount's token and the ClusterRole of deploy/, and the server's audit log says what it asked for.
import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { fileURLToPath } from 'node:url';
import { execa } from 'execa';
import { parseAllDocuments } from 'yaml';
import { type ControlPlane, startControlPlane } from '../lib/control-plane.ts';
import { type Lab, openLab } from '../lib/netns.ts';
import { plainLane } from '../lib/topology.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DEPLOY = join(ROOT, 'deploy');

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
});
