// How many requests failed? The standard load, scaled to a machine that also runs two nodes, from outside and from a pod at once; every
// counter behind "failed" is shown, because success of TCP hides loss.

import { places } from '../test/lib/places.ts';
import { type Cluster, type Load, type LoadLine, until } from './cluster.ts';

/** Long-lived connections of each client. */
export const longCount = 40;
const scale = ['--short', '6', '--long', String(longCount), '--interval', '50', '--pace', '40', '--rate', '400'];

/** From outside through NodePorts of both families and an externalIP; from a pod through ClusterIPs: TCP by the socket hook, UDP by tc. */
export async function startLoads(cluster: Cluster): Promise<Load[]> {
  const { nodeA, nodeB } = places;
  const outside = ['--tcp', `${nodeA[4]}@30120`, '--tcp', `${nodeB[6]}@30140`, '--tcp', '203.0.113.10@443', '--udp', '203.0.113.10@443'];
  const pod = ['--tcp', '10.96.0.10@80', '--tcp', 'fd96::40@80', '--udp', '10.96.0.53@53'];
  const loads = [cluster.load('outside', ...outside, ...scale), cluster.load('clientA', ...pod, ...scale)];
  for (const load of loads)
    await until(
      `the load from ${load.from}`,
      async () => load.told() !== undefined || 'not every long-lived connection has its first answer',
    );
  return loads;
}

/** Resolves when every load has told of that many more seconds. */
export async function goOn(loads: readonly Load[], seconds: number): Promise<void> {
  for (const load of loads) {
    const from = load.told()!.seconds;
    await until(`${seconds} s of load from ${load.from}`, async () => load.told()!.seconds >= from + seconds || 'no line');
  }
}

export interface Outcome {
  readonly requests: number;
  readonly failed: number;
  /** Clients that read that their backend drains and connected anew; datagram streams that another backend took over. */
  readonly moved: number;
  /** A line per client, every counter named. */
  readonly lines: readonly string[];
}

function sum(line: LoadLine, of: (tally: LoadLine['short']) => number): number {
  return of(line.short) + of(line.fixed) + of(line.long);
}

/** Ends the loads and adds up. */
export async function endLoads(loads: readonly Load[]): Promise<Outcome> {
  const ends = await Promise.all(loads.map(async (load) => ({ from: load.from, line: await load.finish() })));
  const total = (of: (line: LoadLine) => number) => ends.reduce((all, { line }) => all + of(line), 0);
  return {
    requests: total((line) => sum(line, ({ answers }) => answers) + line.udp.received),
    failed: total(({ failures }) => failures),
    moved: total((line) => line.long.moved + line.udp.moved),
    lines: ends.map(({ from, line }) => {
      const { udp } = line;
      const tcp = `TCP ${sum(line, ({ answers }) => answers)} answers on ${sum(line, ({ connections }) => connections)} connections: ${[
        `failed ${sum(line, ({ failed }) => failed)}`,
        `slow ${sum(line, ({ slow }) => slow)}`,
        `reset ${sum(line, ({ resets }) => resets)}`,
        `wrong ${sum(line, ({ wrong }) => wrong)}`,
        `sent again ${line.retransmits}`,
      ].join(', ')}`;
      const datagrams = `UDP ${udp.received} of ${udp.sent}: ${[
        `lost ${udp.gaps}`,
        `twice ${udp.duplicates}`,
        `late ${udp.reordered}`,
        `wrong ${udp.wrong}`,
        `refused ${udp.refused + udp.errors}`,
      ].join(', ')}`;
      return `from ${from === 'outside' ? 'outside' : 'a pod'}: ${tcp}; ${datagrams}`;
    }),
  };
}
