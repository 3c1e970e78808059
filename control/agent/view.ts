// What does the cluster say that is about the node and not about a Service? Followed from Model to Model: the identical value while
// nothing of it changes, so that the datapath has nothing to look at after most turns.

import type { Config } from '../config.ts';
import type { ClusterView } from '../kernel/writer.ts';
import type { Model, ModelService } from '../model/model.ts';
import { podPrefixes } from '../model/node.ts';
import { differences, sortedMap } from '../sorted.ts';

function eachNodePort(service: ModelService | undefined, take: (port: number) => void): void {
  if (service === undefined) return;
  for (const port of service.ports) for (const frontend of port.frontends) if (frontend.kind === 'NodePort') take(frontend.port);
}

/** Follows the Models of one agent: call it with each in turn. */
export function followView(config: Pick<Config, 'detectLocal'>): (model: Model) => ClusterView {
  let services: Model['services'] = sortedMap();
  /** How many Service ports have each node port. */
  const claims = new Map<number, number>();
  let nodePorts: ReadonlySet<number> = new Set();
  let view: ClusterView | undefined;

  const count = (port: number, by: 1 | -1, crossed: Set<number>) => {
    const before = claims.get(port) ?? 0;
    if (before + by > 0) claims.set(port, before + by);
    else claims.delete(port);
    // Twice is back: another version of the same Service.
    if ((before === 0 || before + by === 0) && !crossed.delete(port)) crossed.add(port);
  };

  return (model) => {
    const crossed = new Set<number>();
    for (const key of differences(model.services, services)) {
      eachNodePort(services.get(key), (port) => count(port, -1, crossed));
      eachNodePort(model.services.get(key), (port) => count(port, 1, crossed));
    }
    services = model.services;
    if (crossed.size > 0) nodePorts = new Set(claims.keys());
    const { serviceCIDRs, node } = model;
    const localPrefixes = podPrefixes(config.detectLocal, node);
    const same =
      view?.serviceCIDRs === serviceCIDRs &&
      view.localPrefixes === localPrefixes &&
      view.nodeAddresses === node.primaryAddresses &&
      view.nodePorts === nodePorts;
    if (!same) view = { serviceCIDRs, localPrefixes, nodeAddresses: node.primaryAddresses, nodePorts };
    return view!;
  };
}
