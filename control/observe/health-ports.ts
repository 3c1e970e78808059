// What is a load balancer told that asks this node for the endpoints of one Service? A server for each healthCheckNodePort (12.1, 12.2),
// on each address of the node where NodePorts are. One that cannot listen is that Service's Problem and tries again.

import { familyOf } from '../address.ts';
import type { Address, HealthCheck, ModelService, Problem } from '../model/model.ts';
import { type Answer, type Listener, openListener, placeText } from './listener.ts';

export interface HealthPorts {
  /**
   * Opens, closes and leaves alone what the Services ask for. changed: keys of those that may differ from the call before; undefined:
   * any may. addresses: the NodePort addresses of this node, or the unspecified one for all.
   */
  follow(services: ReadonlyMap<string, ModelService>, changed: ReadonlySet<string> | undefined, addresses: readonly Address[]): void;
  problems(): readonly Problem[];
  close(): void;
}

/** One Service that is asked for. */
interface Asked {
  readonly key: string;
  check: HealthCheck;
  readonly listeners: Map<Address, Listener>;
}

/** kube-proxy: the count of endpoints doubles as a weight. The body is laid out as kube-proxy lays it out. */
export function healthCheckAnswer(key: string, localEndpoints: number, proxyHealthy: boolean): Answer {
  const [namespace, name] = key.split('/');
  return {
    code: localEndpoints > 0 && proxyHealthy ? 200 : 503,
    headers: {
      'Content-Type': 'application/json',
      'X-Content-Type-Options': 'nosniff',
      'X-Load-Balancing-Endpoint-Weight': String(localEndpoints),
    },
    body: [
      '{',
      '\t"service": {',
      `\t\t"namespace": ${JSON.stringify(namespace)},`,
      `\t\t"name": ${JSON.stringify(name)}`,
      '\t},',
      `\t"localEndpoints": ${localEndpoints},`,
      `\t"serviceProxyHealthy": ${proxyHealthy}`,
      '}',
    ].join('\n'),
  };
}

/** Those of the family that was asked; a Service that lacks it answers for the one it has. */
function endpointsFor({ localEndpoints }: HealthCheck, address: Address): number {
  return localEndpoints.get(familyOf(address)) ?? [...localEndpoints.values()][0] ?? 0;
}

/**
 * healthy: does the proxy get its changes through? The node's own eligibility does not count here (12.4). serves: is a version of the Service in
 * force? One that does not fit into the maps has no endpoint that a client would reach here. onProblems: problems() changed.
 */
export function openHealthPorts(
  nodeName: string,
  healthy: () => boolean,
  serves: (service: string) => boolean,
  onProblems: () => void,
  retryMs?: number,
): HealthPorts {
  const asked = new Map<string, Asked>();
  let addressText = '';

  const listenAt = (one: Asked, address: Address): Listener =>
    openListener(
      { address, port: one.check.port },
      ({ address: at }) => healthCheckAnswer(one.key, serves(one.key) ? endpointsFor(one.check, at) : 0, healthy()),
      onProblems,
      retryMs,
    );

  let problemsGone = false;
  const closeAt = (one: Asked, address: Address) => {
    const listener = one.listeners.get(address)!;
    problemsGone ||= listener.refusal() !== undefined;
    listener.close();
    one.listeners.delete(address);
  };
  const stop = (one: Asked) => {
    for (const address of [...one.listeners.keys()]) closeAt(one, address);
    asked.delete(one.key);
  };

  /** Listeners that stay are not touched: the load balancer's connections live on. */
  const reach = (one: Asked, addresses: readonly Address[]) => {
    for (const address of [...one.listeners.keys()]) if (!addresses.includes(address)) closeAt(one, address);
    for (const address of addresses) if (!one.listeners.has(address)) one.listeners.set(address, listenAt(one, address));
  };

  return {
    follow(services, changed, addresses) {
      const text = addresses.join();
      const keys = changed === undefined || text !== addressText ? new Set([...services.keys(), ...asked.keys()]) : changed;
      addressText = text;
      const wanted: [string, HealthCheck][] = [];
      // What goes first: its port may be another's from now on.
      for (const key of keys) {
        const check = services.get(key)?.healthCheck;
        const one = asked.get(key);
        if (one !== undefined && check?.port !== one.check.port) stop(one);
        if (check !== undefined) wanted.push([key, check]);
      }
      for (const [key, check] of wanted) {
        const one = asked.get(key) ?? { key, check, listeners: new Map() };
        one.check = check;
        asked.set(key, one);
        reach(one, addresses);
      }
      if (problemsGone) onProblems();
      problemsGone = false;
    },
    problems() {
      return [...asked.values()].flatMap(({ key, check, listeners }) =>
        [...listeners].flatMap(([address, listener]): Problem[] => {
          const refusal = listener.refusal();
          if (refusal === undefined) return [];
          const place = placeText({ address, port: check.port });
          const message = `node ${nodeName} cannot listen on ${place} (${refusal}): load balancers that ask there look elsewhere; it is tried again every 5 s`;
          return [{ object: `Service ${key}`, field: 'spec.healthCheckNodePort', reason: 'FailedToStartServiceHealthcheck', message }];
        }),
      );
    },
    close() {
      for (const one of [...asked.values()]) stop(one);
    },
  };
}
