// How does an explanation look to somebody who was woken by it? What becomes of the connection first, then why, then everything that was
// looked at; what is wrong stands out.

import { align } from '../table.ts';
import { durationText, endpointText, printable } from '../text.ts';
import type { Explanation } from './explanation.ts';
import { HOOKS, verdictWords } from './words.ts';

const OUTCOMES = { served: 'SERVED', passed: 'NOT OURS', denied: 'DENIED' } as const;

const KINDS = {
  ClusterIP: 'the ClusterIP',
  LoadBalancer: 'a load balancer address',
  ExternalIP: 'an external IP',
  External: 'an external IP or load balancer address',
} as const;

const WHO = { node: 'the node itself', pod: 'a pod of this node', outside: 'outside this node' } as const;

function portText(explanation: Explanation): string {
  const { frontend } = explanation;
  if (frontend === null) return 'none';
  const name =
    frontend.service === null ? `#${frontend.frontendId}` : `${frontend.service}${frontend.portName ? `:${frontend.portName}` : ''}`;
  const { protocol } = explanation.to;
  const what =
    frontend.kind === 'NodePort'
      ? `node port ${frontend.port}/${protocol}`
      : `${endpointText(frontend.address, frontend.port)}/${protocol}, ${KINDS[frontend.kind]}`;
  return `${what} of Service ${printable(name)}`;
}

/** How many of the backends a verdict is about, where backends may be chosen. */
function shareText({ backends }: Explanation, verdict: string): string {
  const count = backends.filter((backend) => backend.verdict === verdict).length;
  if (backends.length === 0) return '';
  return backends.length === 1 ? ', one backend' : `, ${count} of ${backends.length} backends`;
}

function age(seconds: number | null): string {
  return seconds === null ? 'some time' : durationText(seconds);
}

function* pairs(rows: readonly (readonly [label: string, texts: readonly string[]])[]): Generator<string> {
  const width = Math.max(...rows.map(([label]) => label.length));
  for (const [label, texts] of rows) {
    for (const [i, text] of texts.entries()) yield `${(i === 0 ? label : '').padEnd(width)}  ${text}`;
  }
}

function hookTexts({ hooks, acting }: Explanation): string[] {
  const left = hooks.filter((hook) => hook.left !== null).map(({ hook, left: why }) => `${HOOKS[hook]} leaves it alone: ${why}`);
  return [...left, ...acting.map(printable)];
}

function affinityText({ affinity }: Explanation): string | undefined {
  if (affinity === null) return undefined;
  const ends = affinity.endsInSeconds === 0 ? 'expired' : `ends in ${age(affinity.endsInSeconds)}`;
  return `${affinity.backend}, last used ${age(affinity.ageSeconds)} ago, ${ends}${affinity.counts ? '' : ': not followed, another is chosen'} (5)`;
}

function flowTexts({ flows }: Explanation): string[] {
  return flows.map(
    ({ clientPort, backend, seenAs, confirmed, ageSeconds }) =>
      `from port ${clientPort}: goes to ${backend} as ${seenAs}, ${confirmed ? 'answered' : 'not answered yet'}, ${age(ageSeconds)} ago; its packets are not matched again (9.1)`,
  );
}

function* tables(explanation: Explanation): Generator<string> {
  const { backends, endpoints } = explanation;
  if (backends.length > 0) {
    yield '';
    yield* align(
      [{ title: 'BACKEND' }, { title: 'PLACE' }, { title: 'VERDICT' }, { title: "SEES THE NODE'S ADDRESS" }],
      backends.map(({ address, port, place, verdict, masqueradeWhy }) => [endpointText(address, port), place, verdict, masqueradeWhy]),
    );
  }
  if (endpoints.length > 0) {
    yield '';
    yield* align(
      [{ title: 'ENDPOINT' }, { title: 'NODE' }, { title: 'MAY BE CHOSEN' }, { title: 'BECAUSE' }, { title: 'SLICE' }],
      endpoints.map(({ address, port, nodeName, in: chosen, why, slice }) => [
        port === null ? address : endpointText(address, port),
        printable(nodeName ?? '-'),
        chosen ? 'yes' : 'no',
        printable(why),
        printable(slice),
      ]),
    );
  }
}

function* listed(title: string, texts: readonly string[]): Generator<string> {
  if (texts.length === 0) return;
  yield '';
  yield title;
  for (const text of texts) yield `  ${printable(text)}`;
}

/** For people. */
export function* explanationLines(explanation: Explanation): Generator<string> {
  const { from, to, differences } = explanation;
  const client = from.port === null ? from.address : endpointText(from.address, from.port);
  yield `${client} to ${endpointText(to.address, to.port)}/${to.protocol}`;
  yield '';
  const affinity = affinityText(explanation);
  const flows = flowTexts(explanation);
  const rows: [string, string[]][] = [
    [
      OUTCOMES[explanation.outcome],
      explanation.verdicts.map((verdict) => `${verdict}${shareText(explanation, verdict)}: ${verdictWords(verdict)}`),
    ],
    ['client', [`${WHO[from.who]}: ${printable(from.why)}`]],
    ['frontend', [portText(explanation)]],
  ];
  if (explanation.sources !== null) rows.push(['sources', [explanation.sources]]);
  if (explanation.branch !== null) rows.push(['policy', [explanation.branch]]);
  if (explanation.choice !== null) rows.push(['choice', [explanation.choice]]);
  if (affinity !== undefined) rows.push(['affinity', [affinity]]);
  rows.push(['hook', hookTexts(explanation)]);
  if (flows.length > 0) rows.push(['flows', flows]);
  yield* pairs(rows);
  yield* listed('!!! THE KERNEL DOES NOT HOLD WHAT THE MODEL SAYS: "sluice check" lists all of it', differences);
  yield* listed('to know', explanation.notes);
  yield* tables(explanation);
  yield* listed(
    'Problems',
    explanation.problems.map(
      ({ object, field, reason, message }) => `${object}${field === undefined ? '' : ` ${field}`}: ${reason}: ${message}`,
    ),
  );
  yield* listed('not known', explanation.unknown);
}
