// What does it cost on a cluster? The real API server with the measured Services, an agent on one node and the real kube-proxy on the
// other. Both are judged from outside, the same way: by pods that ask Services until the right backend answers.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { agentArguments } from '../../test/lib/agent.ts';
import { type Component, startComponent } from '../../test/lib/component.ts';
import { type ControlPlane, startControlPlane } from '../../test/lib/control-plane.ts';
import { registerNode } from '../../test/lib/kubelet.ts';
import { type Lab, openLab } from '../../test/lib/netns.ts';
import { networks, nodeObjects, type PlaceName, places } from '../../test/lib/places.ts';
import { plainLane } from '../../test/lib/topology.ts';
import { serve } from '../../test/lib/wire.ts';
import { addressesOf, clusterIPOf, namespace, type Raw, type Size, serviceObject, servicePort, sliceName, sliceObject } from './cluster.ts';
import { type Answer, now, type Question } from './prober.ts';
import { anonymousMiB } from './process.ts';
import type { Sample } from './report.ts';

export interface Plan extends Size {
  /** Cold starts of the agent, and changes that it alone follows. */
  readonly starts: number;
  readonly changes: number;
  /** Changes that both follow. kube-proxy takes half a minute for one. */
  readonly shared: number;
}

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** Objects made at a time. */
const WRITERS = 16;
/** Backends of the probes in turn. */
const BACKENDS = ['b1', 'b2'] as const satisfies readonly PlaceName[];
type Backend = (typeof BACKENDS)[number];

/** Services with a backend that answers: the first, the last and three between, by name. */
function probesOf({ services }: Size): number[] {
  return [...new Set([0, 0.25, 0.5, 0.75, 1].map((share) => Math.round(share * (services - 1))))];
}

function probeSlice(service: number, backend: Backend): Raw {
  return sliceObject(service, [places[backend][4]], nodeObjects.nodeB);
}

/** A pod that asks. */
interface Prober {
  /** Resolves with the time when the backend answered at all of the probes. */
  waitFor(question: Question): Promise<number>;
  close(): void;
}

async function openProber(lab: Lab, place: PlaceName): Promise<Prober> {
  const child = lab.start(place, process.execPath, ['--disable-warning=ExperimentalWarning', join(import.meta.dirname, 'prober.ts')], {
    channel: true,
  });
  const answer = async () => ((await once(child, 'message')) as [Answer])[0].at;
  await answer();
  return {
    waitFor(question) {
      child.send(question);
      return answer();
    },
    close: () => child.disconnect(),
  };
}

/** Makes all objects, WRITERS at a time. */
async function fill({ client }: ControlPlane, size: Size): Promise<void> {
  const probes = new Set(probesOf(size));
  const left = Array.from({ length: size.services }, (_, service) => service).values();
  await Promise.all(
    Array.from({ length: WRITERS }, async () => {
      for (const service of left) {
        await client.create(serviceObject(service));
        await client.create(probes.has(service) ? probeSlice(service, 'b1') : sliceObject(service, addressesOf(service, size)));
      }
    }),
  );
}

/** The package as npm would lay it out: one file of JavaScript, started by its own script. */
function unpack(directory: string): string {
  const home = join(directory, 'package');
  mkdirSync(join(home, 'bin'), { recursive: true });
  cpSync(join(ROOT, 'bin/sluice'), join(home, 'bin/sluice'));
  for (const name of ['build', 'node_modules', 'package.json']) symlinkSync(join(ROOT, name), join(home, name));
  return join(home, 'bin/sluice');
}

export async function measureCluster(plan: Plan, say: (text: string) => void): Promise<Sample[]> {
  const lab = openLab(plainLane);
  const closers: (() => unknown)[] = [() => lab.close()];
  try {
    return await measureIn(lab, plan, say, closers);
  } finally {
    for (const close of closers.reverse()) await close();
  }
}

async function measureIn(lab: Lab, plan: Plan, say: (text: string) => void, closers: (() => unknown)[]): Promise<Sample[]> {
  const plane = await startControlPlane(lab, { controllers: 'none' });
  closers.push(() => plane.close());
  for (const node of ['nodeA', 'nodeB'] as const) await registerNode(plane.client, node);
  for (const backend of BACKENDS) await serve(lab, backend, backend, ['8080/tcp']);
  // Where nothing is programmed nobody else may answer: neither node sends what is for a Service on to the other.
  for (const node of ['nodeA', 'nodeB'] as const) await lab.run(node, 'ip', ['route', 'add', 'unreachable', networks.services[4]]);
  const began = now();
  await fill(plane, plan);
  say(`${plan.services} Services and EndpointSlices made in ${Math.round((now() - began) / 1000)} s`);

  const probes = probesOf(plan);
  const all = (backend: Backend): Question => ({ addresses: probes.map(clusterIPOf), port: servicePort, backend });
  const [onA, onB] = [await openProber(lab, 'clientA'), await openProber(lab, 'clientB')];
  closers.push(
    () => onA.close(),
    () => onB.close(),
  );

  const program = unpack(lab.directory);
  const kubeconfig = await plane.kubeconfig('admin');
  const words = ['--kubeconfig', kubeconfig, '--hostname-override', nodeObjects.nodeA, ...agentArguments(lab, 'nodeA')];
  const startAgent = (): ChildProcess => {
    const child = lab.start('nodeA', program, ['agent', ...words]);
    child.stdout!.resume();
    child.stderr!.resume();
    return child;
  };
  const end = async (child: ChildProcess) => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  };

  const sluice = { starts: [] as number[], memory: [] as number[], changes: [] as number[], shared: [] as number[], after: [] as number[] };
  let agent: ChildProcess | undefined;
  closers.push(async () => agent && (await end(agent)));
  for (let round = 0; round < plan.starts; round++) {
    if (agent !== undefined) {
      await end(agent);
      await lab.run('nodeA', program, ['cleanup', ...words.slice(words.indexOf('--pin-directory'), words.indexOf('--cgroup-root'))], {
        timeoutMs: 60_000,
      });
      // The kernel lets go of the programs a moment after their last pin.
      const { addresses, port } = all('b1');
      await onA.waitFor({ addresses, port });
    }
    const at = now();
    agent = startAgent();
    sluice.starts.push((await onA.waitFor(all('b1'))) - at);
    sluice.memory.push(anonymousMiB(agent.pid!));
    say(`sluice answers everywhere ${Math.round(sluice.starts.at(-1)!)} ms after its start`);
  }

  /** Moves one probe to the other backend; the time until each of the probers met it there. */
  let turn = 0;
  const where = new Map<number, Backend>();
  const change = async (askers: readonly Prober[]): Promise<number[]> => {
    const service = probes[turn++ % probes.length]!;
    const backend: Backend = where.get(service) === 'b2' ? 'b1' : 'b2';
    where.set(service, backend);
    const { endpoints } = probeSlice(service, backend);
    const at = now();
    const answers = askers.map((asker) => asker.waitFor({ addresses: [clusterIPOf(service)], port: servicePort, backend }));
    await plane.client.patch('EndpointSlice', `${namespace}/${sliceName(service)}`, { endpoints });
    return (await Promise.all(answers)).map((time) => time - at);
  };
  for (let n = 0; n < plan.changes; n++) sluice.changes.push((await change([onA]))[0]!);
  // Back where kube-proxy will find them.
  for (const [service, backend] of where)
    if (backend === 'b2')
      await plane.client.patch('EndpointSlice', `${namespace}/${sliceName(service)}`, { endpoints: probeSlice(service, 'b1').endpoints });
  await onA.waitFor(all('b1'));
  where.clear();
  sluice.after.push(anonymousMiB(agent!.pid!));
  say(`sluice follows a change in ${Math.round(sluice.changes.toSorted((a, b) => a - b)[Math.floor(sluice.changes.length / 2)]!)} ms`);

  const proxy = { starts: [] as number[], shared: [] as number[], memory: [] as number[] };
  const at = now();
  const component: Component = startComponent(lab, 'nodeB', 'kube-proxy', [
    `--kubeconfig=${kubeconfig}`,
    `--hostname-override=${nodeObjects.nodeB}`,
    '--proxy-mode=nftables',
    '--cluster-cidr=10.1.0.0/16',
    '--conntrack-max-per-core=0',
  ]);
  closers.push(() => component.kill('SIGKILL'));
  proxy.starts.push((await onB.waitFor(all('b1'))) - at);
  say(`kube-proxy answers everywhere ${Math.round(proxy.starts[0]! / 1000)} s after its start`);
  for (let n = 0; n < plan.shared; n++) {
    const [ours, theirs] = await change([onA, onB]);
    sluice.shared.push(ours!);
    proxy.shared.push(theirs!);
    say(`one change: sluice ${Math.round(ours!)} ms, kube-proxy ${Math.round(theirs!)} ms`);
  }
  proxy.memory.push(anonymousMiB(component.pid));

  const { services, endpoints } = plan;
  const row = (mode: Sample['mode'], what: string, ms: readonly number[], more: Partial<Sample> = {}): Sample => ({
    what,
    mode,
    services,
    endpoints,
    ms,
    ...more,
  });
  const start = 'from the start of the process to every probed Service answering';
  const shared = 'one endpoint changed at the API server, to the first answer from the new one';
  return [
    row('sluice', start, sluice.starts, { goal: { ms: 3000 } }),
    row('kube-proxy nftables', start, proxy.starts),
    row('sluice', `${shared}, alone`, sluice.changes),
    row('sluice', shared, sluice.shared),
    row('kube-proxy nftables', shared, proxy.shared),
    row('sluice', 'anonymous memory, all programmed', [], { rssMiB: sluice.memory }),
    row('sluice', 'anonymous memory after the changes', [], { rssMiB: sluice.after, goal: { rssMiB: 200 } }),
    row('kube-proxy nftables', 'anonymous memory after the changes', [], { rssMiB: proxy.memory }),
  ];
}
