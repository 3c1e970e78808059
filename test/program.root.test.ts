// Do the real programs do with a packet what each row of the flow tables says? Runner `program`: BPF_PROG_TEST_RUN in a namespace.
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { loadNative } from '../control/kernel/addon.ts';
import { casesFor, type Setting } from './flows/runs.ts';
import { takesContext } from './lib/early.ts';
import { titleOf } from './lib/flow.ts';
import { histories } from './lib/histories.ts';
import { openLab } from './lib/netns.ts';
import { families, gateways, mac, places, unroutable } from './lib/places.ts';
import { openHistories, openProgramRunner } from './lib/program.ts';
import { plainLane } from './lib/topology.ts';

const object = fileURLToPath(new URL('../build/bpf/tc.o', import.meta.url));
const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));

const xdp = fileURLToPath(new URL('../build/bpf/xdp.o', import.meta.url));
const pass = fileURLToPath(new URL('../build/test/pass.o', import.meta.url));

const lab = openLab(plainLane);
for (const family of families) await lab.run('nodeA', 'ip', ['route', 'add', 'unreachable', unroutable[family]]);
// XDP sends where the neighbours are known, and a test run believes in a device that has some XDP program.
await lab.run('nodeA', 'ip', ['link', 'set', 'eth0', 'xdpdrv', 'object', pass, 'section', 'xdp']);
const [router] = JSON.parse(await lab.run('router', 'ip', ['-json', 'link', 'show', 'sw0'])) as { address: string }[];
for (const family of families)
  for (const [address, lladdr] of [
    [gateways.nodes[family], router!.address],
    [places.nodeB[family], mac('nodeB')],
  ] as const)
    await lab.run('nodeA', 'ip', ['neighbour', 'replace', address, 'lladdr', lladdr, 'dev', 'eth0', 'nud', 'permanent']);
const loopback = !takesContext(loadNative(), pass);
const runners = await Promise.all(
  [undefined, xdp].map(async (early) => ({
    hooks: early === undefined ? 'tc' : 'XDP, then tc',
    plain: await openProgramRunner(lab, { object, xdp: early, loopback, manifests, masqueradeAll: false }),
    masquerading: await openProgramRunner(lab, { object, xdp: early, loopback, manifests, masqueradeAll: true }),
    guarding: await openProgramRunner(lab, { object, xdp: early, loopback, manifests, masqueradeAll: false, sourceRangesEverywhere: true }),
    teller: await openHistories(lab, { object, xdp: early, loopback, manifests, masqueradeAll: false }),
  })),
);

after(async () => {
  for (const { plain, masquerading, guarding, teller } of runners)
    await Promise.all([plain, masquerading, guarding, teller].map((one) => one.close()));
  lab.close();
});

for (const { hooks, plain, masquerading, guarding, teller } of runners) {
  for (const [setting, asked] of Object.entries({ none: plain, masqueradeAll: masquerading, rangesEverywhere: guarding }))
    for (const flow of casesFor('program', setting as Setting)) test(`program, ${hooks}: ${titleOf(flow)}`, () => asked.check(flow));
  for (const name of histories)
    for (const family of families)
      for (const protocol of ['tcp', 'udp'] as const)
        test(`program, ${hooks}: ${name}: IPv${family}, ${protocol}`, () => teller.check({ name, family, protocol }));
}
