// The configuration: file and flags become one value, or a list of every field that is wrong.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, it, type TestContext } from 'node:test';
import fc from 'fast-check';
import { stringify } from 'yaml';
import { effectiveFields } from '../control/config/effective.ts';
import { FLAGS, type FlagValue } from '../control/config/flags.ts';
import { type Config, ConfigError, type Fault, readConfig } from '../control/config.ts';

type Flags = Record<string, FlagValue>;

function write(t: TestContext, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'config-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'config.yaml');
  writeFileSync(path, text);
  return path;
}

function faultsOf(read: () => Config): readonly Fault[] {
  try {
    read();
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    assert.equal(error.message.split('\n').length, error.faults.length, 'a line for each');
    return error.faults;
  }
  return [];
}

describe('without a word', () => {
  const config = readConfig({});
  it('the defaults are the house’s', () => {
    assert.deepEqual(config, {
      nodeName: hostname().toLowerCase(),
      manifests: undefined,
      kubeconfig: undefined,
      apiServers: [],
      bindAddress: undefined,
      healthzBindAddress: { address: '0.0.0.0', port: 10256 },
      metricsBindAddress: { address: '127.0.0.1', port: 10249 },
      bindAddressHardFail: false,
      syncPeriodMs: 30_000,
      minSyncPeriodMs: undefined,
      oomScoreAdj: -999,
      verbosity: 0,
      ignoredFields: [],
      externalIPs: { served: true, allowed: undefined },
      sourceRangesEverywhere: false,
      serviceProxyName: undefined,
      serviceCIDRs: [],
      nodePortAddresses: { primary: true, ranges: [] },
      detectLocal: { mode: 'PodInterfaces' },
      masqueradeAll: false,
      masqueradeMark: 0x4000,
      conntrack: { tcpEstablishedSeconds: 86_400, tcpCloseWaitSeconds: 3_600, udpSeconds: 30, udpStreamSeconds: 120 },
      devices: undefined,
      podInterfaces: undefined,
      hooks: { tc: true, socket: 'on' },
      xdp: 'auto',
      socketExceptions: [],
      resetGoneBackends: true,
      cgroupRoot: undefined,
      pinDirectory: '/sys/fs/bpf/sluice',
      stateDirectory: '/run/sluice',
      mapSizes: {},
      snatPorts: { first: 16_384, last: 29_999 },
    });
  });
  it('the value is frozen all through', () => {
    assert.ok(Object.isFrozen(config) && Object.isFrozen(config.conntrack) && Object.isFrozen(config.nodePortAddresses.ranges));
  });
});

describe('what is given means', () => {
  const rows: [sentence: string, file: object, flags: Flags, expected: Partial<Config>][] = [
    ['the node’s name, lower-cased (1.9)', { hostnameOverride: ' Node-A.example ' }, {}, { nodeName: 'node-a.example' }],
    ['a flag wins over the file', { hostnameOverride: 'a' }, { 'hostname-override': 'b' }, { nodeName: 'b' }],
    [
      'blanks and nulls, as kubeadm writes them, are absent',
      { hostnameOverride: '', clusterCIDR: '', nodePortAddresses: null, nftables: { masqueradeBit: null } },
      {},
      {},
    ],
    ['a relative directory of manifests is made absolute', {}, { manifests: 'x' }, { manifests: resolve('x') }],
    [
      'lists are separated by commas or flags',
      {},
      { 'service-cidr': ['10.96.0.5/16, fd00::/108', '10.97.0.0/16'] },
      { serviceCIDRs: ['10.96.0.0/16', 'fd00::/108', '10.97.0.0/16'] },
    ],
    [
      'NodePorts on all addresses (8.1)',
      { nodePortAddresses: ['all'] },
      {},
      { nodePortAddresses: { primary: false, ranges: ['0.0.0.0/0', '::/0'] } },
    ],
    [
      'NodePorts on the loopback alone (8.1)',
      { nodePortAddresses: ['localhost'] },
      {},
      { nodePortAddresses: { primary: false, ranges: [] } },
    ],
    [
      'NodePorts on primary addresses, and on the loopback as ever (8.1)',
      { nodePortAddresses: ['primary', 'localhost'] },
      {},
      { nodePortAddresses: { primary: true, ranges: [] } },
    ],
    [
      'NodePorts inside a network, and on all addresses of the family that has none (8.1)',
      { nodePortAddresses: ['192.168.0.9/24'] },
      {},
      { nodePortAddresses: { primary: false, ranges: ['192.168.0.0/24', '::/0'] } },
    ],
    [
      'NodePorts on primary addresses and inside a network (8.1)',
      {},
      { 'nodeport-addresses': 'primary,192.168.0.0/24' },
      { nodePortAddresses: { primary: true, ranges: ['192.168.0.0/24'] } },
    ],
    [
      'a clusterCIDR alone is kube-proxy’s default mode (14.2)',
      { clusterCIDR: '10.1.0.0/16,fd01::/64' },
      {},
      { detectLocal: { mode: 'ClusterCIDR', prefixes: ['10.1.0.0/16', 'fd01::/64'] } },
    ],
    [
      'a clusterCIDR beside another mode is not used',
      { clusterCIDR: '10.1.0.0/16', detectLocalMode: 'NodeCIDR' },
      {},
      { detectLocal: { mode: 'NodeCIDR' } },
    ],
    [
      'the bridge of local pods (14.2)',
      { detectLocalMode: 'BridgeInterface', detectLocal: { bridgeInterface: 'cni0' } },
      {},
      { detectLocal: { mode: 'BridgeInterface', bridge: 'cni0' } },
    ],
    [
      'the interfaces of local pods (14.2)',
      {},
      { 'detect-local-mode': 'InterfaceNamePrefix', 'pod-interface-name-prefix': 'cali' },
      { detectLocal: { mode: 'InterfaceNamePrefix', prefix: 'cali' } },
    ],
    [
      'masquerading as the iptables section says',
      { iptables: { masqueradeAll: true, masqueradeBit: 31 } },
      {},
      { masqueradeAll: true, masqueradeMark: 0x80000000 },
    ],
    [
      'unless the mode is nftables, whose section then counts before it',
      { mode: 'nftables', iptables: { masqueradeBit: 3, masqueradeAll: true }, nftables: { masqueradeBit: 0, masqueradeAll: false } },
      {},
      { masqueradeMark: 1, ignoredFields: ['mode'] },
    ],
    [
      'the section of another mode does not count where one is written: kube-proxy would not masquerade here',
      { mode: 'nftables', iptables: { masqueradeAll: true, masqueradeBit: 3, minSyncPeriod: '9s', syncPeriod: '10s' } },
      {},
      { ignoredFields: ['mode'] },
    ],
    [
      'nor does that of nftables beside ipvs, whose masquerade is in iptables',
      {
        mode: 'ipvs',
        iptables: { masqueradeBit: 4, minSyncPeriod: '9s' },
        nftables: { masqueradeAll: true },
        ipvs: { minSyncPeriod: '3s' },
      },
      {},
      { masqueradeMark: 16, minSyncPeriodMs: 3_000, ignoredFields: ['mode'] },
    ],
    [
      'without a mode what is in nftables counts where iptables does not speak of it',
      { iptables: { masqueradeAll: false }, nftables: { masqueradeAll: true, masqueradeBit: 2 } },
      {},
      { masqueradeMark: 4 },
    ],
    [
      'a flag counts whatever the mode',
      { mode: 'nftables', iptables: { masqueradeAll: false }, nftables: { masqueradeAll: false } },
      { 'masquerade-all': true },
      { masqueradeAll: true, ignoredFields: ['mode'] },
    ],
    ['a switch may be spelled out', {}, { 'masquerade-all': 'true' }, { masqueradeAll: true }],
    ['in each of Go’s ways', {}, { 'masquerade-all': 'T' }, { masqueradeAll: true }],
    ['also to say no', { iptables: { masqueradeAll: true } }, { 'masquerade-all': '0' }, {}],
    ['an empty part of a list is none', {}, { 'service-cidr': ['', '10.96.0.0/16'] }, { serviceCIDRs: ['10.96.0.0/16'] }],
    [
      'periods of the mode that is written (14.3)',
      { mode: 'ipvs', iptables: { syncPeriod: '20s', minSyncPeriod: '2s' }, ipvs: { syncPeriod: '1m30s' } },
      {},
      { syncPeriodMs: 90_000, ignoredFields: ['mode'] },
    ],
    ['a minSyncPeriod that is written counts (14.3)', { iptables: { minSyncPeriod: '1s' } }, {}, { minSyncPeriodMs: 1_000 }],
    ['a minSyncPeriod of nothing is not written (14.3)', { iptables: { minSyncPeriod: '0s', syncPeriod: '0' } }, {}, {}],
    [
      'an address alone has the default port',
      { healthzBindAddress: '192.0.2.1' },
      {},
      { healthzBindAddress: { address: '192.0.2.1', port: 10256 } },
    ],
    ['likewise IPv6', { metricsBindAddress: '::' }, {}, { metricsBindAddress: { address: '::', port: 10249 } }],
    ['and in brackets with a port', { metricsBindAddress: '[FD00::1]:99' }, {}, { metricsBindAddress: { address: 'fd00::1', port: 99 } }],
    [
      'a port alone has the default address',
      {},
      { 'metrics-bind-address': ':8080' },
      { metricsBindAddress: { address: '127.0.0.1', port: 8080 } },
    ],
    [
      'an IPv6 bindAddress moves both servers to IPv6',
      { bindAddress: '::' },
      {},
      {
        healthzBindAddress: { address: '::', port: 10256 },
        metricsBindAddress: { address: '::1', port: 10249 },
      },
    ],
    ['a bindAddress is the node’s address', { bindAddress: '192.0.2.7' }, {}, { bindAddress: '192.0.2.7' }],
    ['an empty address in the file is the default', { healthzBindAddress: '' }, {}, {}],
    [
      'an empty address as a flag turns the server off',
      {},
      { 'healthz-bind-address': '', 'metrics-bind-address': '' },
      {
        healthzBindAddress: undefined,
        metricsBindAddress: undefined,
      },
    ],
    ['port 0 turns it off', { healthzBindAddress: '0.0.0.0:0' }, {}, { healthzBindAddress: undefined }],
    ['any other empty flag is none', { hostnameOverride: 'a' }, { 'hostname-override': '', kubeconfig: '' }, { nodeName: 'a' }],
    ['an empty list likewise', {}, { 'nodeport-addresses': '', 'api-server': '', devices: '', 'map-size': '' }, {}],
    ['the kubeconfig', { clientConnection: { kubeconfig: '/a' } }, { kubeconfig: '/etc/b' }, { kubeconfig: '/etc/b' }],
    [
      'API servers in the order given, each once',
      {},
      { 'api-server': 'https://192.0.2.2:6443/, https://192.0.2.1:6443,https://192.0.2.2:6443' },
      { apiServers: ['https://192.0.2.2:6443', 'https://192.0.2.1:6443'] },
    ],
    ['external IPs off (3.7)', { sluice: { externalIPs: 'off' } }, {}, { externalIPs: { served: false, allowed: undefined } }],
    [
      'external IPs of some networks (3.7)',
      { sluice: { externalIPCIDRs: ['198.51.100.9/24'] } },
      {},
      { externalIPs: { served: true, allowed: ['198.51.100.0/24'] } },
    ],
    ['source ranges everywhere (7.4)', { sluice: { sourceRangesEverywhere: true } }, {}, { sourceRangesEverywhere: true }],
    ['how much is logged', { logging: { verbosity: 2 } }, { v: '=4' }, { verbosity: 4 }],
    [
      'a timeout of nothing is the default',
      { conntrack: { tcpEstablishedTimeout: '0s', tcpCloseWaitTimeout: '0', udpTimeout: '0s', udpStreamTimeout: '0s' } },
      {},
      {},
    ],
    [
      'durations as Go writes them',
      { conntrack: { tcpEstablishedTimeout: '2h20m0s', tcpCloseWaitTimeout: '1.5m', udpTimeout: '1500ms', udpStreamTimeout: '180s' } },
      {},
      { conntrack: { tcpEstablishedSeconds: 8_400, tcpCloseWaitSeconds: 90, udpSeconds: 2, udpStreamSeconds: 180 } },
    ],
    ['the socket hook for the node alone', { sluice: { socket: 'host-only' } }, {}, { hooks: { tc: true, socket: 'host-only' } }],
    ['the tc hook alone', { sluice: { hooks: ['tc'] } }, {}, { hooks: { tc: true, socket: 'off' } }],
    ['XDP at every NIC', { sluice: { xdp: 'native' } }, {}, { xdp: 'native' }],
    ['no XDP', { sluice: { xdp: 'native' } }, { xdp: 'off' }, { xdp: 'off' }],
    ['pod interfaces by prefix', {}, { 'pod-interfaces': 'cali,lxc' }, { podInterfaces: ['cali', 'lxc'] }],
    ['pod interfaces found, in the file', { sluice: { podInterfaces: 'auto' } }, {}, { podInterfaces: undefined }],
    ['pod interfaces found', {}, { 'pod-interfaces': 'auto' }, { podInterfaces: undefined }],
    [
      'sizes of maps',
      { sluice: { mapSizes: { flows4: 1, flows6: 2 } } },
      { 'map-size': 'frontends4=10,flows4=9' },
      { mapSizes: { frontends4: 10, flows4: 9 } },
    ],
    ['ports for masquerading', {}, { 'snat-ports': '20000-20000' }, { snatPorts: { first: 20_000, last: 20_000 } }],
  ];
  for (const [sentence, file, flags, expected] of rows) {
    it(sentence, (t) => assert.deepEqual(readConfig(flags, write(t, stringify(file))), { ...readConfig({}), ...expected }));
  }
  it('an empty file is no word', (t) => assert.deepEqual(readConfig({}, write(t, '# nothing\n')), readConfig({})));
  it('the head of a KubeProxyConfiguration may stand there', (t) => {
    const file = write(t, 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nhostnameOverride: a\n');
    assert.equal(readConfig({}, file).nodeName, 'a');
  });
});

describe('a configuration as it is found in a cluster (14.1)', () => {
  const path = (name: string): string => new URL(`config/${name}.yaml`, import.meta.url).pathname;
  it('kubeadm’s says what it means and nothing that we ignore', () => {
    assert.deepEqual(readConfig({}, path('kubeadm')), {
      ...readConfig({}),
      kubeconfig: '/var/lib/kube-proxy/kubeconfig.conf',
      detectLocal: { mode: 'ClusterCIDR', prefixes: ['10.244.0.0/16'] },
    });
  });
  it('that of EKS, with the name from a flag: fields that kube-proxy has dropped do not end the start', () => {
    assert.deepEqual(readConfig({ 'hostname-override': 'ip-10-0-0-1.example', v: '2' }, path('eks')), {
      ...readConfig({}),
      nodeName: 'ip-10-0-0-1.example',
      verbosity: 2,
      kubeconfig: '/var/lib/kube-proxy/kubeconfig',
      metricsBindAddress: { address: '0.0.0.0', port: 10249 },
      oomScoreAdj: -998,
      ignoredFields: [
        'clientConnection.contentType',
        'clientConnection.qps',
        'clientConnection.burst',
        'mode',
        'conntrack.maxPerCore',
        'conntrack.min',
        'configSyncPeriod',
        'udpIdleTimeout',
      ],
    });
  });
  it('kube-proxy’s own defaults, written out, count as written and name what we ignore', () => {
    assert.deepEqual(readConfig({ 'cluster-cidr': '10.244.0.0/16' }, path('defaulted')), {
      ...readConfig({}),
      minSyncPeriodMs: 1_000,
      detectLocal: { mode: 'ClusterCIDR', prefixes: ['10.244.0.0/16'] },
      ignoredFields: [
        'clientConnection.contentType',
        'clientConnection.qps',
        'clientConnection.burst',
        'mode',
        'iptables.localhostNodePorts',
        'conntrack.maxPerCore',
        'conntrack.min',
        'logging.format',
        'logging.flushFrequency',
        'configSyncPeriod',
      ],
    });
  });
  it('they have a mode without its networks, which kube-proxy lets pass (14.2)', () => {
    const faults = faultsOf(() => readConfig({}, path('defaulted')));
    assert.deepEqual(
      faults.map(({ field }) => field),
      ['clusterCIDR'],
    );
  });
  it('a field that is off for kube-proxy and on for us is named', (t) => {
    const file = write(
      t,
      stringify({ iptables: { localhostNodePorts: false }, featureGates: { A: true }, mode: 'ipvs', ipvs: { strictARP: true } }),
    );
    assert.deepEqual(readConfig({}, file).ignoredFields, ['mode', 'iptables.localhostNodePorts', 'ipvs.strictARP', 'featureGates']);
  });
});

describe('what is wrong is named with its field, what was given and what is allowed', () => {
  const rows: [sentence: string, file: unknown, flags: Flags, field: string, given: string, allowed: RegExp][] = [
    ['an unknown field', { modes: 'iptables' }, {}, 'modes', '"iptables"', /^no such field here; there are .*hostnameOverride.*sluice/],
    [
      'an unknown field of a section',
      { sluice: { sockets: 'on' } },
      {},
      'sluice.sockets',
      '"on"',
      /^no such field here; there are manifests,.*socket/,
    ],
    ['a section that is none', { conntrack: 5 }, {}, 'conntrack', '5', /^a mapping of fields$/],
    ['a list that is none', { sluice: { devices: 'eth0' } }, {}, 'sluice.devices', '"eth0"', /^a list$/],
    ['another kind of file', { kind: 'Pod' }, {}, 'kind', '"Pod"', /^KubeProxyConfiguration$/],
    ['a name with a blank', {}, { 'hostname-override': 'a b' }, 'hostnameOverride (--hostname-override)', '"a b"', /^the name of a Node/],
    [
      'a word that is no NodePort address',
      { nodePortAddresses: ['primary', 'secondary'] },
      {},
      'nodePortAddresses[1]',
      '"secondary"',
      /^primary, localhost, all, or a network/,
    ],
    [
      'an address without a length',
      {},
      { 'service-cidr': '10.96.0.0' },
      'sluice.serviceCIDRs[0] (--service-cidr)',
      '"10.96.0.0"',
      /^a network such as/,
    ],
    ['a mode that is none', { detectLocalMode: 'Auto' }, {}, 'detectLocalMode', '"Auto"', /ClusterCIDR, NodeCIDR/],
    [
      'a mode without its networks (14.2)',
      { detectLocalMode: 'ClusterCIDR' },
      {},
      'clusterCIDR',
      'nothing',
      /since detectLocalMode is ClusterCIDR$/,
    ],
    [
      'a mode without its bridge (14.2)',
      { detectLocalMode: 'BridgeInterface' },
      {},
      'detectLocal.bridgeInterface',
      'nothing',
      /since detectLocalMode is/,
    ],
    [
      'a mode without its prefix (14.2)',
      { detectLocalMode: 'InterfaceNamePrefix' },
      {},
      'detectLocal.interfaceNamePrefix',
      'nothing',
      /since detectLocalMode is/,
    ],
    [
      'a bridge without its mode (14.2)',
      { detectLocal: { bridgeInterface: 'cni0' } },
      {},
      'detectLocal.bridgeInterface',
      '"cni0"',
      /unless detectLocalMode is BridgeInterface/,
    ],
    [
      'partial dual stack (14.2)',
      { clusterCIDR: '10.1.0.0/16', sluice: { serviceCIDRs: ['10.96.0.0/16', 'fd00::/108'] } },
      {},
      'clusterCIDR',
      '"10.1.0.0/16"',
      /^a network of IPv6 too/,
    ],
    ['a mark bit that is none', { nftables: { masqueradeBit: 32 } }, {}, 'nftables.masqueradeBit', '32', /0 to 31$/],
    ['a duration without a unit', { conntrack: { udpTimeout: 30 } }, {}, 'conntrack.udpTimeout', '30', /^a duration such as/],
    ['a negative duration', { conntrack: { udpTimeout: '-1s' } }, {}, 'conntrack.udpTimeout', '"-1s"', /^a duration such as/],
    ['a duration beyond the clock', { conntrack: { udpTimeout: '481h' } }, {}, 'conntrack.udpTimeout', '"481h"', /up to 480h/],
    ['a mode of Windows', { mode: 'kernelspace' }, {}, 'mode', '"kernelspace"', /^iptables, ipvs, nftables$/],
    ['a field without effect that is nonsense', { enableProfiling: 'yes' }, {}, 'enableProfiling', '"yes"', /^a boolean/],
    ['an unknown field of a section of kube-proxy', { ipvs: { masqueradeAll: true } }, {}, 'ipvs.masqueradeAll', 'true', /^no such field/],
    [
      'a server at a name',
      {},
      { 'metrics-bind-address': 'localhost:10249' },
      'metricsBindAddress (--metrics-bind-address)',
      '"localhost:10249"',
      /PORT/,
    ],
    [
      'an IPv6 address and port without brackets',
      { healthzBindAddress: 'fd00::1:99999' },
      {},
      'healthzBindAddress',
      '"fd00::1:99999"',
      /PORT/,
    ],
    ['a port beyond ports', { healthzBindAddress: '1.2.3.4:65536' }, {}, 'healthzBindAddress', '"1.2.3.4:65536"', /PORT/],
    ['a score out of range', { oomScoreAdj: 1001 }, {}, 'oomScoreAdj', '1001', /-1000 to 1000/],
    [
      'a minSyncPeriod beyond the syncPeriod',
      { iptables: { minSyncPeriod: '31s' } },
      {},
      'iptables.minSyncPeriod',
      '31s',
      /^at most its syncPeriod, 30s$/,
    ],
    [
      'an API server that is no URL',
      {},
      { 'api-server': '192.0.2.1:6443' },
      'sluice.apiServers[0] (--api-server)',
      '"192.0.2.1:6443"',
      /^the URL/,
    ],
    [
      'two sources',
      {},
      { manifests: '/m', kubeconfig: '/k' },
      'sluice.manifests (--manifests)',
      '"/m"',
      /^nothing, since .*kubeconfig.* is given/,
    ],
    [
      'two sources, by address',
      {},
      { manifests: '/m', 'api-server': 'https://a' },
      'sluice.manifests (--manifests)',
      '"/m"',
      /not from both$/,
    ],
    ['likewise in the section of the mode', { mode: 'ipvs', ipvs: { minSyncPeriod: '31s' } }, {}, 'ipvs.minSyncPeriod', '31s', /^at most/],
    ['a level that is no number', {}, { v: 'high' }, 'logging.verbosity (--v)', '"high"', /^a whole number/],
    [
      'a device name that is too long',
      {},
      { devices: 'eth0,abcdefghijklmnop' },
      'sluice.devices[1] (--devices)',
      '"abcdefghijklmnop"',
      /1 to 15/,
    ],
    [
      'auto among prefixes',
      {},
      { 'pod-interfaces': 'auto,cali' },
      'sluice.podInterfaces (--pod-interfaces)',
      '["auto","cali"]',
      /^auto alone/,
    ],
    ['a pod interface that is no list', { sluice: { podInterfaces: 'cali' } }, {}, 'sluice.podInterfaces', '"cali"', /^auto, or a list$/],
    ['an unknown hook', {}, { hooks: 'tc,xdp' }, 'sluice.hooks[1] (--hooks)', '"xdp"', /^tc, socket$/],
    ['no hook at all', { sluice: { hooks: ['socket'], socket: 'off' } }, {}, 'sluice.hooks', '["socket"]', /^at least one/],
    ['a socket mode without its hook', { sluice: { hooks: ['tc'], socket: 'on' } }, {}, 'sluice.socket', '"on"', /^off, since/],
    [
      'a relative pin directory',
      {},
      { 'pin-directory': 'pins' },
      'sluice.pinDirectory (--pin-directory)',
      '"pins"',
      /^an absolute directory$/,
    ],
    [
      'an unknown map',
      {},
      { 'map-size': 'flow=1' },
      'sluice.mapSizes.flow (--map-size)',
      '1',
      /^no such field here; there are (\w+, )*frontends4,/,
    ],
    ['a map of a fixed size', {}, { 'map-size': 'settings=2' }, 'sluice.mapSizes.settings (--map-size)', '2', /^no such field/],
    [
      'a map size that is no number',
      {},
      { 'map-size': 'flows4=1k' },
      'sluice.mapSizes.flows4 (--map-size)',
      '"1k"',
      /^a whole number, 1 to/,
    ],
    ['a map without a size', {}, { 'map-size': 'flows4' }, 'sluice.mapSizes.flows4 (--map-size)', '""', /^a whole number, 1 to/],
    ['a map of no entries', { sluice: { mapSizes: { flows4: 0 } } }, {}, 'sluice.mapSizes.flows4', '0', /^a whole number, 1 to/],
    ['ports the wrong way round', {}, { 'snat-ports': '20000-10000' }, 'sluice.snatPorts (--snat-ports)', '"20000-10000"', /^FIRST-LAST/],
    ['privileged ports', {}, { 'snat-ports': '80-90' }, 'sluice.snatPorts (--snat-ports)', '"80-90"', /1024/],
    ['a file that is a list', [1], {}, 'the configuration', '[1]', /^a mapping of fields$/],
  ];
  for (const [sentence, file, flags, field, given, allowed] of rows) {
    it(sentence, (t) => {
      const [fault, ...others] = faultsOf(() => readConfig(flags, write(t, stringify(file))));
      assert.deepEqual([fault?.field, fault?.given, others], [field, given, []]);
      assert.match(fault!.allowed, allowed);
    });
  }

  it('all of it at once', (t) => {
    const file = write(t, stringify({ hostnameOverride: '-', nftables: { masqueradeBit: -1 }, x: 1, sluice: { y: 2 } }));
    const fields = faultsOf(() => readConfig({ 'snat-ports': 'all' }, file)).map((fault) => fault.field);
    assert.deepEqual(fields.sort(), ['hostnameOverride', 'nftables.masqueradeBit', 'sluice.snatPorts (--snat-ports)', 'sluice.y', 'x']);
  });
  it('a file that does not parse, with line and column', (t) => {
    const [fault] = faultsOf(() => readConfig({}, write(t, 'sluice:\n  devices: [a\n')));
    assert.match(`${fault?.field} ${fault?.given}`, /^--config .*config\.yaml:\d+:\d+$/);
  });
  it('a file that is missing', () => {
    assert.match(faultsOf(() => readConfig({}, '/nonexistent/config.yaml'))[0]!.allowed, /^a file that can be read \(ENOENT/);
  });
});

describe('the list of flags', () => {
  const example: Readonly<Record<string, FlagValue>> = {
    'hostname-override': 'a',
    kubeconfig: 'k',
    'api-server': 'https://192.0.2.1',
    'healthz-bind-address': '1.2.3.4',
    'metrics-bind-address': ':1',
    'proxy-mode': 'ipvs',
    v: '4',
    manifests: 'm',
    devices: 'eth0',
    'pod-interfaces': 'cali',
    'nodeport-addresses': 'all',
    'service-cidr': '10.96.0.0/16',
    'detect-local-mode': 'NodeCIDR',
    'cluster-cidr': '10.1.0.0/16',
    'pod-bridge-interface': 'cni0',
    'pod-interface-name-prefix': 'cali',
    'masquerade-all': true,
    hooks: 'tc',
    socket: 'off',
    xdp: 'native',
    'snat-ports': '20000-20001',
    'cgroup-root': '/sys/fs/cgroup',
    'pin-directory': '/pins',
    'state-directory': '/state',
    'map-size': 'flows4=1',
  };
  for (const { name, field } of FLAGS) {
    it(`--${name} sets ${field}`, () => {
      assert.ok(name in example, 'the test has an example');
      const mode = field.startsWith('detectLocal.')
        ? { 'detect-local-mode': field.endsWith('bridgeInterface') ? 'BridgeInterface' : 'InterfaceNamePrefix' }
        : {};
      assert.notDeepEqual(readConfig({ ...mode, [name]: example[name], ...(name === 'hooks' ? { socket: 'off' } : {}) }), readConfig({}));
    });
  }
});

it('whatever the file, it is a configuration or a ConfigError', (t) => {
  const names = fc.constantFrom(
    'sluice',
    'conntrack',
    'nftables',
    'devices',
    'hooks',
    'mapSizes',
    'clusterCIDR',
    '__proto__',
    'constructor',
    'detectLocal',
    'x',
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 4 },
      fc.jsonValue(),
      fc.array(tie('tree'), { maxLength: 3 }),
      fc.dictionary(names, tie('tree'), { maxKeys: 4 }),
    ),
  }));
  const path = write(t, '');
  fc.assert(
    fc.property(
      fc.dictionary(names, tree),
      fc.dictionary(fc.constantFrom(...FLAGS.map((flag) => flag.name)), fc.string()),
      (file, flags) => {
        writeFileSync(path, JSON.stringify(file));
        faultsOf(() => readConfig(flags, path));
      },
    ),
  );
});

describe('written down as it counts', () => {
  const flagSets: [sentence: string, flags: Flags][] = [
    ['the defaults', {}],
    ['manifests and sizes', { manifests: '/m', 'map-size': 'flows4=1000,flows6=2000', 'snat-ports': '20000-20010', hooks: 'tc' }],
    ['an API server', { kubeconfig: '/k', 'api-server': 'https://192.0.2.1:6443,https://192.0.2.2:6443', 'hostname-override': 'node-a' }],
    ['local pods by network', { 'detect-local-mode': 'ClusterCIDR', 'cluster-cidr': '10.1.0.0/16,fd01::/64', 'masquerade-all': true }],
    ['local pods by bridge, host only', { 'detect-local-mode': 'BridgeInterface', 'pod-bridge-interface': 'br0', socket: 'host-only' }],
    ['node ports everywhere', { 'nodeport-addresses': 'all', 'service-cidr': '10.96.0.0/12' }],
    ['node ports on the loopback alone', { 'nodeport-addresses': 'localhost' }],
    ['node ports on primary and a network', { 'nodeport-addresses': 'primary,192.0.2.0/24', devices: 'eth0,eth1' }],
  ];
  for (const [sentence, flags] of flagSets) {
    it(`${sentence}: read back, it is the same`, (t) => {
      const config = readConfig(flags);
      assert.deepEqual(readConfig({}, write(t, stringify(effectiveFields(config)))), config);
    });
  }
  it('what only a file can say: read back, it is the same', (t) => {
    const text = [
      'bindAddress: fd00::1',
      'healthzBindAddress: "[fd00::1]:1000"',
      'metricsBindAddress: ":0"',
      'bindAddressHardFail: true',
      'nftables: { minSyncPeriod: 1s, syncPeriod: 1m, masqueradeBit: 31 }',
      'conntrack: { tcpEstablishedTimeout: 2h, udpTimeout: 10s }',
      'oomScoreAdj: 0',
      'sluice: { externalIPs: off, externalIPCIDRs: [203.0.113.0/24], sourceRangesEverywhere: true, socketExceptions: [mesh], xdp: native }',
    ];
    const config = readConfig({}, write(t, text.join('\n')));
    assert.deepEqual(readConfig({}, write(t, stringify(effectiveFields(config)))), config);
  });
});
