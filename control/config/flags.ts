// Which fields of the configuration have a flag? The one list: the command line makes its options from it and config.ts merges
// them into the file.

/**
 * How the text of a flag becomes a field's value; what does not fit stays text, for the validation to name. kube-proxy: an empty text
 * is as good as none, but for `listening`, which it turns off.
 */
export type FlagForm = 'text' | 'listening' | 'list' | 'switch' | 'number' | 'sizes';

export interface Flag {
  /** Without the dashes: `cluster-cidr`. */
  readonly name: string;
  /** Placeholder of its value in the help; undefined for a switch. */
  readonly argument?: string;
  readonly form: FlagForm;
  /** Path of the field it sets. */
  readonly field: string;
  /** kube-proxy: one flag for what stands in a section of each mode. */
  readonly alsoField?: string;
  readonly description: string;
}

export const FLAGS: readonly Flag[] = [
  {
    name: 'hostname-override',
    argument: 'NAME',
    form: 'text',
    field: 'hostnameOverride',
    description: 'name of this node in the cluster (default: the lower-cased host name)',
  },
  {
    name: 'kubeconfig',
    argument: 'FILE',
    form: 'text',
    field: 'clientConnection.kubeconfig',
    description: 'how to reach the API server (default: as the service account of the pod that the agent runs in)',
  },
  {
    name: 'api-server',
    argument: 'URLS',
    form: 'list',
    field: 'sluice.apiServers',
    description: 'addresses of the API server, tried in turn, in place of the kubeconfig’s: https://192.0.2.1:6443,https://192.0.2.2:6443',
  },
  {
    name: 'manifests',
    argument: 'DIR',
    form: 'text',
    field: 'sluice.manifests',
    description: 'directory of YAML or JSON files with Services, EndpointSlices, Nodes, ServiceCIDRs',
  },
  {
    name: 'devices',
    argument: 'NAMES',
    form: 'list',
    field: 'sluice.devices',
    description: 'network devices that lead out of the node (default: those of the default routes and of node addresses)',
  },
  {
    name: 'pod-interfaces',
    argument: 'PREFIXES',
    form: 'list',
    field: 'sluice.podInterfaces',
    description: 'name prefixes of pod interfaces, or auto: veth and netkit whose peer is in another network namespace',
  },
  {
    name: 'nodeport-addresses',
    argument: 'LIST',
    form: 'list',
    field: 'nodePortAddresses',
    description: 'addresses NodePorts are served on: primary, localhost, all, or networks (default: primary)',
  },
  {
    name: 'service-cidr',
    argument: 'NETWORKS',
    form: 'list',
    field: 'sluice.serviceCIDRs',
    description: 'networks of ClusterIPs, besides those of ServiceCIDR objects',
  },
  {
    name: 'detect-local-mode',
    argument: 'MODE',
    form: 'text',
    field: 'detectLocalMode',
    description: 'how local pods are known: ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix (default: by pod interface)',
  },
  { name: 'cluster-cidr', argument: 'NETWORKS', form: 'text', field: 'clusterCIDR', description: 'networks of pods, for ClusterCIDR' },
  {
    name: 'pod-bridge-interface',
    argument: 'NAME',
    form: 'text',
    field: 'detectLocal.bridgeInterface',
    description: 'bridge of local pods, for BridgeInterface',
  },
  {
    name: 'pod-interface-name-prefix',
    argument: 'PREFIX',
    form: 'text',
    field: 'detectLocal.interfaceNamePrefix',
    description: 'prefix of the interfaces of local pods, for InterfaceNamePrefix',
  },
  {
    name: 'masquerade-all',
    form: 'switch',
    field: 'iptables.masqueradeAll',
    alsoField: 'nftables.masqueradeAll',
    description: 'masquerade every connection to a ClusterIP',
  },
  {
    name: 'healthz-bind-address',
    argument: 'ADDRESS',
    form: 'listening',
    field: 'healthzBindAddress',
    description: 'where the health server listens (default: 0.0.0.0:10256); "" turns it off',
  },
  {
    name: 'metrics-bind-address',
    argument: 'ADDRESS',
    form: 'listening',
    field: 'metricsBindAddress',
    description: 'where the metrics server listens (default: 127.0.0.1:10249); "" turns it off',
  },
  {
    name: 'proxy-mode',
    argument: 'MODE',
    form: 'text',
    field: 'mode',
    description: 'accepted for kube-proxy’s sake; it decides which section of its configuration counts, and nothing else',
  },
  { name: 'hooks', argument: 'LIST', form: 'list', field: 'sluice.hooks', description: 'hooks to use: tc, socket (default: both)' },
  {
    name: 'socket',
    argument: 'MODE',
    form: 'text',
    field: 'sluice.socket',
    description: 'whom the socket hook serves: on (pods and the node), host-only, off (default: on)',
  },
  {
    name: 'xdp',
    argument: 'MODE',
    form: 'text',
    field: 'sluice.xdp',
    description: 'XDP at the NICs: auto, native (at veth NICs too, and a refusal is a problem), off (default: auto)',
  },
  {
    name: 'snat-ports',
    argument: 'FIRST-LAST',
    form: 'text',
    field: 'sluice.snatPorts',
    description: 'source ports of masqueraded connections (default: 16384-29999)',
  },
  {
    name: 'cgroup-root',
    argument: 'DIR',
    form: 'text',
    field: 'sluice.cgroupRoot',
    description: 'root of the cgroup v2 tree (default: where it is mounted)',
  },
  {
    name: 'pin-directory',
    argument: 'DIR',
    form: 'text',
    field: 'sluice.pinDirectory',
    description: 'directory in a bpffs for maps and links (default: /sys/fs/bpf/sluice)',
  },
  {
    name: 'state-directory',
    argument: 'DIR',
    form: 'text',
    field: 'sluice.stateDirectory',
    description: 'directory of the socket and the snapshot (default: /run/sluice)',
  },
  {
    name: 'map-size',
    argument: 'MAP=ENTRIES',
    form: 'sizes',
    field: 'sluice.mapSizes',
    description: 'entries of maps that are made, comma-separated: flows4=524288,flows6=65536',
  },
  { name: 'v', argument: 'LEVEL', form: 'number', field: 'logging.verbosity', description: 'how much is logged: 4 and more for debugging' },
];

/** What the command line gave for a flag. */
export type FlagValue = string | boolean | readonly string[] | undefined;

function readSizes(text: string): unknown {
  const entries = text.split(',').map((entry) => {
    const [name, size] = entry.split('=');
    return [name!.trim(), size !== undefined && /^\d+$/.test(size.trim()) ? Number(size) : (size ?? '')] as const;
  });
  return Object.fromEntries(entries);
}

/** kube-proxy: a switch takes what Go reads as a boolean; undefined: it is none. */
export function readSwitch(text: string): boolean | undefined {
  if (['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text)) return true;
  return ['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text) ? false : undefined;
}

/** The value of a flag as the configuration file would hold it; undefined: as if it were not given. */
export function flagToField(form: FlagForm, value: Exclude<FlagValue, undefined>): unknown {
  if (typeof value === 'boolean') return value;
  const text = typeof value === 'string' ? value : value.filter((part) => part !== '').join(',');
  switch (form) {
    case 'text':
      return text === '' ? undefined : text;
    case 'listening':
      return text;
    case 'list':
      return text === '' ? undefined : text.split(',').map((word) => word.trim());
    case 'switch':
      return readSwitch(text) ?? text;
    case 'number':
      // kube-proxy: -v=2 is as good as -v 2.
      return /^=?\d+$/.test(text) ? Number(text.replace('=', '')) : text;
    case 'sizes':
      return text === '' ? undefined : readSizes(text);
  }
}
