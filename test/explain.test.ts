// Does `sluice explain` say of every row of the flow tables what the row says: verdict, who may answer, who is masqueraded? And what does it
// say of a connection that goes nowhere, and of maps that do not hold what the Model says?

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import type { Explanation } from '../control/cli/explain/explanation.ts';
import { explanationLines } from '../control/cli/explain/lines.ts';
import { parseClient, parseTarget } from '../control/cli/explain/question.ts';
import { outcomeOf } from '../control/cli/explain/words.ts';
import { accountOf } from '../control/model/account.ts';
import { affinity } from './flows/affinity.ts';
import { under } from './flows/hooks.ts';
import { masquerade, masqueradeAll } from './flows/masquerade.ts';
import { policy } from './flows/policy.ts';
import { precedence } from './flows/precedence.ts';
import { rangesEverywhere } from './flows/ranges.ts';
import { shapes } from './flows/shapes.ts';
import { sockets } from './flows/sockets.ts';
import { openExplained } from './lib/explained.ts';
import { type Case, expand, titleOf, verdictOf } from './lib/flow.ts';
import { node, objectsOf, service } from './lib/objects.ts';
import { backendPort, type PlaceName } from './lib/places.ts';
import { placeOf } from './lib/walk.ts';
import { modelOf } from './lib/world.ts';

const manifests = fileURLToPath(new URL('./flows/manifests', import.meta.url));
const packets = openExplained(manifests, { hooks: { tc: true, socket: 'off' } });
const calls = openExplained(manifests, { hooks: { tc: true, socket: 'on' } });
const guarding = openExplained(manifests, { hooks: { tc: true, socket: 'off' }, sourceRangesEverywhere: true });
const masquerading = openExplained(manifests, { hooks: { tc: true, socket: 'off' }, masqueradeAll: true });

/** As the plan runner has them: what is not plain it does not answer. */
const rows = [policy, masquerade, precedence, affinity, shapes, sockets].flatMap(expand).filter((flow) => flow.shape === undefined);

function assertSays(explanation: Explanation, flow: Case): void {
  const reached = Object.entries(flow.reaches ?? {});
  if (flow.verdict !== undefined) {
    assert.deepEqual(explanation.verdicts, [flow.verdict]);
    assert.equal(explanation.outcome, outcomeOf(flow.verdict as Explanation['verdicts'][number]));
    assert.deepEqual(explanation.backends, []);
  } else {
    assert.equal(explanation.outcome, 'served');
    const said = explanation.backends.map(({ address, port, masquerade: hidden, verdict }) => {
      const backend = placeOf(address)!;
      assert.equal(port, backendPort);
      assert.equal(verdict, verdictOf(flow, backend));
      return [backend, hidden ? 'nodeA' : flow.from] as const;
    });
    assert.deepEqual(Object.fromEntries(said), flow.reaches, 'who may be chosen, and whom each of them sees');
    assert.deepEqual(
      [...new Set(explanation.verdicts)].sort(),
      [...new Set(reached.map(([place]) => verdictOf(flow, place as PlaceName)))].sort(),
    );
  }
  assert.deepEqual(explanation.differences, [], 'model and kernel agree');
  for (const { masquerade: hidden, masqueradeWhy } of explanation.backends)
    assert.match(masqueradeWhy, hidden ? /^yes/ : /^(no|not needed|never)\b/, 'the reason says the same');
  const chosen = explanation.backends.map(({ address, port }) => `${address} ${port}`).sort();
  const listed = explanation.endpoints.filter((endpoint) => endpoint.in).map(({ address, port }) => `${address} ${port}`);
  if (explanation.backends.length > 0)
    assert.deepEqual([...new Set(listed)].sort(), chosen, 'the endpoints that may be chosen are the backends');
  const text = [...explanationLines(explanation)].join('\n');
  for (const verdict of explanation.verdicts) assert.ok(text.includes(verdict), text);
}

describe('explain says what the flow tables say', () => {
  // A row of packets is asked where the socket hook is off, a row of calls where it serves all.
  for (const flow of rows) {
    const asked = flow.at === 'socket' ? calls : packets;
    if (flow.at === 'socket' && flow.verdict === 'PASS_SOCKET') continue; // its packets are other rows
    if (flow.verdict === 'PASS_ABSTAIN') continue; // likewise
    test(`explain: ${titleOf(flow)}`, () => {
      assertSays(asked.explain(flow), flow);
      const alone = asked.explain(flow, false);
      assert.deepEqual(alone.verdicts, asked.explain(flow).verdicts, 'without an agent the verdict is the same');
      assert.match(alone.unknown.join(), /no agent answers/);
    });
  }
  for (const flow of expand(masqueradeAll).filter((one) => one.shape === undefined))
    test(`explain: ${titleOf(flow)}`, () => assertSays(masquerading.explain(flow), flow));

  for (const flow of expand(rangesEverywhere)) test(`explain: ${titleOf(flow)}`, () => assertSays(guarding.explain(flow), flow));

  test('what the socket hook leaves alone is decided by the packets, and both are shown', () => {
    const left = rows.filter((flow) => flow.verdict === 'PASS_ABSTAIN');
    assert.ok(left.length > 0);
    for (const flow of left) {
      const explanation = calls.explain(flow);
      assert.deepEqual(
        explanation.hooks.map(({ hook, verdict }) => [hook, verdict]),
        [
          ['socket', 'PASS_ABSTAIN'],
          ['pod', 'DROP_SOURCE_RANGE'],
        ],
      );
      assert.match(explanation.hooks[0]!.left!, /source/);
    }
  });

  test("pods' rows where the socket hook serves pods", () => {
    for (const flow of rows.filter(({ at }) => at === 'pod')) {
      const served = under(flow, { tc: true, socket: 'on', xdp: false });
      if (served.flow.at === 'socket') assertSays(calls.explain(served.flow), served.flow);
      else assert.deepEqual(calls.explain(flow).verdicts.length > 0, true);
    }
  });
});

test('a node port on loopback is not served where source ranges hold everywhere (7.4)', () => {
  const world = openExplained(manifests, { hooks: { tc: true, socket: 'on' }, sourceRangesEverywhere: true });
  const flow: Case = {
    name: '',
    rows: '7.4',
    at: 'socket',
    from: 'nodeA',
    to: '',
    family: 4,
    protocol: 'tcp',
    address: '127.0.0.1',
    port: 30018,
  };
  assert.deepEqual([world.explain(flow).verdicts, world.explain(flow).outcome], [['PASS_ABSTAIN'], 'passed']);
  assert.deepEqual(calls.explain(flow).outcome, 'served');
});

describe('why it is no frontend', () => {
  const find = (name: string) =>
    rows.find((flow) => flow.name === name && flow.family === 4 && flow.protocol === 'tcp') ?? assert.fail(name);
  const notes = (name: string) => packets.explain(find(name)).notes.join('\n');

  test('a port that the Service of a ClusterIP does not have', () => {
    assert.match(notes('a port that the ClusterIP does not own'), /Service lab\/web has no port 81\/TCP; its ports are 80\/TCP/);
    assert.match(notes('a port that the ClusterIP does not own'), /10\.96\.0\.10 has frontends on other ports: 80\/TCP, 80\/UDP/);
  });
  test('an address of a ServiceCIDR that no Service has', () =>
    assert.match(
      notes('an address of the Service network that no Service has'),
      /inside the ServiceCIDR 10\.96\.0\.0\/16, and no Service has it/,
    ));
  test('a node port on an address that serves none', () =>
    assert.match(
      notes('a node port is served on primary addresses only'),
      /30010\/TCP is a node port, and 172\.18\.0\.12 is none .* served on .*172\.18\.0\.2/,
    ));
  test("a backend's own address", () =>
    assert.match(notes('a backend by its own address'), /10\.1\.2\.11 is an endpoint of lab\/inside, /));
});

describe('a Service by name', () => {
  const objects = objectsOf(
    node('node-a', ['192.0.2.1']),
    service('web', {
      clusterIP: '10.96.0.1',
      ports: [
        { name: 'http', port: 80 },
        { name: 'dns', port: 53, protocol: 'UDP' },
        { name: 'dns-tcp', port: 53 },
      ],
    }),
    service('one', { clusterIP: '10.96.0.2', ports: [{ port: 8443 }] }),
    service('headless', { clusterIP: 'None' }),
    service('external', { type: 'ExternalName', externalName: 'example.com', clusterIP: undefined, ports: [] }),
    service('waiting', { clusterIP: undefined }),
    service('mesh', { clusterIP: '10.96.0.3' }, { metadata: { labels: { 'service.kubernetes.io/service-proxy-name': 'mesh' } } }),
  );
  const model = modelOf(objects);
  const options = { nodePortAddresses: { primary: true, ranges: [] }, serviceProxyName: undefined };
  const ask = (text: string, family: 4 | 6 = 4) => accountOf(objects, model, options, parseTarget(text, family), []);

  for (const [text, address, port, protocol] of [
    ['default/web:http', '10.96.0.1', 80, 'TCP'],
    ['default/web:80', '10.96.0.1', 80, 'TCP'],
    ['default/web:dns', '10.96.0.1', 53, 'UDP'],
    ['default/one', '10.96.0.2', 8443, 'TCP'],
    ['default/one:8443', '10.96.0.2', 8443, 'TCP'],
  ] as const)
    test(`${text} is ${address}:${port}/${protocol}`, () => assert.deepEqual(ask(text).destination, { address, port, protocol }));

  for (const [text, family, told] of [
    ['default/nobody', 4, /^there is no such Service here; a headless one may be left out/],
    ['default/headless', 4, /^not served: it is headless \(clusterIP None\): the DNS gives the addresses of its pods/],
    ['default/external', 4, /^not served: its type is ExternalName: a name of the DNS/],
    ['default/waiting', 4, /^not served: it has no clusterIP yet/],
    ['default/mesh', 4, /^not served: it is labelled service\.kubernetes\.io\/service-proxy-name="mesh": another proxy's/],
    ['default/web', 4, /^has no port "" that is served; its ports are 80\/TCP \(http\), 53\/UDP \(dns\), 53\/TCP \(dns-tcp\)$/],
    ['default/web:53', 4, /^has no port "53" that is served; its ports are .*53\/UDP \(dns\), 53\/TCP/],
    ['default/web:https', 4, /^has no port "https" that is served/],
    ['default/web:http', 6, /^has no clusterIP of IPv6$/],
  ] as const)
    test(`${text} by IPv${family}: ${told.source}`, () => {
      const { destination, claimants } = ask(text, family);
      assert.deepEqual([destination, claimants.length, claimants[0]!.serves], [undefined, 1, false]);
      assert.match(claimants[0]!.told, told);
    });
});

describe('model and kernel', () => {
  const flow = rows.find(
    ({ name, family, protocol }) => name.startsWith('ClusterIP, Cluster policy: any') && family === 4 && protocol === 'tcp',
  )!;

  test('a frontend that somebody deleted, and one that somebody changed', () => {
    const world = openExplained(manifests, { hooks: { tc: true, socket: 'off' } });
    const key = { address: flow.address, port: flow.port, protocol: 6 };
    const held = world.maps.frontends4.get(key)!;
    world.maps.frontends4.delete(key);
    const gone = world.explain(flow);
    assert.deepEqual(gone.verdicts, ['REJECT_UNOWNED_PORT'], 'the kernel is told of, whatever the model says');
    assert.match(gone.differences.join('\n'), /the kernel has no frontend here, the model has/);
    assert.match([...explanationLines(gone)].join('\n'), /!!! THE KERNEL DOES NOT HOLD WHAT THE MODEL SAYS/);
    world.maps.frontends4.set(key, { ...held, cluster: { first: held.cluster.first, count: 1 } });
    assert.match(world.explain(flow).differences.join('\n'), /the model may choose .*, the kernel may not/);
    world.maps.frontends4.set(key, held);
    assert.deepEqual(world.explain(flow).differences, []);
  });
});

describe('the question', () => {
  test('as people write it', () => {
    assert.deepEqual(parseClient('10.0.0.7'), { address: '10.0.0.7', port: undefined });
    assert.deepEqual(parseClient('[fd00::7]:4711'), { address: 'fd00::7', port: 4711 });
    assert.deepEqual(parseClient('FD00:0::7'), { address: 'fd00::7', port: undefined });
    assert.deepEqual(parseTarget('10.96.0.10:80/tcp', 4), { address: '10.96.0.10', port: 80, protocol: 'TCP' });
    assert.deepEqual(parseTarget('[fd96::10]:53/UDP', 6), { address: 'fd96::10', port: 53, protocol: 'UDP' });
    assert.deepEqual(parseTarget('default/web:http', 4), { service: 'default/web', portName: 'http', family: 4 });
    assert.deepEqual(parseTarget('default/web', 6), { service: 'default/web', portName: '', family: 6 });
  });
  for (const text of [
    '10.96.0.10',
    '10.96.0.10:80',
    '10.96.0.10:0/tcp',
    '10.96.0.10:80/sctp',
    'fd96::10:80/tcp',
    '[fd96::10]:80/tcp',
    'web',
    '',
  ])
    test(`not ${JSON.stringify(text)}`, () => assert.throws(() => parseTarget(text, 4), /--to: given .* allowed:/));
  for (const text of ['web', '10.0.0.1:99999', '10.0.0.1/32', ''])
    test(`not from ${JSON.stringify(text)}`, () => assert.throws(() => parseClient(text), /--from/));
});
