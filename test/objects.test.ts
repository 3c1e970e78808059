// Objects from untyped YAML and JSON: what is read, what is dropped with a Problem, what is refused whole, and that nothing throws.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { SERVICE_LIMITS } from '../control/model/limits.ts';
import type { EndpointSlice, Node, Service, ServiceCIDR } from '../control/source/objects.ts';
import { parseObjects } from '../control/source/parse.ts';
import { endpoint, node, type Raw, service, serviceCIDR, slice } from './lib/objects.ts';

function only<T>(value: unknown): T {
  const { objects, problems, foreign, ignored } = parseObjects(value, 'file.yaml');
  assert.deepEqual({ count: objects.length, problems, foreign, ignored }, { count: 1, problems: [], foreign: [], ignored: [] });
  return objects[0] as T;
}

const readService = (value: Raw): Service => only<Service>(value);
const readSlice = (value: Raw): EndpointSlice => only<EndpointSlice>(value);

describe('a Service', () => {
  it('is read with the defaults of the API', () => {
    assert.deepEqual(readService(service('shop/web', {}, { metadata: { uid: 'a-uid', creationTimestamp: '2026-01-02T03:04:05Z' } })), {
      kind: 'Service',
      key: 'shop/web',
      namespace: 'shop',
      name: 'web',
      origin: 'file.yaml',
      uid: 'a-uid',
      created: Date.UTC(2026, 0, 2, 3, 4, 5),
      proxyName: undefined,
      type: 'ClusterIP',
      headless: false,
      clusterIPs: ['10.96.0.10'],
      ports: [{ name: '', protocol: 'TCP', port: 80, nodePort: 0 }],
      externalIPs: [],
      loadBalancerIPs: [],
      sourceRanges: [],
      internalLocal: false,
      externalLocal: false,
      affinitySeconds: 0,
      healthCheckNodePort: 0,
      refused: false,
      problems: [],
    });
  });

  const values: [sentence: string, given: Raw, expected: Partial<Service>][] = [
    ['without a namespace is in default, as for kubectl', { ...service('x'), metadata: { name: 'web' } }, { key: 'default/web' }],
    ['may start with a digit and be 63 long (1.16)', service(`0${'a'.repeat(62)}`), { name: `0${'a'.repeat(62)}` }],
    ['may be called constructor', service('constructor/constructor'), { key: 'constructor/constructor' }],
    ['with clusterIP None is headless (1.1)', service('web', { clusterIP: 'None' }), { headless: true, clusterIPs: [] }],
    [
      'labelled headless is so, whatever address it has (1.3)',
      service('web', {}, { metadata: { labels: { 'service.kubernetes.io/headless': '' } } }),
      { headless: true, clusterIPs: [], ports: [] },
    ],
    ['of type ExternalName needs nothing else (1.1)', service('web', { type: 'ExternalName', ports: null }), { refused: false, ports: [] }],
    ['without a clusterIP has none yet (1.1)', service('web', { clusterIP: '' }), { clusterIPs: [], refused: false }],
    [
      'has a clusterIP of each family (1.12)',
      service('web', { clusterIPs: ['10.96.0.10', 'FD00::000A'] }),
      { clusterIPs: ['10.96.0.10', 'fd00::a'] },
    ],
    [
      'has sloppy addresses canonicalised (1.13)',
      service('web', { externalIPs: ['010.1.1.1', '::ffff:8.8.8.8'] }),
      { externalIPs: ['10.1.1.1', '8.8.8.8'] },
    ],
    [
      'has padded source ranges trimmed (1.13)',
      service('web', { loadBalancerSourceRanges: [' 10.1.2.3/8 '] }),
      { sourceRanges: ['10.0.0.0/8'] },
    ],
    ['has affinity for three hours by default (5.1)', service('web', { sessionAffinity: 'ClientIP' }), { affinitySeconds: 10_800 }],
    [
      'has the affinity timeout it says (5.1)',
      service('web', { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 86_400 } } }),
      { affinitySeconds: 86_400 },
    ],
    [
      'has the policies it says (2.2)',
      service('web', { internalTrafficPolicy: 'Local', externalTrafficPolicy: 'Local' }),
      { internalLocal: true, externalLocal: true },
    ],
    [
      'has load-balancer addresses of ipMode VIP only (1.14)',
      service(
        'web',
        {},
        {
          status: {
            loadBalancer: {
              ingress: [
                { ip: '192.0.2.1' },
                { ip: '192.0.2.2', ipMode: 'VIP' },
                { ip: '192.0.2.3', ipMode: 'Proxy' },
                { hostname: 'lb.example' },
              ],
            },
          },
        },
      ),
      { loadBalancerIPs: ['192.0.2.1', '192.0.2.2'], problems: [] },
    ],
    [
      'labelled for another proxy says whose it is (1.2)',
      service('web', {}, { metadata: { labels: { 'service.kubernetes.io/service-proxy-name': 'mesh' } } }),
      { proxyName: 'mesh' },
    ],
    [
      'may use one port and one name as TCP and UDP (3.1)',
      service('web', { ports: [{ port: 53 }, { port: 53, protocol: 'UDP' }] }),
      { refused: false, problems: [] },
    ],
  ];
  for (const [sentence, given, expected] of values) {
    it(sentence, () => {
      const read = readService(given);
      for (const [field, value] of Object.entries(expected)) assert.deepEqual(read[field as keyof Service], value, field);
    });
  }

  it('works with 5,000 ports', () => {
    const ports = Array.from({ length: 5_000 }, (_, i) => ({ name: `p${i}`, port: i + 1 }));
    const read = readService(service('web', { ports }));
    assert.equal(read.refused, false);
    assert.equal(read.ports.length, 5_000);
  });

  const refused: [sentence: string, spec: Raw, field: string, reason: string][] = [
    ['an address that is none as clusterIP', { clusterIP: '10.96.0' }, 'spec.clusterIP', 'InvalidClusterIP'],
    ['a loopback clusterIP', { clusterIP: '127.0.0.1' }, 'spec.clusterIP', 'InvalidClusterIP'],
    ['two clusterIPs of one family', { clusterIPs: ['10.96.0.10', '10.96.0.11'] }, 'spec.clusterIPs[1]', 'InvalidClusterIP'],
    ['clusterIPs that contradict clusterIP', { clusterIPs: ['10.96.0.11'] }, 'spec.clusterIPs[0]', 'InvalidClusterIP'],
    ['a clusterIP that is a number', { clusterIP: 10.96 }, 'spec.clusterIP', 'InvalidClusterIP'],
    ['port 0', { ports: [{ port: 0 }] }, 'spec.ports[0].port', 'InvalidPort'],
    ['port 70000', { ports: [{ port: 80 }, { name: 'b', port: 70_000 }] }, 'spec.ports[1].port', 'InvalidPort'],
    ['port 80.5', { ports: [{ port: 80.5 }] }, 'spec.ports[0].port', 'InvalidPort'],
    ['port "80"', { ports: [{ port: '80' }] }, 'spec.ports[0].port', 'InvalidPort'],
    ['node port 65536', { ports: [{ port: 80, nodePort: 65_536 }] }, 'spec.ports[0].nodePort', 'InvalidPort'],
    ['an unknown protocol', { ports: [{ port: 80, protocol: 'QUIC' }] }, 'spec.ports[0].protocol', 'InvalidValue'],
    [
      'one port twice',
      {
        ports: [
          { name: 'a', port: 80 },
          { name: 'b', port: 80 },
        ],
      },
      'spec.ports[1]',
      'DuplicatePort',
    ],
    [
      'one port name twice',
      {
        ports: [
          { name: 'a', port: 80 },
          { name: 'a', port: 81 },
        ],
      },
      'spec.ports[1]',
      'DuplicatePort',
    ],
    [
      'one node port twice',
      {
        ports: [
          { name: 'a', port: 1, nodePort: 9 },
          { name: 'b', port: 2, nodePort: 9 },
        ],
      },
      'spec.ports[1]',
      'DuplicatePort',
    ],
    ['a port name that is no label', { ports: [{ name: 'a:b', port: 80 }] }, 'spec.ports[0].name', 'InvalidName'],
    ['a port that is null', { ports: [null] }, 'spec.ports[0].port', 'InvalidPort'],
    ['no ports', { ports: [] }, 'spec.ports', 'NoPorts'],
    ['an unknown type', { type: 'Gateway' }, 'spec.type', 'InvalidValue'],
    ['an unknown policy', { externalTrafficPolicy: 'local' }, 'spec.externalTrafficPolicy', 'InvalidValue'],
    ['an unknown affinity', { sessionAffinity: 'Cookie' }, 'spec.sessionAffinity', 'InvalidValue'],
    [
      'an affinity timeout over a day (5.1)',
      { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 86_401 } } },
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
      'InvalidValue',
    ],
    [
      'an affinity timeout of 0 (5.1)',
      { sessionAffinity: 'ClientIP', sessionAffinityConfig: { clientIP: { timeoutSeconds: 0 } } },
      'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
      'InvalidValue',
    ],
    [
      'a source range that is none: left out, it might open the Service',
      { loadBalancerSourceRanges: ['10.0.0.0'] },
      'spec.loadBalancerSourceRanges[0]',
      'InvalidSourceRange',
    ],
    ['source ranges that are no list', { loadBalancerSourceRanges: '10.0.0.0/8' }, 'spec.loadBalancerSourceRanges', 'InvalidSourceRange'],
    [
      'more ports than the limit',
      { ports: Array.from({ length: SERVICE_LIMITS.ports + 1 }, (_, i) => ({ name: `p${i}`, port: i + 1 })) },
      'spec.ports',
      'LimitExceeded',
    ],
    [
      'more externalIPs than the limit',
      { externalIPs: Array(SERVICE_LIMITS.addresses + 1).fill('192.0.2.1') },
      'spec.externalIPs',
      'LimitExceeded',
    ],
  ];
  for (const [sentence, spec, field, reason] of refused) {
    it(`is refused whole for ${sentence}, naming the field`, () => {
      const read = readService(service('web', spec));
      assert.equal(read.refused, true);
      const problem = read.problems.find((one) => one.field === field);
      assert.deepEqual([problem?.object, problem?.origin, problem?.reason], ['Service default/web', 'file.yaml', reason]);
      assert.match(problem!.message, /the Service is refused$/);
    });
  }

  for (const address of [
    '239.1.1.1',
    '255.255.255.255',
    '127.0.0.1',
    '0.0.0.0',
    '169.254.1.1',
    '0.1.2.3',
    'fe80::1',
    'ff02::1',
    'web',
    7,
    null,
  ]) {
    it(`loses the externalIP and the load-balancer address ${JSON.stringify(address)} with a Problem each, and works`, () => {
      const status = { loadBalancer: { ingress: [{ ip: address ?? 5 }, { ip: '192.0.2.9' }] } };
      const read = readService(service('web', { externalIPs: ['192.0.2.8', address] }, { status }));
      assert.deepEqual([read.refused, read.externalIPs, read.loadBalancerIPs], [false, ['192.0.2.8'], ['192.0.2.9']]);
      assert.deepEqual(
        read.problems.map((problem) => [problem.field, problem.reason]),
        [
          ['spec.externalIPs[1]', 'InvalidAddress'],
          ['status.loadBalancer.ingress[0].ip', 'InvalidAddress'],
        ],
      );
    });
  }
});

describe('an EndpointSlice', () => {
  it('is read with the conditions of 1.6 and the first address of 1.7', () => {
    const given = slice('shop/web', 'web-1', [
      {
        addresses: ['10.0.0.1', '10.0.0.2'],
        nodeName: 'a',
        hints: { forNodes: [{ name: 'a' }], forZones: [{ name: 'z1' }, { name: 'z2' }] },
      },
      endpoint('10.0.0.3', { conditions: { ready: null, serving: false, terminating: true } }),
    ]);
    const read = readSlice(given);
    assert.deepEqual(read.endpoints, [
      { address: '10.0.0.1', nodeName: 'a', ready: true, serving: true, terminating: false, nodeHints: ['a'], zoneHints: ['z1', 'z2'] },
      { address: '10.0.0.3', nodeName: undefined, ready: true, serving: false, terminating: true, nodeHints: [], zoneHints: [] },
    ]);
    assert.deepEqual([read.key, read.service, read.family, read.problems], ['shop/web-1', 'shop/web', 4, []]);
  });

  it('says when what changed it happened; one that cannot be read says nothing', () => {
    const at = (time: unknown) =>
      readSlice(
        slice('web', 'web-1', ['10.0.0.1'], {
          metadata: {
            annotations: { 'endpoints.kubernetes.io/last-change-trigger-time': time },
            labels: { 'kubernetes.io/service-name': 'web' },
          },
        }),
      );
    assert.equal(at('2026-01-02T03:04:05.25Z').triggeredAt, Date.UTC(2026, 0, 2, 3, 4, 5, 250));
    for (const time of ['yesterday', '', null, 7]) assert.deepEqual([at(time).triggeredAt, at(time).problems], [0, []]);
  });

  const ignored: [sentence: string, more: Raw][] = [
    ['labelled headless (1.3)', { metadata: { labels: { 'kubernetes.io/service-name': 'web', 'service.kubernetes.io/headless': '' } } }],
    ['without a Service (1.4)', { metadata: { labels: {} } }],
    ['with an empty Service name (1.4)', { metadata: { labels: { 'kubernetes.io/service-name': '' } } }],
    ['of domain names (1.4)', { addressType: 'FQDN' }],
  ];
  for (const [sentence, more] of ignored) {
    it(`${sentence} belongs to no Service, without a Problem`, () => {
      const read = readSlice(slice('web', 'web-1', ['10.0.0.1'], more));
      assert.deepEqual([read.service, read.endpoints, read.problems], [undefined, [], []]);
    });
  }

  const ports: [sentence: string, port: unknown, kept: boolean, field?: string][] = [
    ['without a name is the unnamed one', { port: 80 }, true],
    ['called constructor works', { name: 'constructor', port: 80 }, true],
    ['whose name is null is ignored (1.5)', { name: null, port: 80 }, false],
    ['that is absent is ignored (1.5)', { name: '' }, false],
    ['that is null is ignored (1.5)', { name: '', port: null }, false],
    ['0 is ignored (1.5)', { name: '', port: 0 }, false],
    ['−1 is dropped', { name: '', port: -1 }, false, 'ports[0].port'],
    ['70000 is dropped', { name: '', port: 70_000 }, false, 'ports[0].port'],
    ['2147483647 is dropped', { name: '', port: 2_147_483_647 }, false, 'ports[0].port'],
    ['80.5 is dropped', { name: '', port: 80.5 }, false, 'ports[0].port'],
    ['"80" is dropped', { name: '', port: '80' }, false, 'ports[0].port'],
    ['with a name that is a list is dropped', { name: [], port: 80 }, false, 'ports[0].name'],
    ['that is a word is dropped', 'http', false, 'ports[0]'],
  ];
  for (const [sentence, port, kept, field] of ports) {
    it(`port ${sentence}${field === undefined ? '' : ' with a Problem'}, the rest serves`, () => {
      const read = readSlice(slice('web', 'web-1', ['10.0.0.1'], { ports: [port, { name: 'rest', port: 8080 }] }));
      assert.equal(read.ports.length, kept ? 2 : 1);
      assert.deepEqual(read.ports.at(-1), { name: 'rest', protocol: 'TCP', port: 8080 });
      assert.deepEqual(
        read.problems.map((problem) => [problem.object, problem.origin, problem.field]),
        field === undefined ? [] : [['EndpointSlice default/web-1', 'file.yaml', field]],
      );
    });
  }

  const dropped = [
    '127.0.0.1',
    '0.0.0.0',
    '239.1.1.1',
    '255.255.255.255',
    '0.1.2.3',
    '169.254.0.1',
    'fd00::1',
    'host',
    '',
    '10.0.0.1\u001b[31m',
  ];
  for (const address of dropped) {
    it(`loses the endpoint ${JSON.stringify(address)} with a Problem, the rest serves`, () => {
      const read = readSlice(slice('web', 'web-1', ['10.0.0.1', address, '010.000.000.002', '::ffff:10.0.0.3']));
      assert.deepEqual(
        read.endpoints.map((one) => one.address),
        ['10.0.0.1', '10.0.0.2', '10.0.0.3'],
      );
      assert.deepEqual(
        read.problems.map((problem) => [problem.field, problem.reason]),
        [['endpoints[1].addresses[0]', 'InvalidAddress']],
      );
    });
  }

  it('tells of 20,000 bad ports in a few Problems that say how many there are', () => {
    const read = readSlice(slice('web', 'web-1', ['10.0.0.1'], { ports: Array(20_000).fill({ name: '', port: -1 }) }));
    assert.equal(read.problems.length, 17);
    assert.match(read.problems.at(-1)!.message, /^19984 more/);
  });
});

describe('a Node', () => {
  it('has the first address of each family, InternalIP before ExternalIP, its zone and its pod networks', () => {
    const addresses = [
      { type: 'Hostname', address: 'a' },
      { type: 'ExternalIP', address: 'fd00::9' },
      { type: 'ExternalIP', address: '203.0.113.1' },
      { type: 'InternalIP', address: '192.168.0.2' },
      { type: 'InternalIP', address: '192.168.0.3' },
    ];
    const read = only<Node>({
      ...node('a', [], 'z1', { podCIDR: '10.1.0.0/24', podCIDRs: ['10.1.0.0/24', 'fd01::/64'] }),
      status: { addresses },
    });
    assert.deepEqual([read.addresses, read.zone, read.podCIDRs], [['192.168.0.2', 'fd00::9'], 'z1', ['10.1.0.0/24', 'fd01::/64']]);
  });
  const leaving: [sentence: string, spec: Raw, metadata: Raw, expected: boolean][] = [
    ['is there to stay', { taints: [{ key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' }] }, {}, false],
    ['that is being deleted leaves (12.3)', {}, { deletionTimestamp: '2026-01-02T03:04:05Z' }, true],
    [
      'that the autoscaler is about to delete leaves (12.3)',
      { taints: [{ key: 'ToBeDeletedByClusterAutoscaler', value: '1767322800' }] },
      {},
      true,
    ],
    ['with taints that are none stays', { taints: 'ToBeDeletedByClusterAutoscaler' }, {}, false],
  ];
  for (const [sentence, spec, metadata, expected] of leaving) {
    it(sentence, () => {
      const raw = node('a', ['192.168.0.2'], undefined, spec);
      assert.equal(only<Node>({ ...raw, metadata: { name: 'a', ...metadata } }).leaving, expected);
    });
  }
  it('without podCIDRs has its podCIDR', () => {
    assert.deepEqual(only<Node>(node('a', [], undefined, { podCIDR: '10.1.0.0/24' })).podCIDRs, ['10.1.0.0/24']);
  });
});

describe('a ServiceCIDR', () => {
  it('has its networks, and a Problem for what is none', () => {
    const read = only<ServiceCIDR>(serviceCIDR('kubernetes', ['10.96.0.0/16', 'x', 'FD00::/108']));
    assert.deepEqual(read.cidrs, ['10.96.0.0/16', 'fd00::/108']);
    assert.deepEqual(
      read.problems.map((problem) => problem.field),
      ['spec.cidrs[1]'],
    );
  });
});

describe('what is in a value', () => {
  const list = {
    apiVersion: 'v1',
    kind: 'List',
    items: [service('a'), { apiVersion: 'v1', kind: 'ServiceList', items: [{ metadata: { name: 'b' } }] }],
  };
  it('a List, also one inside another, gives its items; a ServiceList’s items need no kind', () => {
    const { objects, foreign } = parseObjects(list);
    assert.deepEqual([objects.map((one) => one.key), foreign], [['default/a', 'default/b'], []]);
  });
  it('other kinds are counted, also a Service of another group', () => {
    const knative = { apiVersion: 'serving.knative.dev/v1', kind: 'Service', metadata: { name: 'x' } };
    const { objects, ignored, problems } = parseObjects({
      ...list,
      items: [{ apiVersion: 'apps/v1', kind: 'Deployment' }, knative, { apiVersion: 'v1', kind: 'constructor' }],
    });
    assert.deepEqual([objects, problems, ignored], [[], [], ['apps/v1 Deployment', 'serving.knative.dev/v1 Service', 'v1 constructor']]);
  });
  it('a version we do not read is a Problem', () => {
    const { objects, problems } = parseObjects({ ...slice('web', 'web-1', []), apiVersion: 'discovery.k8s.io/v1beta1' });
    assert.deepEqual([objects, problems.map((problem) => problem.reason)], [[], ['UnsupportedVersion']]);
  });
  for (const name of [undefined, '', 'A', '__proto__', 'a b', 'x'.repeat(64), 5, 'web\u001b[2J', '-a', 'a.b']) {
    it(`a Service called ${JSON.stringify(name)} is a Problem`, () => {
      const { objects, problems } = parseObjects({ ...service('x'), metadata: { name } });
      assert.deepEqual([objects, problems.map((problem) => problem.reason)], [[], ['InvalidName']]);
    });
  }
  for (const value of [null, 5, 'text', [], {}, { kind: 'Service' }, { kind: 5, apiVersion: 'v1' }]) {
    it(`${JSON.stringify(value)} is no Kubernetes object`, () => assert.equal(parseObjects(value).foreign.length, 1));
  }
});

describe('whatever the value', () => {
  const keys = fc.constantFrom(
    ...[
      'spec',
      'metadata',
      'status',
      'labels',
      'ports',
      'port',
      'name',
      'endpoints',
      'addresses',
      'clusterIP',
      'clusterIPs',
      'conditions',
      'hints',
    ],
    ...[
      'forZones',
      'loadBalancer',
      'ingress',
      'ip',
      'items',
      'kind',
      'apiVersion',
      'cidrs',
      'addressType',
      '__proto__',
      'constructor',
      'nodePort',
    ],
  );
  const leaf = fc.oneof(
    fc.constantFrom(
      'v1',
      'Service',
      'EndpointSlice',
      'List',
      'discovery.k8s.io/v1',
      'IPv4',
      '10.0.0.1',
      'web',
      'None',
      80,
      -1,
      70_000,
      Number.NaN,
    ),
    fc.anything(),
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof({ maxDepth: 6 }, leaf, fc.array(tie('tree'), { maxLength: 4 }), fc.dictionary(keys, tie('tree'), { maxKeys: 6 })),
  }));
  const kinds = fc.constantFrom(
    { apiVersion: 'v1', kind: 'Service', metadata: { name: 'web' } },
    {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: 'web', labels: { 'kubernetes.io/service-name': 'web' } },
    },
    { apiVersion: 'v1', kind: 'Node', metadata: { name: 'web' } },
    { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR', metadata: { name: 'web' } },
    { apiVersion: 'v1', kind: 'List' },
  );
  it('reading never throws, and what is kept is within range', () => {
    const wild = fc.oneof(
      tree,
      fc.tuple(kinds, fc.dictionary(keys, tree)).map(([base, rest]) => ({ ...rest, ...base })),
    );
    fc.assert(
      fc.property(wild, (value) => {
        for (const object of parseObjects(value).objects) {
          if (object.kind === 'Service') for (const { port } of object.ports) assert.ok(port >= 1 && port <= 65535);
          if (object.kind === 'EndpointSlice') for (const { port } of object.ports) assert.ok(port >= 1 && port <= 65535);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});
