// What do the flow tables' manifests mean on node A, and what must the maps hold? The product's own source, model and compiler.
import type { Maps } from '../../control/kernel/maps.ts';
import { buildModel } from '../../control/model/build.ts';
import type { Model } from '../../control/model/model.ts';
import { nodeFacts } from '../../control/model/node.ts';
import { openManifests } from '../../control/source/manifests.ts';
import type { Objects } from '../../control/source/objects.ts';
import { adopt, sync } from '../../control/sync.ts';
import { families, nodeObjects, places, secondary } from './places.ts';

/** Addresses on the devices of node A. */
const localAddresses = families.flatMap((family) => [places.nodeA[family], secondary[family]]);

/** The objects in a directory of manifests, read once. */
export function readObjects(directory: string): Objects {
  const source = openManifests(directory);
  try {
    if (!source.synced) throw new Error(`${directory}: some file is still being written`);
    return source.objects();
  } finally {
    source.close();
  }
}

/** What they mean on node A. */
export function modelOf(objects: Objects, sourceRangesEverywhere = false): Model {
  const node = nodeFacts(objects, nodeObjects.nodeA, { localAddresses, defaultRouteAddresses: localAddresses });
  return buildModel(objects, node, {
    ...{ serviceCIDRs: [], serviceProxyName: undefined, sourceRangesEverywhere },
    detectLocal: { mode: 'PodInterfaces' },
  });
}

/** Writes to the maps what a Model asks for. */
export function fillMaps(maps: Maps, model: Model): void {
  sync(maps, adopt(maps), model, { nodePortAddresses: { primary: true, ranges: [] } });
}
