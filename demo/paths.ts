// Which way does a request take? Each path of the demo with what is expected of it: the backends that may answer, the source they see, the
// hook that acts. A path is asked with real sockets and judged by the answers and by the difference of the verdict counters.

import { nodeNames, type PlaceName, places } from '../test/lib/places.ts';
import type { Answer, Cluster, Protocol } from './cluster.ts';
import { endpointText } from './manifests.ts';

type Hook = 'xdp' | 'nic_ingress' | 'pod_ingress' | 'connect' | 'sendmsg';

const hookNames: Readonly<Record<Hook, string>> = {
  xdp: 'XDP, NIC',
  nic_ingress: 'tc, NIC',
  pod_ingress: 'tc, pod interface',
  connect: 'socket, connect',
  sendmsg: 'socket, sendmsg',
};

/** One kind of outcome: who answers, whom it believes to talk to, and who made it so. */
interface Outcome {
  readonly backend: string;
  readonly seen: string;
  readonly hook: Hook;
  readonly verdict: string;
}

interface Path {
  readonly title: string;
  readonly from: PlaceName;
  readonly protocol: Protocol;
  readonly address: string;
  readonly port: number;
  /** Every one of them must come, and nothing else; of a sticky path exactly one. */
  readonly outcomes: readonly Outcome[];
  readonly sticky?: boolean;
}

/** One line of the last screen. */
export interface Result {
  readonly path: string;
  readonly target: string;
  readonly hook: string;
  readonly verdict: string;
  readonly backend: string;
  readonly seen: string;
  readonly right: boolean;
}

const times = 24;
const { outside, nodeA, nodeB, clientA, a1 } = places;

/** web-1 is pod a1 of node A, web-2 is pod b1 of node B. */
function both(seen: string, hook: Hook, verdict: string): Outcome[] {
  return ['web-1', 'web-2'].map((backend) => ({ backend, seen, hook, verdict }));
}

/** From outside to a node: its own pod sees the client, the other node's pod sees the node, by XDP. */
function throughNode(client: string, node: string, local: 'web-1' | 'web-2'): Outcome[] {
  const remote = local === 'web-1' ? 'web-2' : 'web-1';
  return [
    { backend: local, seen: client, hook: 'nic_ingress', verdict: 'TRANSLATE_REQUEST' },
    { backend: remote, seen: node, hook: 'xdp', verdict: 'FORWARD_REQUEST' },
  ];
}

function refused(hook: Hook): Outcome[] {
  return [{ backend: 'ECONNREFUSED', seen: '-', hook, verdict: 'REJECT_NO_ENDPOINTS' }];
}

export const paths: readonly Path[] = [
  {
    ...{ title: 'pod → ClusterIP', from: 'clientA', protocol: 'tcp', address: '10.96.0.10', port: 80 },
    outcomes: both(clientA[4], 'connect', 'TRANSLATE_SOCKET'),
  },
  {
    ...{ title: 'pod → ClusterIP', from: 'clientA', protocol: 'udp', address: '10.96.0.53', port: 53 },
    outcomes: both(clientA[4], 'pod_ingress', 'TRANSLATE_REQUEST'),
  },
  {
    ...{ title: 'pod → ClusterIP, IPv6', from: 'clientA', protocol: 'tcp', address: 'fd96::40', port: 80 },
    outcomes: both(clientA[6], 'connect', 'TRANSLATE_SOCKET'),
  },
  {
    ...{ title: 'pod → itself by ClusterIP', from: 'a1', protocol: 'udp', address: '10.96.0.53', port: 53 },
    outcomes: [
      { backend: 'web-1', seen: nodeA[4], hook: 'pod_ingress', verdict: 'FORWARD_HAIRPIN' },
      { backend: 'web-2', seen: a1[4], hook: 'pod_ingress', verdict: 'TRANSLATE_REQUEST' },
    ],
  },
  {
    ...{ title: 'node → ClusterIP', from: 'nodeA', protocol: 'tcp', address: '10.96.0.10', port: 80 },
    outcomes: both(nodeA[4], 'connect', 'TRANSLATE_SOCKET'),
  },
  {
    ...{ title: 'node → ClusterIP', from: 'nodeB', protocol: 'sendto', address: '10.96.0.53', port: 53 },
    outcomes: both(nodeB[4], 'sendmsg', 'TRANSLATE_SOCKET'),
  },
  {
    ...{ title: 'outside → NodePort', from: 'outside', protocol: 'tcp', address: nodeA[4], port: 30120 },
    outcomes: throughNode(outside[4], nodeA[4], 'web-1'),
  },
  {
    ...{ title: 'outside → NodePort, IPv6', from: 'outside', protocol: 'tcp', address: nodeB[6], port: 30140 },
    outcomes: throughNode(outside[6], nodeB[6], 'web-2'),
  },
  {
    ...{ title: 'outside → externalIP', from: 'outside', protocol: 'tcp', address: '203.0.113.10', port: 443 },
    outcomes: throughNode(outside[4], nodeA[4], 'web-1'),
  },
  {
    ...{ title: 'outside → externalIP', from: 'outside', protocol: 'udp', address: '203.0.113.10', port: 443 },
    outcomes: throughNode(outside[4], nodeA[4], 'web-1'),
  },
  {
    ...{ title: 'pod, with affinity', from: 'clientA', protocol: 'tcp', address: '10.96.0.60', port: 80, sticky: true },
    outcomes: both(clientA[4], 'connect', 'TRANSLATE_SOCKET'),
  },
  {
    ...{ title: 'outside, with affinity', from: 'outside', protocol: 'tcp', address: nodeA[4], port: 30160, sticky: true },
    outcomes: throughNode(outside[4], nodeA[4], 'web-1'),
  },
  {
    ...{ title: 'pod, no endpoints', from: 'clientA', protocol: 'tcp', address: '10.96.0.70', port: 80 },
    outcomes: refused('connect'),
  },
  {
    ...{ title: 'outside, no endpoints', from: 'outside', protocol: 'tcp', address: nodeA[4], port: 30170 },
    outcomes: refused('xdp'),
  },
];

/** Packets or calls by `VERDICT hook`. */
export type Counters = ReadonlyMap<string, number>;

/** What the verdict counters of both nodes say now, added up. */
export async function readCounters(cluster: Cluster): Promise<Counters> {
  const counters = new Map<string, number>();
  const dumps = await Promise.all(
    nodeNames.map((node) => cluster.dump<{ verdict: string; hooks: Record<string, number> }[]>(node, 'verdicts')),
  );
  for (const { verdict, hooks } of dumps.flat())
    for (const [hook, count] of Object.entries(hooks)) {
      const key = `${verdict} ${hook}`;
      counters.set(key, (counters.get(key) ?? 0) + count);
    }
  return counters;
}

/** A request was acted on, or anything was refused: not what passes by, and not the ways back. */
const acts = /^(TRANSLATE_REQUEST|TRANSLATE_SOCKET|FORWARD_REQUEST|FORWARD_HAIRPIN|REJECT_\w+|DROP_\w+) /;

/** What acted between two looks. */
export function acted(before: Counters, after: Counters): Map<string, number> {
  const difference = [...after].map(([key, count]) => [key, count - (before.get(key) ?? 0)] as const);
  return new Map(difference.filter(([key, count]) => count > 0 && acts.test(key)));
}

function keyOf({ backend, seen }: { readonly backend: string; readonly seen: string }): string {
  return `${backend} ${seen}`;
}

/** What XDP sends on goes the tc way now and then: while its next hop is not known, and once in a while to keep it known. */
const byXdp = 'FORWARD_REQUEST xdp';
const byTc = 'FORWARD_REQUEST nic_ingress';

/** Judges answers and counters of one path. Anything that nobody expected is a line of its own, and wrong. */
export function judge(path: Path, answers: readonly Answer[], hooks: ReadonlyMap<string, number>): Result[] {
  const target = `${endpointText(path.address, path.port)}/${path.protocol === 'tcp' ? 'TCP' : 'UDP'}`;
  const got = new Map<string, { backend: string; seen: string; count: number }>();
  for (const answer of answers) {
    const outcome = { backend: answer.name ?? answer.error ?? 'nothing', seen: answer.seen ?? '-' };
    got.set(keyOf(outcome), { ...outcome, count: (got.get(keyOf(outcome))?.count ?? 0) + 1 });
  }
  // The client must believe throughout that it talks to the Service.
  const unaware = answers.every(
    ({ error, peer, from }) => error !== undefined || ((peer ?? path.address) === path.address && (from ?? path.address) === path.address),
  );
  const happened = path.outcomes.filter((outcome) => got.has(keyOf(outcome)));
  const enough = path.sticky ? happened.length === 1 : happened.length === path.outcomes.length;
  const wantedHooks = new Set(happened.map(({ verdict, hook }) => `${verdict} ${hook}`));
  // A packet or call for each request at least, and no hook that nobody expected.
  const count = [...hooks.values()].reduce((sum, one) => sum + one, 0);
  const acted = [...hooks.keys()].filter((hook) => !(hook === byTc && wantedHooks.has(byXdp)));
  const hooksRight = wantedHooks.size === acted.length && [...wantedHooks].every((hook) => hooks.has(hook)) && count >= times;
  const shown = path.sticky && happened.length > 0 ? happened : path.outcomes;
  const strangers = [...got.values()].filter((one) => !path.outcomes.some((outcome) => keyOf(outcome) === keyOf(one)));
  const base = { path: path.title, target };
  return [
    ...shown.map((outcome) => ({
      ...base,
      hook: hookNames[outcome.hook],
      verdict: outcome.verdict,
      backend: `${outcome.backend} ×${got.get(keyOf(outcome))?.count ?? 0}`,
      seen: outcome.seen,
      right: enough && hooksRight && unaware && strangers.length === 0 && got.has(keyOf(outcome)),
    })),
    ...strangers.map(({ backend, seen, count }) => ({
      ...base,
      ...{ hook: [...hooks.keys()].join(', ') || 'none', verdict: 'not expected', backend: `${backend} ×${count}`, seen, right: false },
    })),
  ];
}

/** Asks along a path and judges what came. Returns its lines and the counters after it. */
export async function walk(cluster: Cluster, path: Path, before: Counters): Promise<{ results: Result[]; after: Counters; hooks: string }> {
  const answers = await cluster.ask(path.from, path.protocol, path.address, path.port, times);
  const after = await readCounters(cluster);
  const hooks = acted(before, after);
  const counted = [...hooks].map(([key, count]) => `${key} +${count}`).join(', ');
  return { results: judge(path, answers, hooks), after, hooks: counted || 'no hook acted' };
}
