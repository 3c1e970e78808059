// How would the configuration that counts be written down, every default filled in? As KubeProxyConfiguration v1alpha1 with our section:
// what is read back from it is the same configuration.

import type { Config } from '../config.ts';
import { API_VERSION, KIND } from './schema.ts';

type Listening = Config['healthzBindAddress'];

function listening(given: Listening): string {
  if (given === undefined) return ':0';
  return `${given.address.includes(':') ? `[${given.address}]` : given.address}:${given.port}`;
}

/** Neither primary addresses nor networks: an empty list would be read as the default. */
function nodePortWords({ nodePortAddresses: { primary, ranges } }: Config): readonly string[] {
  if (!primary && ranges.length === 0) return ['localhost'];
  return [...(primary ? ['primary'] : []), ...ranges];
}

function detectLocal({ detectLocal: given }: Config) {
  switch (given.mode) {
    case 'PodInterfaces':
      return {};
    case 'NodeCIDR':
      return { detectLocalMode: given.mode };
    case 'ClusterCIDR':
      return { detectLocalMode: given.mode, clusterCIDR: given.prefixes.join(',') };
    case 'BridgeInterface':
      return { detectLocalMode: given.mode, detectLocal: { bridgeInterface: given.bridge } };
    case 'InterfaceNamePrefix':
      return { detectLocalMode: given.mode, detectLocal: { interfaceNamePrefix: given.prefix } };
  }
}

/** Fields as a configuration file has them; what is undefined is written nowhere. Fields without effect are left out. */
export function effectiveFields(config: Config): Readonly<Record<string, unknown>> {
  const { conntrack, hooks } = config;
  return {
    apiVersion: API_VERSION,
    kind: KIND,
    clientConnection: { kubeconfig: config.kubeconfig },
    hostnameOverride: config.nodeName,
    bindAddress: config.bindAddress,
    healthzBindAddress: listening(config.healthzBindAddress),
    metricsBindAddress: listening(config.metricsBindAddress),
    bindAddressHardFail: config.bindAddressHardFail,
    nodePortAddresses: nodePortWords(config),
    ...detectLocal(config),
    nftables: {
      masqueradeAll: config.masqueradeAll,
      masqueradeBit: Math.log2(config.masqueradeMark),
      syncPeriod: `${config.syncPeriodMs}ms`,
      minSyncPeriod: config.minSyncPeriodMs === undefined ? undefined : `${config.minSyncPeriodMs}ms`,
    },
    conntrack: {
      tcpEstablishedTimeout: `${conntrack.tcpEstablishedSeconds}s`,
      tcpCloseWaitTimeout: `${conntrack.tcpCloseWaitSeconds}s`,
      udpTimeout: `${conntrack.udpSeconds}s`,
      udpStreamTimeout: `${conntrack.udpStreamSeconds}s`,
    },
    oomScoreAdj: config.oomScoreAdj,
    logging: { verbosity: config.verbosity },
    sluice: {
      manifests: config.manifests,
      apiServers: config.apiServers,
      serviceProxyName: config.serviceProxyName,
      serviceCIDRs: config.serviceCIDRs,
      devices: config.devices,
      podInterfaces: config.podInterfaces,
      hooks: [...(hooks.tc ? ['tc'] : []), ...(hooks.socket === 'off' ? [] : ['socket'])],
      socket: hooks.socket,
      xdp: config.xdp,
      socketExceptions: config.socketExceptions,
      resetGoneBackends: config.resetGoneBackends,
      externalIPs: config.externalIPs.served ? 'on' : 'off',
      externalIPCIDRs: config.externalIPs.allowed,
      sourceRangesEverywhere: config.sourceRangesEverywhere,
      cgroupRoot: config.cgroupRoot,
      pinDirectory: config.pinDirectory,
      stateDirectory: config.stateDirectory,
      mapSizes: config.mapSizes,
      snatPorts: `${config.snatPorts.first}-${config.snatPorts.last}`,
    },
  };
}
