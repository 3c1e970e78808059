// Which cluster is measured? Services with one port and one EndpointSlice each, as the API server sends them; some of them, the probes,
// have one endpoint that answers.

/** An object as JSON has it. */
export type Raw = Readonly<Record<string, unknown>>;

export interface Size {
  readonly services: number;
  /** Of each Service. */
  readonly endpoints: number;
}

function quad(base: number, offset: number): string {
  const value = base + offset;
  return [value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255].join('.');
}

/** Names that sort as the numbers do. */
export function nameOf(service: number): string {
  return `service-${String(service).padStart(5, '0')}`;
}

export const namespace = 'default';
export const servicePort = 80;

/** 10.96.1.0 and on: the first addresses are the cluster's own. */
export function clusterIPOf(service: number): string {
  return quad(0x0a60_0100, service);
}

/** Every address of every Service is another one, in 10.128.0.0/9. `version` gives the first endpoint another address. */
export function addressesOf(service: number, { endpoints }: Pick<Size, 'endpoints'>, version = 0): string[] {
  return Array.from({ length: endpoints }, (_, i) =>
    quad(0x0a80_0000, i === 0 && version > 0 ? 0x40_0000 + version : service * endpoints + i),
  );
}

export function serviceObject(service: number): Raw {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { namespace, name: nameOf(service) },
    spec: {
      type: 'ClusterIP',
      clusterIP: clusterIPOf(service),
      ports: [{ name: 'http', port: servicePort, protocol: 'TCP', targetPort: 8080 }],
    },
  };
}

export function sliceName(service: number): string {
  return `${nameOf(service)}-abcde`;
}

export function sliceObject(service: number, addresses: readonly string[], nodeName?: string): Raw {
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { namespace, name: sliceName(service), labels: { 'kubernetes.io/service-name': nameOf(service) } },
    addressType: 'IPv4',
    ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
    endpoints: addresses.map((address, i) => ({
      addresses: [address],
      nodeName: nodeName ?? `worker-${(service + i) % 500}.example.internal`,
      conditions: { ready: true, serving: true, terminating: false },
    })),
  };
}
