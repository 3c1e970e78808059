// Which fields may a configuration have? KubeProxyConfiguration v1alpha1 as kubeadm and kube-proxy write it, whole, and our own
// section `sluice`. What a field may hold is in values.ts; what the fields mean together is in meaning.ts.

import { z } from 'zod';
import * as value from './values.ts';

export const API_VERSION = 'kubeproxy.config.k8s.io/v1alpha1';
export const KIND = 'KubeProxyConfiguration';

const periods = { syncPeriod: value.periodMs.optional(), minSyncPeriod: value.periodMs.optional() };
const masquerade = { masqueradeAll: value.flag.optional(), masqueradeBit: value.integer(0, 31).optional() };

const sluice = z.strictObject({
  manifests: value.directory.optional(),
  apiServers: z.array(value.serverUrl).optional(),
  serviceProxyName: value.labelValue.optional(),
  serviceCIDRs: z.array(value.prefix).optional(),
  devices: z.array(value.interfaceName).optional(),
  podInterfaces: z.union([value.oneOf(['auto']), z.array(value.interfacePrefix)]).optional(),
  hooks: z.array(value.oneOf(['tc', 'socket'])).optional(),
  socket: value.oneOf(['on', 'host-only', 'off']).optional(),
  xdp: value.oneOf(['auto', 'native', 'off']).optional(),
  socketExceptions: z.array(value.cgroupPath).optional(),
  resetGoneBackends: value.flag.optional(),
  externalIPs: value.onOff.optional(),
  externalIPCIDRs: z.array(value.prefix).optional(),
  sourceRangesEverywhere: value.flag.optional(),
  cgroupRoot: value.absoluteDirectory.optional(),
  pinDirectory: value.absoluteDirectory.optional(),
  stateDirectory: value.absoluteDirectory.optional(),
  mapSizes: value.mapSizes.optional(),
  snatPorts: value.portRange.optional(),
});

export const schema = z.strictObject({
  apiVersion: value.oneOf([API_VERSION]).optional(),
  kind: value.oneOf([KIND]).optional(),
  clientConnection: z
    .strictObject({
      kubeconfig: value.file.optional(),
      acceptContentTypes: value.withoutEffect(value.loose('string')),
      contentType: value.withoutEffect(value.loose('string')),
      qps: value.withoutEffect(value.loose('number')),
      burst: value.withoutEffect(value.loose('number')),
    })
    .optional(),
  hostnameOverride: value.nodeName.optional(),
  bindAddress: value.address.optional(),
  healthzBindAddress: value.listening.optional(),
  metricsBindAddress: value.listening.optional(),
  bindAddressHardFail: value.flag.optional(),
  mode: value.withoutEffect(value.oneOf(['iptables', 'ipvs', 'nftables'])),
  nodePortAddresses: z.array(z.union([value.oneOf(['primary', 'localhost', 'all']), value.prefix])).optional(),
  detectLocalMode: value.oneOf(['ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix']).optional(),
  detectLocal: z
    .strictObject({ bridgeInterface: value.interfaceName.optional(), interfaceNamePrefix: value.interfacePrefix.optional() })
    .optional(),
  clusterCIDR: value.prefixes.optional(),
  iptables: z
    .strictObject({
      ...masquerade,
      ...periods,
      // kube-proxy: absent is true; we serve node ports on loopback by the socket hook and on both families.
      localhostNodePorts: value.withoutEffect(value.loose('boolean'), 'is a word'),
      snatNodeInternalIP: value.withoutEffect(value.loose('boolean')),
    })
    .optional(),
  nftables: z.strictObject({ ...masquerade, ...periods }).optional(),
  ipvs: z
    .strictObject({
      ...periods,
      scheduler: value.withoutEffect(value.loose('string')),
      excludeCIDRs: value.withoutEffect(value.loose('object')),
      strictARP: value.withoutEffect(value.loose('boolean')),
      tcpTimeout: value.withoutEffect(value.loose('string')),
      tcpFinTimeout: value.withoutEffect(value.loose('string')),
      udpTimeout: value.withoutEffect(value.loose('string')),
    })
    .optional(),
  conntrack: z
    .strictObject({
      tcpEstablishedTimeout: value.seconds.optional(),
      tcpCloseWaitTimeout: value.seconds.optional(),
      udpTimeout: value.seconds.optional(),
      udpStreamTimeout: value.seconds.optional(),
      // Of nf_conntrack, which our flows do not use.
      maxPerCore: value.withoutEffect(value.loose('number')),
      min: value.withoutEffect(value.loose('number')),
      max: value.withoutEffect(value.loose('number')),
      tcpBeLiberal: value.withoutEffect(value.loose('boolean')),
    })
    .optional(),
  oomScoreAdj: value.integer(-1000, 1000).optional(),
  logging: z
    .strictObject({
      verbosity: value.integer(0, 100).optional(),
      format: value.withoutEffect(value.loose('string')),
      flushFrequency: value.withoutEffect(value.loose('string', 'number')),
      vmodule: value.withoutEffect(value.loose('object')),
      options: value.withoutEffect(value.loose('object')),
    })
    .optional(),
  configSyncPeriod: value.withoutEffect(value.loose('string')),
  featureGates: value.withoutEffect(value.loose('object')),
  enableProfiling: value.withoutEffect(value.loose('boolean')),
  showHiddenMetricsForVersion: value.withoutEffect(value.loose('string')),
  winkernel: value.withoutEffect(value.loose('object')),
  windowsRunAsService: value.withoutEffect(value.loose('boolean')),
  portRange: value.withoutEffect(value.loose('string')),
  // Older files still have these.
  udpIdleTimeout: value.withoutEffect(value.loose('string')),
  resourceContainer: value.withoutEffect(value.loose('string')),
  sluice: sluice.optional(),
});

export type Fields = z.output<typeof schema>;
