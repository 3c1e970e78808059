// An agent of the product on a node of the lab: started as an operator starts it, watched by what it logs and what it pins.
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { nameOf } from '../../control/abi/codec.ts';
import { Verdict } from '../../control/abi/layout.gen.ts';
import { loadNative } from '../../control/kernel/addon.ts';
import type { Maps } from '../../control/kernel/maps.ts';
import { openPinnedMaps } from '../../control/kernel/pins.ts';
import type { VerdictName } from './flow.ts';
import type { Lab } from './netns.ts';
import { type NodeName, nodeObjects } from './places.ts';

const main = fileURLToPath(new URL('../../control/main.ts', import.meta.url));

export interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

export interface Agent {
  /** Everything it logged. */
  readonly lines: readonly LogLine[];
  /** Resolves with the next line that is `msg`, counted from line `from`. Rejects when the agent ends first, or after a minute. */
  said(msg: string, from?: number): Promise<LogLine>;
  /** Has it read its configuration again, and resolves when it has. */
  reread(): Promise<void>;
  /** Sends a signal and resolves when the process is gone. */
  end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** Where the agent of a node keeps its socket and its snapshot. */
export function stateDirectory(lab: Lab, node: NodeName): string {
  return join(lab.directory, `state-${node}`);
}

/** The words of one run of the command line on a node. */
export function agentArguments(lab: Lab, node: NodeName): string[] {
  return ['--pin-directory', lab.pinDirectory(node), '--state-directory', stateDirectory(lab, node), '--cgroup-root', lab.cgroup(node)];
}

/** Where an agent takes its objects from: a directory of manifests, or the API server that a kubeconfig names. */
export type AgentSource = string | { readonly kubeconfig: string };

/** Starts an agent and resolves when it serves. version: the main file of another version. */
export async function startAgent(
  lab: Lab,
  node: NodeName,
  source: AgentSource,
  more: readonly string[] = [],
  version: string = main,
): Promise<Agent> {
  const from = typeof source === 'string' ? ['--manifests', source] : ['--kubeconfig', source.kubeconfig];
  const words = ['agent', ...from, '--hostname-override', nodeObjects[node], ...agentArguments(lab, node), ...more];
  return watchAgent(lab.start(node, process.execPath, ['--disable-warning=ExperimentalWarning', version, ...words]));
}

/** Reads what a process logs that became, or will become, an agent; resolves when it serves. */
export async function watchAgent(child: ChildProcess): Promise<Agent> {
  const lines: LogLine[] = [];
  const waiting = new Set<() => void>();
  const look = () => {
    for (const one of waiting) one();
  };
  let output = '';
  createInterface({ input: child.stderr! }).on('line', (line) => {
    output += `${line}\n`;
    if (line.startsWith('{')) lines.push(JSON.parse(line) as LogLine);
    look();
  });
  child.stdout!.resume();
  const gone = once(child, 'exit').then(look);
  const agent: Agent = {
    lines,
    said: (msg, from = 0) =>
      new Promise((resolve, reject) => {
        const done = () => {
          waiting.delete(one);
          clearTimeout(timer);
        };
        const timer = setTimeout(() => {
          done();
          reject(new Error(`the agent did not say "${msg}" within a minute:\n${output}`));
        }, 60_000);
        const one = () => {
          const found = lines.slice(from).find((line) => line.msg === msg);
          if (found) {
            done();
            resolve(found);
          } else if (child.exitCode !== null || child.signalCode !== null) {
            done();
            reject(new Error(`the agent ended with ${child.exitCode ?? child.signalCode}:\n${output}`));
          }
        };
        waiting.add(one);
        one();
      }),
    async reread() {
      const from = lines.length;
      child.kill('SIGHUP');
      await agent.said('configuration changed', from);
    },
    async end(signal) {
      child.kill(signal);
      await gone;
    },
  };
  await agent.said('serving');
  return agent;
}

/** The maps that the agent of a node pinned, alive or not. */
export function pinnedMaps(lab: Lab, node: NodeName): Maps {
  const maps = openPinnedMaps(loadNative(), lab.pinDirectory(node));
  if (!maps) throw new Error(`${node} has no maps`);
  return maps;
}

/** How often each verdict was reached at all hooks together. */
export function verdictCounts(maps: Maps): Map<VerdictName, number> {
  const counts = new Map<VerdictName, number>();
  for (const [verdict, { packets }] of maps.verdicts.entries())
    counts.set(nameOf(Verdict, verdict)!, Number(packets.reduce((sum, count) => sum + count, 0n)));
  return counts;
}

/** The verdicts that grew between two counts. */
export function verdictsBetween(
  before: ReadonlyMap<VerdictName, number>,
  after: ReadonlyMap<VerdictName, number>,
): Map<VerdictName, number> {
  return new Map(
    [...after].map(([verdict, count]) => [verdict, count - (before.get(verdict) ?? 0)] as const).filter(([, moved]) => moved > 0),
  );
}
