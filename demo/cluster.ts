// What is the demo's cluster made of? The tests' lab of namespaces, pods that say who they are, and a real agent on each node, reached only
// as a user reaches them: by bin/sluice, signals and requests.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { stringify } from 'yaml';
import { type Lab, openLab } from '../test/lib/netns.ts';
import { type NodeName, nodeNames, nodeObjects, type PlaceName, type PodName, places } from '../test/lib/places.ts';
import { plainLane } from '../test/lib/topology.ts';
import type { Pod } from './manifests.ts';

const home = new URL('..', import.meta.url).pathname;
export const sluice = join(home, 'bin/sluice');
export const peer = join(home, 'build/peer');
/** Names of its namespaces and cgroups begin so; its directory is /run/sluice-demo. */
export const labName = 'sluice-demo';
const podPorts = ['8080/tcp', '5353/udp', '8443/udp'];

export type Protocol = 'tcp' | 'udp' | 'sendto';

/** One question's outcome: `name` answered, or `error`. */
export interface Answer {
  readonly name?: string;
  /** The source address the backend saw. */
  readonly seen?: string;
  /** Whom the client believes to be connected to (absent for sendto). */
  readonly peer?: string;
  /** Where the datagram came from, as the client sees it. */
  readonly from?: string;
  readonly error?: string;
}

/** A load that is running. `told` is its latest line. */
export interface Load {
  readonly from: PlaceName;
  told(): LoadLine | undefined;
  /** Ends it and returns its last line. */
  finish(): Promise<LoadLine>;
}

interface Tally {
  readonly connections: number;
  readonly answers: number;
  readonly failed: number;
  readonly slow: number;
  readonly resets: number;
  readonly wrong: number;
  readonly moved: number;
}

export interface LoadLine {
  readonly event: 'ready' | 'progress' | 'final';
  readonly seconds: number;
  readonly short: Tally;
  readonly fixed: Tally;
  readonly long: Tally;
  readonly udp: {
    readonly sent: number;
    readonly received: number;
    readonly gaps: number;
    readonly duplicates: number;
    readonly reordered: number;
    readonly wrong: number;
    readonly moved: number;
    readonly errors: number;
    readonly refused: number;
  };
  readonly retransmits: number;
  readonly lastError: string;
  readonly failures: number;
}

export interface Cluster {
  readonly lab: Lab;
  /** The directory both agents watch. */
  readonly manifests: string;
  /** The configuration of a node's agent. */
  configFile(node: NodeName): string;
  agentLog(node: NodeName): string;
  startAgent(node: NodeName): void;
  /** Sends a signal and waits for the end. */
  endAgent(node: NodeName, signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Starts a pod's process; resolves when it serves. */
  startPod(place: PodName, name: string): Promise<void>;
  /** SIGTERM; the pod drains. */
  terminatePod(name: string): void;
  /** Resolves when the pod's process has ended. */
  podEnded(name: string): Promise<void>;
  /** `sluice …` on a node. */
  sluice(node: NodeName, ...words: string[]): Promise<string>;
  /** `sluice dump TABLE -o json`. */
  dump<T>(node: NodeName, dumped: string): Promise<T>;
  ask(from: PlaceName, protocol: Protocol, address: string, port: number, times: number): Promise<Answer[]>;
  load(from: PlaceName, ...words: string[]): Load;
  close(): void;
}

/** Looks until it is so. Throws when it is not within ms, with what the last look found. */
export async function until(what: string, look: () => Promise<true | string>, ms = 20_000): Promise<void> {
  const end = performance.now() + ms;
  for (;;) {
    const found = await look();
    if (found === true) return;
    if (performance.now() > end) throw new Error(`${what}: not within ${ms / 1000} s: ${found}`);
    await wait(50);
  }
}

/** A pod as slices name it. */
export function podOf(place: PodName, name: string): Pod {
  return { name, node: nodeObjects[places[place].node!], 4: places[place][4], 6: places[place][6] };
}

function lines(child: ChildProcess, take: (line: string) => void): void {
  createInterface({ input: child.stdout! }).on('line', take);
}

/** Two nodes with routed pods, native XDP at their uplinks, strict reverse path filter, no rule of any firewall. */
export function openCluster(): Cluster {
  const lab = openLab({ ...plainLane, name: 'demo', xdp: true, rpFilter: 1 }, labName);
  const manifests = join(lab.directory, 'manifests');
  mkdirSync(manifests);
  const configFile = (node: NodeName) => join(lab.directory, `${nodeObjects[node]}.yaml`);
  const agentLog = (node: NodeName) => join(lab.directory, `${nodeObjects[node]}.log`);
  for (const node of nodeNames) {
    const ours = {
      manifests,
      devices: ['eth0'],
      xdp: 'native',
      cgroupRoot: lab.cgroup(node),
      pinDirectory: lab.pinDirectory(node),
      stateDirectory: join(lab.directory, `${nodeObjects[node]}-state`),
    };
    const config = {
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      kind: 'KubeProxyConfiguration',
      hostnameOverride: nodeObjects[node],
      sluice: ours,
    };
    writeFileSync(configFile(node), stringify(config));
  }
  const agents = new Map<NodeName, ChildProcess>();
  const pods = new Map<string, ChildProcess>();
  const run = (node: NodeName, ...words: string[]) => lab.run(node, sluice, [...words, '--config', configFile(node)]);

  return {
    ...{ lab, manifests, configFile, agentLog, sluice: run },
    startAgent(node) {
      const script = 'exec "$0" agent --manifests "$1" --config "$2" >>"$3" 2>&1';
      agents.set(node, lab.start(node, 'sh', ['-c', script, sluice, manifests, configFile(node), agentLog(node)]));
    },
    async endAgent(node, signal) {
      const agent = agents.get(node)!;
      if (agent.exitCode !== null || agent.signalCode !== null) throw new Error(`the agent of ${nodeObjects[node]} had ended by itself`);
      const ended = once(agent, 'exit');
      agent.kill(signal);
      await ended;
    },
    async startPod(place, name) {
      const pod = lab.start(place, peer, ['serve', name, ...podPorts]);
      pods.set(name, pod);
      const ready = new Promise<void>((resolve, reject) => {
        lines(pod, () => resolve());
        pod.once('exit', () => reject(new Error(`pod ${name} ended before it served`)));
      });
      await ready;
    },
    terminatePod: (name) => void pods.get(name)!.kill('SIGTERM'),
    async podEnded(name) {
      const pod = pods.get(name)!;
      await until(`the end of pod ${name}`, async () => pod.exitCode !== null || pod.signalCode !== null || 'it still runs');
      if (pod.exitCode !== 0) throw new Error(`pod ${name} ended with ${pod.exitCode ?? pod.signalCode}`);
    },
    async dump<T>(node: NodeName, dumped: string): Promise<T> {
      return JSON.parse(await run(node, 'dump', dumped, '-o', 'json')) as T;
    },
    async ask(from, protocol, address, port, times) {
      const words = ['ask', protocol, address, String(port), '--times', String(times), '--timeout', '2000'];
      const told = await lab.run(from, peer, words, { timeoutMs: 30_000, accept: [1] });
      return told.split('\n').map((line) => JSON.parse(line) as Answer);
    },
    load(from, ...words) {
      const child = lab.start(from, peer, ['load', '--seconds', '120', ...words]);
      const ended = once(child, 'close');
      let latest: LoadLine | undefined;
      let complaint = '';
      lines(child, (line) => {
        latest = JSON.parse(line) as LoadLine;
      });
      child.stderr!.on('data', (text) => {
        complaint += text;
      });
      return {
        from,
        told: () => latest,
        async finish() {
          child.kill('SIGTERM');
          await ended;
          if (latest?.event !== 'final') throw new Error(`the load from ${from} ended early: ${complaint}`);
          return latest;
        },
      };
    },
    close: lab.close,
  };
}

/** The last lines of a node's agent log. */
export function tailOf(path: string, count = 8): string[] {
  return readFileSync(path, 'utf8').trimEnd().split('\n').slice(-count);
}
