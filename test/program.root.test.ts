// Do the real programs do with a packet what each row of the flow tables says? Runner `program`: BPF_PROG_TEST_RUN in a namespace.
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { faulty, masqueradeAll, packets, shapes } from './flows/tables.ts';
import { expand, titleOf } from './lib/flow.ts';
import { openLab } from './lib/netns.ts';
import { families, unroutable } from './lib/places.ts';
import { openProgramRunner } from './lib/program.ts';
import { plainLane } from './lib/topology.ts';

const object = fileURLToPath(new URL('../build/bpf/tc.o', import.meta.url));
const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));

const lab = openLab(plainLane);
for (const family of families) await lab.run('nodeA', 'ip', ['route', 'add', 'unreachable', unroutable[family]]);
const runner = await openProgramRunner(lab, { object, manifests, masqueradeAll: false });
const masquerading = await openProgramRunner(lab, { object, manifests, masqueradeAll: true });

after(async () => {
  await runner.close();
  await masquerading.close();
  lab.close();
});

for (const table of [...packets, shapes, faulty])
  for (const flow of expand(table)) test(`program: ${titleOf(flow)}`, () => runner.check(flow));

for (const flow of expand(masqueradeAll)) test(`program: ${titleOf(flow)}`, () => masquerading.check(flow));
