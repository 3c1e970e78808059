// What the objects mean: which frontends a Service has and which endpoints serve them. Rows cite docs/semantics.md.

import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { buildModel, changedIn, type ModelOptions } from '../control/model/build.ts';
import { SERVICE_LIMITS } from '../control/model/limits.ts';
import type { Backend, Model, NodeFacts, ServicePort } from '../control/model/model.ts';
import { nodeFacts, nodePortAddresses, podPrefixes } from '../control/model/node.ts';
import { parseObjects } from '../control/source/parse.ts';
import { objectStore } from '../control/source/store.ts';
import { endpoint, node, objectsOf, type Raw, service, serviceCIDR, slice } from './lib/objects.ts';

const HERE: NodeFacts = {
  name: 'here',
  zone: 'east',
  primaryAddresses: ['192.168.0.1', 'fd00:1::1'],
  localAddresses: ['192.168.0.1', 'fd00:1::1'],
  podCIDRs: ['10.1.0.0/24'],
};
const OPTIONS: ModelOptions = { serviceCIDRs: [], serviceProxyName: undefined, detectLocal: { mode: 'PodInterfaces' } };

/** All of a Model as plain values. */
function whole(model: Model) {
  return { ...model, services: [...model.services] };
}

function build(manifests: readonly Raw[], facts: NodeFacts = HERE, options: Partial<ModelOptions> = {}): Model {
  return buildModel(objectsOf(...manifests), facts, { ...OPTIONS, ...options });
}

function portsOf(model: Model, key = 'default/web'): readonly ServicePort[] {
  return model.services.get(key)?.ports ?? [];
}

function onlyPort(model: Model): ServicePort {
  const [port, ...others] = portsOf(model);
  assert.equal(others.length, 0);
  assert.ok(port, 'the Service is in the model');
  return port;
}

function addresses(backends: readonly Backend[]): string[] {
  return backends.map(({ address, port }) => `${address}:${port}`);
}

function reasons(model: Model): string[] {
  // Without Node objects every model says so: that is a test of its own.
  return model.problems.map((problem) => problem.reason).filter((reason) => reason !== 'NoNodeObject');
}

describe('which Services are served', () => {
  const label = (value: string): { metadata: Raw } => ({ metadata: { labels: { 'service.kubernetes.io/service-proxy-name': value } } });
  const rows: [sentence: string, manifest: Raw, served: boolean, reasons: string[]][] = [
    ['one with a ClusterIP is', service('web'), true, ['NoEndpointSlices']],
    ['a headless one is not (1.1)', service('web', { clusterIP: 'None' }), false, []],
    ['an ExternalName is not, even if a clusterIP lingers (1.1)', service('web', { type: 'ExternalName' }), false, []],
    ['one without a clusterIP is not, and says so (1.1)', service('web', { clusterIP: '' }), false, ['NoClusterIP']],
    ['one that is invalid in itself is not, and says so', service('web', { ports: [{ port: 0 }] }), false, ['InvalidPort']],
    ['one of another proxy is not (1.2)', service('web', {}, label('mesh')), false, []],
    ['one with our proxy name is (1.2)', service('web', {}, label('ours')), true, ['NoEndpointSlices']],
  ];
  for (const [sentence, manifest, served, expected] of rows) {
    it(sentence, () => {
      const model = build([manifest, service('other', { clusterIP: '10.96.0.11' }), slice('other', 'o', ['10.0.0.9'])], HERE, {
        serviceProxyName: 'ours',
      });
      assert.equal(model.services.has('default/web'), served);
      assert.ok(model.services.has('default/other'), 'the other Service does not notice');
      assert.deepEqual(reasons(model), expected);
    });
  }

  it('an SCTP port is a Problem, the Service’s other ports work', () => {
    const ports = [
      { name: 'a', port: 1, protocol: 'SCTP' },
      { name: 'b', port: 2 },
    ];
    const model = build([service('web', { ports }), slice('web', 's', [])]);
    assert.deepEqual([onlyPort(model).portName, reasons(model)], ['b', ['UnsupportedProtocol']]);
    assert.equal(model.problems.at(-1)?.field, 'spec.ports[0].protocol');
  });

  it('one over the limit of frontends is refused whole', () => {
    const ports = Array.from({ length: 5_000 }, (_, i) => ({ name: `p${i}`, port: i + 1 }));
    const externalIPs = Array.from({ length: 20 }, (_, i) => `192.0.2.${i + 1}`);
    const model = build([service('web', { ports, externalIPs })]);
    assert.deepEqual([model.services.size, reasons(model).includes('LimitExceeded')], [0, true]);
  });

  it('one over the limit of backends is refused whole', () => {
    const ports = Array.from({ length: 1_000 }, (_, i) => ({ name: `p${i}`, port: i + 1 }));
    const many = Array.from({ length: SERVICE_LIMITS.backends / 1_000 + 1 }, (_, i) => `10.0.${i >> 8}.${i & 255 || 1}`);
    const model = build([service('web', { ports }), slice('web', 's', many, { ports })]);
    assert.deepEqual([model.services.size, reasons(model)], [0, ['LimitExceeded']]);
  });

  it('5,000 ports are served', () => {
    const ports = Array.from({ length: 5_000 }, (_, i) => ({ name: `p${i}`, port: i + 1 }));
    const model = build([service('web', { ports }), slice('web', 's', ['10.0.0.1', '10.0.0.2'], { ports })]);
    assert.deepEqual([portsOf(model).length, reasons(model)], [5_000, []]);
    assert.deepEqual(addresses(portsOf(model)[4_999]!.cluster), ['10.0.0.1:5000', '10.0.0.2:5000']);
  });
});

describe('which frontends a Service port has', () => {
  const text = (port: ServicePort): string[] => port.frontends.map(({ kind, address, port: number }) => `${kind} ${address} ${number}`);
  const status = { loadBalancer: { ingress: [{ ip: '192.0.2.1' }, { ip: '192.0.2.2', ipMode: 'Proxy' }, { ip: '2001:db8::1' }] } };
  const rows: [sentence: string, spec: Raw, expected: string[]][] = [
    ['its ClusterIP', {}, ['ClusterIP 10.96.0.10 80']],
    [
      'its NodePort, whatever the number (3.3)',
      { ports: [{ port: 80, nodePort: 81 }] },
      ['ClusterIP 10.96.0.10 80', 'NodePort 0.0.0.0 81'],
    ],
    ['none for nodePort 0 (3.5)', { type: 'LoadBalancer', ports: [{ port: 80, nodePort: 0 }] }, ['ClusterIP 10.96.0.10 80']],
    ['its externalIPs on any type (3.6)', { externalIPs: ['192.0.2.7'] }, ['ClusterIP 10.96.0.10 80', 'ExternalIP 192.0.2.7 80']],
    [
      'an address listed twice once, as ClusterIP before ExternalIP',
      { externalIPs: ['192.0.2.7', '10.96.0.10', '192.0.2.7'] },
      ['ClusterIP 10.96.0.10 80', 'ExternalIP 192.0.2.7 80'],
    ],
  ];
  for (const [sentence, spec, expected] of rows) {
    it(sentence, () => assert.deepEqual(text(onlyPort(build([service('web', spec), slice('web', 's', [])]))), expected));
  }

  it('its load-balancer addresses of ipMode VIP, not gated on the type (1.14)', () => {
    const model = build([service('web', { externalIPs: ['192.0.2.1'] }, { status }), slice('web', 's', [])]);
    assert.deepEqual(text(onlyPort(model)), ['ClusterIP 10.96.0.10 80', 'LoadBalancer 192.0.2.1 80']);
    assert.deepEqual(reasons(model), ['NoClusterIPOfFamily'], 'the IPv6 one is not served: the Service has no IPv6');
  });

  describe("external IPs are the operator's to allow (3.7)", () => {
    const spec = { externalIPs: ['192.0.2.7', '198.51.100.7', '10.96.0.10'] };
    const built = (externalIPs: ModelOptions['externalIPs'], more: Raw = {}) =>
      build([service('web', { ...spec, ...more }), slice('web', 's', [])], HERE, externalIPs === undefined ? {} : { externalIPs });
    const told = (model: Model) => model.problems.filter(({ object }) => object === 'Service default/web');

    it('all of them where nothing is said', () =>
      assert.deepEqual(text(onlyPort(built(undefined))).slice(1), ['ExternalIP 192.0.2.7 80', 'ExternalIP 198.51.100.7 80']));
    it('none where they are switched off, each told once, and what is its ClusterIP stays that', () => {
      const model = built({ served: false, allowed: undefined });
      assert.deepEqual(text(onlyPort(model)), ['ClusterIP 10.96.0.10 80']);
      assert.deepEqual(
        told(model).map(({ field, reason, message }) => [field, reason, message]),
        ['192.0.2.7', '198.51.100.7'].map((address) => [
          'spec.externalIPs',
          'ExternalIPsOff',
          `${address} is not served: external IPs are switched off by sluice.externalIPs`,
        ]),
      );
    });
    it('those of the networks that are allowed', () => {
      const model = built({ served: true, allowed: ['192.0.2.0/24', '2001:db8::/32'] });
      assert.deepEqual(text(onlyPort(model)), ['ClusterIP 10.96.0.10 80', 'ExternalIP 192.0.2.7 80']);
      assert.deepEqual(
        told(model).map(({ reason, message }) => [reason, /^198\.51\.100\.7 .*192\.0\.2\.0\/24, 2001:db8::\/32/.test(message)]),
        [['ExternalIPNotAllowed', true]],
      );
    });
    it('none where no network is allowed', () => assert.deepEqual(told(built({ served: true, allowed: [] })).length, 2));
    it('a refused one brings no external policy with it', () => {
      const policy = { externalTrafficPolicy: 'Local' };
      assert.equal(onlyPort(built(undefined, policy)).externalLocal, true);
      assert.equal(onlyPort(built({ served: false, allowed: undefined }, policy)).externalLocal, false);
    });
  });

  it('source ranges hold everywhere where the operator says so (7.4)', () => {
    const spec = {
      loadBalancerSourceRanges: ['192.0.2.0/24'],
      clusterIPs: ['10.96.0.10', 'fd00::a'],
      ports: [{ port: 80, nodePort: 30_080 }],
    };
    const built = (sourceRangesEverywhere: boolean) =>
      build([service('web', spec), slice('web', 's', [])], HERE, { sourceRangesEverywhere });
    assert.deepEqual(
      portsOf(built(true)).map((port) => port.sourceRangesEverywhere),
      [true, true],
    );
    assert.deepEqual(
      portsOf(built(false)).map((port) => port.sourceRangesEverywhere),
      [false, false],
    );
    const open = built(true).problems.filter(({ reason }) => reason === 'NoSourceRangeOfFamily');
    assert.match(
      open.map(({ message }) => message).join(),
      /^no range is of IPv6: its external addresses and node ports of that family are open/,
    );
    assert.deepEqual(
      built(false).problems.filter(({ reason }) => reason === 'NoSourceRangeOfFamily'),
      [],
    );
  });

  it('dual stack is two Service ports that know nothing of each other (1.12)', () => {
    const spec = {
      clusterIPs: ['10.96.0.10', 'fd00::a'],
      externalIPs: ['192.0.2.7', '2001:db8::7'],
      ports: [{ port: 80, nodePort: 30_080 }],
    };
    const model = build([service('web', spec), slice('web', 's4', ['10.0.0.1'])]);
    const [four, six] = portsOf(model);
    assert.deepEqual(four && [four.key, text(four), four.hasEndpoints], [
      'default/web:/TCP/4',
      ['ClusterIP 10.96.0.10 80', 'ExternalIP 192.0.2.7 80', 'NodePort 0.0.0.0 30080'],
      true,
    ]);
    assert.deepEqual(six && [six.key, text(six), six.hasEndpoints], [
      'default/web:/TCP/6',
      ['ClusterIP fd00::a 80', 'ExternalIP 2001:db8::7 80', 'NodePort :: 30080'],
      false,
    ]);
  });

  it('one port number as TCP and UDP is two Service ports with their own endpoints (3.1)', () => {
    const ports = [
      { name: 't', port: 53 },
      { name: 'u', port: 53, protocol: 'UDP' },
    ];
    const offered = [
      { name: 't', port: 1053 },
      { name: 'u', port: 2053, protocol: 'UDP' },
    ];
    const model = build([service('web', { ports }), slice('web', 's', ['10.0.0.1'], { ports: offered })]);
    assert.deepEqual(
      portsOf(model).map((port) => [port.protocol, ...addresses(port.cluster)]),
      [
        ['TCP', '10.0.0.1:1053'],
        ['UDP', '10.0.0.1:2053'],
      ],
    );
  });
});

describe('which endpoints belong to a Service port', () => {
  const http = { ports: [{ name: 'http', port: 80 }] };
  const rows: [sentence: string, slices: Raw[], expected: string[]][] = [
    [
      'those of all its slices, sorted (1.4)',
      [
        slice('web', 'b', ['10.0.0.2'], { ports: [{ name: 'http', port: 8080 }] }),
        slice('web', 'a', ['10.0.0.3', '10.0.0.1'], { ports: [{ name: 'http', port: 8080 }] }),
      ],
      ['10.0.0.1:8080', '10.0.0.2:8080', '10.0.0.3:8080'],
    ],
    [
      'by port name and protocol, each slice with its own number (1.5)',
      [
        slice('web', 'a', ['10.0.0.1'], {
          ports: [
            { name: 'http', port: 8080 },
            { name: 'other', port: 9 },
          ],
        }),
        slice('web', 'b', ['10.0.0.2'], {
          ports: [
            { name: 'http', port: 9090 },
            { name: 'http', protocol: 'UDP', port: 7 },
          ],
        }),
      ],
      ['10.0.0.1:8080', '10.0.0.2:9090'],
    ],
    ['none by number alone (1.5)', [slice('web', 'a', ['10.0.0.1'], { ports: [{ name: 'web', port: 80 }] })], []],
    ['none of another namespace (1.4)', [slice('shop/web', 'a', ['10.0.0.1'], { ports: [{ name: 'http', port: 8080 }] })], []],
    [
      'none of another proxy’s slices (1.2)',
      [
        slice('web', 'a', ['10.0.0.1'], {
          ports: [{ name: 'http', port: 8080 }],
          metadata: { labels: { 'kubernetes.io/service-name': 'web', 'service.kubernetes.io/service-proxy-name': 'mesh' } },
        }),
      ],
      [],
    ],
    [
      'the first address of each only (1.7)',
      [slice('web', 'a', [{ addresses: ['10.0.0.1', '10.0.0.2'] }], { ports: [{ name: 'http', port: 8080 }] })],
      ['10.0.0.1:8080'],
    ],
    [
      'those outside the cluster and on the node itself too (1.10)',
      [slice('web', 'a', ['203.0.113.9', '192.168.0.1'], { ports: [{ name: 'http', port: 8080 }] })],
      ['192.168.0.1:8080', '203.0.113.9:8080'],
    ],
  ];
  for (const [sentence, slices, expected] of rows) {
    it(sentence, () => assert.deepEqual(addresses(onlyPort(build([service('web', http), ...slices])).cluster), expected));
  }

  it('local are those whose nodeName is ours; without a nodeName none is (1.9)', () => {
    const list = [endpoint('10.0.0.1', { nodeName: 'here' }), endpoint('10.0.0.2', { nodeName: 'there' }), endpoint('192.168.0.1')];
    const { cluster } = onlyPort(build([service('web'), slice('web', 's', list)]));
    assert.deepEqual(
      cluster.map(({ local }) => local),
      [true, false, false],
    );
  });

  it('an endpoint inside a ServiceCIDR is dropped with a Problem: no packet could reach it', () => {
    const model = build([service('web'), slice('web', 's', ['10.96.0.1', '10.0.0.1']), serviceCIDR('c', ['10.96.0.0/16'])]);
    assert.deepEqual([addresses(onlyPort(model).cluster), reasons(model)], [['10.0.0.1:8080'], ['EndpointInServiceCIDR']]);
  });

  const pod = { ready: true, serving: true, terminating: false };
  const ghost = { ready: false, serving: false, terminating: true };
  const leaving = { ready: false, serving: true, terminating: true };
  const doubles: [sentence: string, first: Raw, second: Raw, cluster: boolean][] = [
    ['a pod on its way between slices counts once', pod, pod, true],
    ['a new pod wins over the ghost of the old owner', ghost, pod, true],
    ['whatever the order', pod, ghost, true],
    ['a leaving pod that serves wins over a ghost', ghost, leaving, true],
    ['two ghosts serve nobody', ghost, ghost, false],
  ];
  for (const [sentence, first, second, cluster] of doubles) {
    it(`two with one address and port: ${sentence} (1.8)`, () => {
      const model = build([
        service('web'),
        slice('web', 's1', [endpoint('10.0.0.1', { conditions: first, targetRef: { kind: 'Pod', name: 'new' } })]),
        slice('web', 's2', [endpoint('10.0.0.1', { conditions: second, nodeName: 'here', targetRef: { kind: 'Pod', name: 'ghost' } })]),
      ]);
      const port = onlyPort(model);
      assert.deepEqual([addresses(port.cluster).length, addresses(port.draining).length], cluster ? [1, 0] : [0, 1]);
    });
  }
});

describe('which endpoints take new connections', () => {
  const ready = (address: string, nodeName: string, hints: Raw = {}): Raw => endpoint(address, { nodeName, hints });
  const leaving = (address: string, nodeName: string): Raw =>
    endpoint(address, { nodeName, conditions: { ready: false, serving: true, terminating: true } });
  const unready = (address: string, nodeName: string): Raw => endpoint(address, { nodeName, conditions: { ready: false, serving: false } });
  /** Not ready, not terminating, but serving: a condition no row makes usable. */
  const odd = (address: string, nodeName: string): Raw => endpoint(address, { nodeName, conditions: { ready: false, serving: true } });
  const zones = (...names: string[]): Raw => ({ forZones: names.map((name) => ({ name })) });
  const nodes = (...names: string[]): Raw => ({ forNodes: names.map((name) => ({ name })) });
  const eTP = { type: 'NodePort', externalTrafficPolicy: 'Local', ports: [{ port: 80, nodePort: 30_080 }] };
  const iTP = { internalTrafficPolicy: 'Local' };

  interface Row {
    readonly sentence: string;
    readonly spec?: Raw;
    readonly endpoints: readonly Raw[];
    readonly C: string;
    readonly L?: string;
    readonly draining?: string;
    /** Default: something is usable. */
    readonly none?: true;
    readonly zone?: string | null;
  }
  const rows: Row[] = [
    { sentence: 'all ready ones', endpoints: [ready('10.0.0.1', 'here'), ready('10.0.0.2', 'there')], C: '1 2' },
    { sentence: 'no unready ones (2.1)', endpoints: [ready('10.0.0.1', 'here'), unready('10.0.0.2', 'there')], C: '1', draining: '2' },
    {
      sentence: 'no leaving ones while one is ready (2.1)',
      endpoints: [ready('10.0.0.1', 'here'), leaving('10.0.0.2', 'there')],
      C: '1',
      draining: '2',
    },
    {
      sentence: 'leaving ones that serve when none is ready (2.1)',
      endpoints: [leaving('10.0.0.1', 'here'), unready('10.0.0.2', 'there')],
      C: '1',
      draining: '2',
    },
    { sentence: 'none that only serves (2.1)', endpoints: [odd('10.0.0.1', 'here')], C: '', draining: '1', none: true },
    { sentence: 'none where none is usable', endpoints: [unready('10.0.0.1', 'here')], C: '', draining: '1', none: true },
    { sentence: 'no L without a Local policy (2.2)', endpoints: [ready('10.0.0.1', 'here')], C: '1', L: '' },
    {
      sentence: 'C and L for eTP Local (2.2)',
      spec: eTP,
      endpoints: [ready('10.0.0.1', 'here'), ready('10.0.0.2', 'there')],
      C: '1 2',
      L: '1',
    },
    {
      sentence: 'L falls back by itself while C has a ready one elsewhere (2.1)',
      spec: eTP,
      endpoints: [leaving('10.0.0.1', 'here'), ready('10.0.0.2', 'there')],
      C: '2',
      L: '1',
    },
    { sentence: 'L empty, any elsewhere (2.2)', spec: eTP, endpoints: [ready('10.0.0.2', 'there')], C: '2', L: '' },
    {
      sentence: 'eTP Local without anything external is no Local policy (2.2)',
      spec: { externalTrafficPolicy: 'Local' },
      endpoints: [ready('10.0.0.1', 'here')],
      C: '1',
      L: '',
    },
    {
      sentence: 'no C for a purely internal iTP Local (2.2)',
      spec: iTP,
      endpoints: [ready('10.0.0.1', 'here'), ready('10.0.0.2', 'there')],
      C: '',
      L: '1',
      draining: '2',
    },
    {
      sentence: 'iTP Local, none here, any elsewhere (2.2)',
      spec: iTP,
      endpoints: [ready('10.0.0.2', 'there')],
      C: '',
      L: '',
      draining: '2',
    },
    {
      sentence: 'C too for iTP Local that is reachable from outside (2.2)',
      spec: { ...iTP, externalIPs: ['192.0.2.1'] },
      endpoints: [ready('10.0.0.1', 'here'), ready('10.0.0.2', 'there')],
      C: '1 2',
      L: '1',
    },
    {
      sentence: 'this node’s by node hints (2.3)',
      endpoints: [
        ready('10.0.0.1', 'here', { ...nodes('here'), ...zones('west') }),
        ready('10.0.0.2', 'there', { ...nodes('there'), ...zones('east') }),
      ],
      C: '1',
      draining: '2',
    },
    {
      sentence: 'this zone’s by zone hints when no node hint names us (2.3)',
      endpoints: [
        ready('10.0.0.1', 'x', { ...nodes('x'), ...zones('east', 'west') }),
        ready('10.0.0.2', 'y', { ...nodes('y'), ...zones('west') }),
      ],
      C: '1',
      draining: '2',
    },
    {
      sentence: 'all when one ready endpoint has no hint (2.3)',
      endpoints: [ready('10.0.0.1', 'x', zones('east')), ready('10.0.0.2', 'y', zones('west')), ready('10.0.0.3', 'z')],
      C: '1 2 3',
    },
    {
      sentence: 'all when no hint names our zone (2.3)',
      endpoints: [ready('10.0.0.1', 'x', zones('west')), ready('10.0.0.2', 'y', zones('north'))],
      C: '1 2',
    },
    {
      sentence: 'hints of unready endpoints do not count (2.3)',
      endpoints: [ready('10.0.0.1', 'x', zones('east')), ready('10.0.0.2', 'y', zones('west')), unready('10.0.0.3', 'z')],
      C: '1',
      draining: '2 3',
    },
    {
      sentence: 'the fallback ignores topology (2.1)',
      endpoints: [leaving('10.0.0.1', 'x'), { ...leaving('10.0.0.2', 'y'), hints: zones('west') }],
      C: '1 2',
    },
    {
      sentence: 'Local policy ignores topology (2.3)',
      spec: eTP,
      endpoints: [ready('10.0.0.1', 'here', zones('west')), ready('10.0.0.2', 'there', zones('east'))],
      C: '2',
      L: '1',
    },
    {
      sentence: 'all when our zone is unknown (2.4)',
      zone: null,
      endpoints: [ready('10.0.0.1', 'x', zones('east')), ready('10.0.0.2', 'y', zones('west'))],
      C: '1 2',
    },
  ];
  for (const { sentence, spec, endpoints, C, L = '', draining = '', none = false, zone } of rows) {
    it(sentence, () => {
      const facts = { ...HERE, zone: zone === null ? undefined : HERE.zone };
      const port = onlyPort(build([service('web', spec), slice('web', 's', endpoints)], facts));
      const last = (backends: readonly Backend[]): string => backends.map(({ address }) => address.split('.')[3]).join(' ');
      assert.deepEqual(
        { C: last(port.cluster), L: last(port.local), draining: last(port.draining), any: port.hasEndpoints },
        { C, L, draining, any: !none },
      );
    });
  }

  it('a zone hint that our missing zone cannot follow is told once, not per Service (2.4)', () => {
    const hinted = [ready('10.0.0.1', 'x', zones('east'))];
    const manifests = [service('a'), slice('a', 'a', hinted), service('b', { clusterIP: '10.96.0.11' }), slice('b', 'b', hinted)];
    assert.deepEqual(reasons(build([...manifests, node('here', ['192.168.0.1'])], { ...HERE, zone: undefined })), ['NoZone']);
    assert.deepEqual(reasons(build([...manifests, node('here', ['192.168.0.1'], 'east')])), []);
  });
});

describe('what a load balancer that asks is told (12.1)', () => {
  const here = { nodeName: 'here' };
  const local: Raw = { type: 'LoadBalancer', externalTrafficPolicy: 'Local', healthCheckNodePort: 31_000 };
  const check = (spec: Raw, ...manifests: Raw[]) => build([service('web', spec), ...manifests]).services.get('default/web')?.healthCheck;
  const pods = slice('web', 's', [
    endpoint('10.1.0.1', here),
    endpoint('10.1.0.2', { ...here, conditions: { ready: false, serving: true, terminating: true } }),
    endpoint('10.1.0.3', { nodeName: 'there' }),
    endpoint('10.1.0.4'),
  ]);

  it('ready endpoints of this node count, those that terminate do not', () => {
    assert.deepEqual(check(local, pods), { port: 31_000, localEndpoints: new Map([[4, 1]]) });
  });
  it('only terminating ones: none, although they are served', () => {
    const terminating = slice('web', 's', [
      endpoint('10.1.0.2', { ...here, conditions: { ready: false, serving: true, terminating: true } }),
    ]);
    assert.deepEqual(check(local, terminating)?.localEndpoints.get(4), 0);
  });
  it('an address that serves two ports counts once', () => {
    const ports = ['a', 'b'].map((name, index) => ({ name, port: 80 + index }));
    const both = slice('web', 's', [endpoint('10.1.0.1', here)], {
      ports: ports.map(({ name }) => ({ name, port: 8080, protocol: 'TCP' })),
    });
    assert.deepEqual(check({ ...local, ports }, both)?.localEndpoints.get(4), 1);
  });
  it('families are counted apart, so that a pod with both is one', () => {
    const spec = { ...local, clusterIPs: ['10.96.0.10', 'fd96::10'], clusterIP: '10.96.0.10' };
    const model = check(spec, pods, slice('web', 's6', [endpoint('fd01::1', here)]));
    assert.deepEqual(
      model?.localEndpoints,
      new Map([
        [4, 1],
        [6, 1],
      ]),
    );
  });
  it('nobody asks under another policy, another type, or without a port', () => {
    for (const spec of [{ externalTrafficPolicy: 'Cluster' }, { type: 'NodePort' }, { healthCheckNodePort: 0 }])
      assert.equal(check({ ...local, ...spec }, pods), undefined);
  });
  it('a port that is none costs the health check alone', () => {
    const model = build([service('web', { ...local, healthCheckNodePort: 70_000 }), pods]);
    assert.deepEqual([model.services.get('default/web')?.healthCheck, reasons(model)], [undefined, ['InvalidPort']]);
  });
});

describe('source ranges and affinity', () => {
  const status = { loadBalancer: { ingress: [{ ip: '192.0.2.1' }, { ip: '2001:db8::1' }] } };
  const both = { clusterIPs: ['10.96.0.10', 'fd00::a'] };
  const rows: [sentence: string, ranges: string[], four: [string[], boolean], six: [string[], boolean], reasons: string[]][] = [
    ['each family has its own ranges (7.1)', ['10.0.0.0/8', 'fd01::/64'], [['10.0.0.0/8'], false], [['fd01::/64'], false], []],
    [
      'a family without a range is open, with a warning (7.1)',
      ['10.0.0.0/8'],
      [['10.0.0.0/8'], false],
      [[], false],
      ['NoSourceRangeOfFamily'],
    ],
    [
      'a range that holds the node’s primary address allows the VIP itself (7.2)',
      ['192.168.0.0/24', '::/0'],
      [['192.168.0.0/24'], true],
      [['::/0'], true],
      [],
    ],
    ['no ranges restrict nothing', [], [[], false], [[], false], []],
  ];
  for (const [sentence, ranges, four, six, expected] of rows) {
    it(sentence, () => {
      const model = build([service('web', { ...both, loadBalancerSourceRanges: ranges }, { status }), slice('web', 's', [])]);
      assert.deepEqual(
        portsOf(model).map((port) => [port.sourceRanges, port.selfAllowed]),
        [four, six],
      );
      assert.deepEqual(reasons(model), expected);
    });
  }
  it('every Service port has the Service’s affinity (5.1)', () => {
    const spec = {
      sessionAffinity: 'ClientIP',
      ports: [
        { name: 'a', port: 1 },
        { name: 'b', port: 2 },
      ],
    };
    assert.deepEqual(
      portsOf(build([service('web', spec)])).map((port) => port.affinitySeconds),
      [10_800, 10_800],
    );
  });
});

describe('what is known of the node', () => {
  const devices = {
    localAddresses: ['192.168.0.1', '10.5.0.1', 'fe80::1', 'fd00:1::1'],
    defaultRouteAddresses: ['192.168.0.1', '192.168.0.9', 'fd00:1::1'],
  };
  it('its Node object decides addresses and zone', () => {
    const facts = nodeFacts(objectsOf(node('here', ['10.5.0.1'], 'east')), 'here', devices);
    assert.deepEqual([facts.primaryAddresses, facts.zone], [['10.5.0.1'], 'east']);
  });
  it('a bindAddress is the node’s address of its family (14.1)', () => {
    const facts = nodeFacts(objectsOf(node('here', ['10.5.0.1', 'fd00:5::1'])), 'here', devices, 'fd00:7::7');
    assert.deepEqual([...facts.primaryAddresses].sort(), ['10.5.0.1', 'fd00:7::7']);
  });
  it('without one they are those of the default route, the zone is unknown, and a Problem says so', () => {
    const objects = objectsOf(node('there', ['10.5.0.2'], 'east'));
    const facts = nodeFacts(objects, 'here', devices);
    assert.deepEqual([facts.primaryAddresses, facts.zone], [['192.168.0.1', 'fd00:1::1'], undefined]);
    assert.deepEqual(
      buildModel(objects, facts, OPTIONS).problems.map((problem) => [problem.object, problem.reason]),
      [['Agent', 'NoNodeObject']],
    );
  });

  const facts: NodeFacts = { ...HERE, localAddresses: devices.localAddresses };
  const selections: [sentence: string, primary: boolean, ranges: string[], expected: string[]][] = [
    ['primary: those of the Node object', true, [], ['192.168.0.1', 'fd00:1::1']],
    ['all: every local one but link-local IPv6 (3.12)', false, ['0.0.0.0/0', '::/0'], ['10.5.0.1', '192.168.0.1', 'fd00:1::1']],
    ['a network: those inside', false, ['10.0.0.0/8'], ['10.5.0.1']],
    ['primary and a network: both, each once', true, ['10.0.0.0/8', '192.168.0.0/16'], ['10.5.0.1', '192.168.0.1', 'fd00:1::1']],
  ];
  for (const [sentence, primary, ranges, expected] of selections) {
    it(`NodePort addresses, ${sentence} (8.1)`, () => assert.deepEqual(nodePortAddresses({ primary, ranges }, facts), expected));
  }

  it('local pods are known by prefix or by interface (14.2)', () => {
    assert.deepEqual(podPrefixes({ mode: 'NodeCIDR' }, HERE), ['10.1.0.0/24']);
    assert.deepEqual(podPrefixes({ mode: 'ClusterCIDR', prefixes: ['10.0.0.0/8'] }, HERE), ['10.0.0.0/8']);
    assert.equal(podPrefixes({ mode: 'BridgeInterface', bridge: 'cni0' }, HERE), undefined);
  });
  it('a served family without a pod prefix is a Problem (14.2)', () => {
    const manifests = [service('web', { clusterIPs: ['10.96.0.10', 'fd00::a'] }), slice('web', 's', [])];
    const problems = build(manifests, HERE, { detectLocal: { mode: 'NodeCIDR' } }).problems.filter(
      ({ reason }) => reason === 'PartialDualStack',
    );
    assert.deepEqual(
      problems.map(({ object, field }) => [object, field]),
      [['Agent', 'spec.podCIDRs']],
    );
    assert.match(problems[0]!.message, /IPv6/);
  });
  it('ServiceCIDRs of objects and of the configuration together are those of the model (4.4)', () => {
    const model = build([serviceCIDR('a', ['10.97.0.0/16', 'fd00::/108']), serviceCIDR('b', ['10.96.0.0/16'])], HERE, {
      serviceCIDRs: ['10.96.0.0/16'],
    });
    assert.deepEqual(model.serviceCIDRs, ['10.96.0.0/16', '10.97.0.0/16', 'fd00::/108']);
  });
});

describe('a model built from the one before', () => {
  it('keeps every Service whose inputs are the same', () => {
    const store = objectStore();
    const put = (...manifests: Raw[]): void => {
      for (const manifest of manifests) for (const object of parseObjects(manifest).objects) store.put(object);
    };
    put(service('a'), slice('a', 'a', ['10.0.0.1']), service('b', { clusterIP: '10.96.0.11' }), slice('b', 'b', ['10.0.0.2']));
    const first = buildModel(store.snapshot([]), HERE, OPTIONS);
    put(slice('b', 'b', ['10.0.0.3']));
    const second = buildModel(store.snapshot([]), HERE, OPTIONS, first);
    assert.equal(second.services.get('default/a'), first.services.get('default/a'));
    assert.deepEqual(addresses(portsOf(second, 'default/b')[0]!.cluster), ['10.0.0.3:8080']);
    const third = buildModel(store.snapshot([]), { ...HERE, localAddresses: ['192.168.7.7'] }, OPTIONS, second);
    assert.equal(third.services.get('default/b'), second.services.get('default/b'), 'no Service depends on the other local addresses');
    const fourth = buildModel(store.snapshot([]), { ...HERE, zone: 'west' }, OPTIONS, third);
    assert.notEqual(fourth.services.get('default/a'), third.services.get('default/a'), 'a zone change recomputes (2.4)');
  });

  it('is the model built anew, after any history', () => {
    const addressArbitrary = fc.constantFrom('10.0.0.1', '10.0.0.2', '10.96.0.5', '127.0.0.1', 'fd00::5');
    const endpointArbitrary = fc.record({
      addresses: fc.tuple(addressArbitrary),
      nodeName: fc.constantFrom('here', 'there', undefined),
      conditions: fc.record({ ready: fc.boolean(), serving: fc.boolean(), terminating: fc.boolean() }),
      hints: fc.constantFrom({}, { forZones: [{ name: 'east' }] }, { forNodes: [{ name: 'here' }] }),
    });
    const names = fc.constantFrom('a', 'b', 'c');
    const step = fc.oneof(
      fc
        .tuple(
          names,
          fc.constantFrom<Raw>(
            {},
            { internalTrafficPolicy: 'Local' },
            { clusterIP: 'None' },
            { ports: [{ port: 0 }] },
            { clusterIPs: ['10.96.0.10', 'fd00::a'] },
          ),
        )
        .map(([name, spec]) => ({ put: service(name, spec) })),
      fc
        .tuple(names, names, fc.array(endpointArbitrary, { maxLength: 3 }), fc.constantFrom('IPv4', 'IPv6'))
        .map(([of, name, list, addressType]) => ({ put: slice(of, name, list, { addressType }) })),
      fc.constantFrom(['10.96.0.0/16'], ['fd00::/64'], []).map((cidrs) => ({ put: serviceCIDR('c', cidrs) })),
      fc
        .tuple(fc.constantFrom('Service' as const, 'EndpointSlice' as const), names)
        .map(([kind, name]) => ({ remove: { kind, key: `default/${name}` } })),
      fc.constantFrom('east', 'west', undefined).map((zone) => ({ zone })),
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const store = objectStore();
        let facts = HERE;
        let previous: Model | undefined;
        for (const one of steps) {
          if ('put' in one) for (const object of parseObjects(one.put).objects) store.put(object);
          else if ('remove' in one) store.remove(one.remove.kind, one.remove.key);
          else facts = { ...HERE, zone: one.zone };
          const objects = store.snapshot([]);
          const now = buildModel(objects, facts, OPTIONS, previous);
          assert.deepEqual(whole(now), whole(buildModel(objects, facts, OPTIONS)));
          const changed = previous && changedIn(now);
          for (const key of changed ? new Set([...now.services.keys(), ...previous!.services.keys()]) : []) {
            if (now.services.get(key) !== previous!.services.get(key)) assert.ok(changed!.has(key), `${key} is told as changed`);
          }
          for (const { ports } of now.services.values()) {
            for (const port of ports) {
              const all = [...new Set([...port.cluster, ...port.local, ...port.draining])];
              assert.equal(new Set(addresses(all)).size, all.length, 'no backend is in two states');
            }
          }
          previous = now;
        }
      }),
    );
  });
});
