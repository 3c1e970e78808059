// Which Services does the node have while it is measured? As many as asked for, as manifests, through the product's own source and model.
// Each has a port whose backends are on another node and one whose backends are here.

import { buildModel } from '../control/model/build.ts';
import type { Family, Model, Protocol } from '../control/model/model.ts';
import { nodeFacts } from '../control/model/node.ts';
import { node, objectsOf, type Raw, service, serviceCIDR, slice } from '../test/lib/objects.ts';
import { nic } from './namespace.ts';

/** Where the backends of a port are. */
export type Where = 'remote' | 'local';

/** Ports that every backend has. */
export const backendPort = 8080;
/** Ports of every ClusterIP. */
const remotePort = 80;
export const localPort = 81;
/** Port of the first Service; the next has the next. */
const nodePorts: Readonly<Record<Where, number>> = { remote: 30000, local: 40000 };
/** Local pods of all Services together: as many as a node has. */
const LOCAL_PODS = 100;
/** Remote pods of a Service; two Services select the same, since a table of its own for each of 10,000 is more than the slots hold. */
const REMOTE_PODS = 2;
const SERVICES_PER_POD = 2;

const NODE = 'node-a';

export function nodePortOf(where: Where, index: number): number {
  return nodePorts[where] + index;
}

function hex(number: number): string {
  return number.toString(16);
}

/** A pod's address: remote ones by Service and number, local ones by number alone. */
function podAddress(where: Where, family: Family, index: number, pod: number): string {
  const number =
    where === 'remote' ? Math.floor(index / SERVICES_PER_POD) * REMOTE_PODS + pod + 256 : ((index * 2 + pod) % LOCAL_PODS) + 10;
  if (family === 6) return `fd0${where === 'remote' ? 2 : 1}::${hex(number + 0x1000)}`;
  return `${where === 'remote' ? '10.128' : '10.1'}.${number >> 8}.${number & 255}`;
}

/** Index of the first Service is 0, its address the second of the prefix: the first is no host's. */
export function clusterIPOf(family: Family, index: number): string {
  const number = index + 1;
  return family === 4 ? `10.${96 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}` : `fd96::${hex(number)}`;
}

/** Addresses of the pods behind the local port of a Service. */
export function localPodsOf(family: Family, index: number): string[] {
  return [0, 1].map((pod) => podAddress('local', family, index, pod));
}

/** A NodePort Service with `remote` and `local` ports of each protocol, and its slices. */
function manifestsOf(index: number, families: readonly Family[], protocols: readonly Protocol[]): Raw[] {
  const name = `bench-${index}`;
  const wheres: readonly Where[] = ['remote', 'local'];
  const portName = (where: Where, protocol: Protocol) => `${where}-${protocol.toLowerCase()}`;
  const ports = wheres.flatMap((where) =>
    protocols.map((protocol) => ({
      name: portName(where, protocol),
      protocol,
      port: where === 'local' ? localPort : remotePort,
      nodePort: nodePortOf(where, index),
    })),
  );
  const clusterIPs = families.map((family) => clusterIPOf(family, index));
  const slices = families.flatMap((family) =>
    wheres.map((where) => {
      const endpoints = [0, 1].map((pod) => ({
        addresses: [podAddress(where, family, index, pod)],
        nodeName: where === 'local' ? NODE : 'node-b',
      }));
      return slice(name, `${name}-${where}-${family}`, endpoints, {
        ports: protocols.map((protocol) => ({ name: portName(where, protocol), protocol, port: backendPort })),
      });
    }),
  );
  const spec = { type: 'NodePort', clusterIP: clusterIPs[0], clusterIPs, ipFamilies: families.map((family) => `IPv${family}`), ports };
  return [service(name, spec), ...slices];
}

/** What the manifests of `services` Services mean on this node. */
export function modelOf(services: number, families: readonly Family[], protocols: readonly Protocol[]): Model {
  const cidrs = serviceCIDR('bench', ['10.96.0.0/12', 'fd96::/112']);
  const manifests = Array.from({ length: services }, (_, index) => manifestsOf(index, families, protocols)).flat();
  const objects = objectsOf(node(NODE, [nic[4], nic[6]]), cidrs, ...manifests);
  const addresses = [nic[4], nic[6]];
  const facts = nodeFacts(objects, NODE, { localAddresses: addresses, defaultRouteAddresses: addresses });
  return buildModel(objects, facts, { serviceCIDRs: [], serviceProxyName: undefined, detectLocal: { mode: 'PodInterfaces' } });
}
