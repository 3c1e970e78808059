// Do the maps hold what the manifests say, every frontend with its backends and nothing else? Judged by what `sluice dump` prints.

import { type NodeName, nodeNames, nodeObjects } from '../test/lib/places.ts';
import { type Cluster, until } from './cluster.ts';
import { expectedBackends, expectedFrontends, type Frontend, frontendText, type Manifests } from './manifests.ts';

interface Dump {
  readonly frontends: readonly Frontend[];
  readonly backends: readonly { readonly address: string; readonly port: number; readonly protocol: string; readonly place: string }[];
  readonly slices: readonly { readonly address: string | null }[];
  readonly maglev: readonly { readonly address: string | null }[];
  readonly addresses: readonly { readonly address: string; readonly is: readonly string[] }[];
}

/** What is in one list and not in the other, in words. */
function differences(what: string, held: Iterable<string>, wanted: Iterable<string>): string[] {
  const there = new Set(held);
  const must = new Set(wanted);
  return [
    ...[...must].filter((text) => !there.has(text)).map((text) => `${what} missing: ${text}`),
    ...[...there].filter((text) => !must.has(text)).map((text) => `${what} not in the manifests: ${text}`),
  ];
}

function backendTexts(manifests: Manifests, node: NodeName): string[] {
  return expectedBackends(manifests).map(({ text, nodeName }) => `${text} ${nodeName === nodeObjects[node] ? 'local' : 'remote'}`);
}

function textOf({ address, port, protocol, place }: Dump['backends'][number]): string {
  return `${address.includes(':') ? `[${address}]` : address}:${port}/${protocol} ${place}`;
}

/** Compares the whole dump of a node with the manifests. Every difference is a sentence. */
export async function compareAll(cluster: Cluster, node: NodeName, manifests: Manifests): Promise<string[]> {
  const dump = await cluster.dump<Dump>(node, 'all');
  const wanted = expectedFrontends(manifests);
  const frontAddresses = dump.addresses.filter(({ is }) => is.includes('frontend')).map(({ address }) => address);
  const absent = [...dump.slices, ...dump.maglev].filter(({ address }) => address === null);
  return [
    ...differences('frontend', dump.frontends.map(frontendText), wanted.map(frontendText)),
    ...differences('backend', dump.backends.map(textOf), backendTexts(manifests, node)),
    ...differences(
      'address',
      frontAddresses,
      wanted.filter(({ kind }) => kind !== 'NodePort').map(({ address }) => address),
    ),
    ...absent.map(() => 'a slot that names no backend'),
  ];
}

/** Waits until the frontends of both nodes are those of the manifests. */
export async function untilServed(cluster: Cluster, manifests: Manifests): Promise<void> {
  const wanted = expectedFrontends(manifests).map(frontendText);
  await Promise.all(
    nodeNames.map((node) =>
      until(`the manifests in the maps of ${nodeObjects[node]}`, async () => {
        const held = await cluster.dump<Frontend[]>(node, 'frontends').catch((error: Error) => error.message);
        if (typeof held === 'string') return held;
        return differences('frontend', held.map(frontendText), wanted)[0] ?? true;
      }),
    ),
  );
}

interface Flow {
  readonly protocol: string;
  readonly direction: string;
  readonly state: string;
  readonly source: string;
  readonly sourcePort: number;
  readonly destination: string;
  readonly destinationPort: number;
  readonly backend: string;
}

/** The backend of every confirmed request flow of both nodes. */
export async function liveFlows(cluster: Cluster): Promise<Map<string, string>> {
  const dumps = await Promise.all(nodeNames.map((node) => cluster.dump<Flow[]>(node, 'conntrack')));
  const flows = dumps.flat().filter(({ direction, state }) => direction === 'request' && state === 'confirmed');
  return new Map(
    flows.map((flow) => [`${flow.protocol} ${flow.source} ${flow.sourcePort} ${flow.destination} ${flow.destinationPort}`, flow.backend]),
  );
}
