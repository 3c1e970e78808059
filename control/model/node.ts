// What is this node? Its Node object and its devices put together, the addresses NodePorts are served on, and the prefixes by
// which a client is known to be a local pod.

import { addressKind, familyOf, insideOf } from '../address.ts';
import type { Objects } from '../source/objects.ts';
import type { Address, Family, NodeFacts, Prefix, Problem } from './model.ts';

/** What the devices of the node's own network namespace say. */
export interface DeviceAddresses {
  /** Every address on a device, loopback excluded. */
  readonly localAddresses: readonly Address[];
  /** Those of the default-route devices, the preferred one of a family first. */
  readonly defaultRouteAddresses: readonly Address[];
}

/** NodePorts are served on the node's primary addresses, on its addresses inside the ranges, or on both (8.1). */
export interface NodePortAddresses {
  readonly primary: boolean;
  readonly ranges: readonly Prefix[];
}

/** How a client is known to be a pod of this node (14.2). */
export type DetectLocal =
  | { readonly mode: 'PodInterfaces' }
  | { readonly mode: 'ClusterCIDR'; readonly prefixes: readonly Prefix[] }
  | { readonly mode: 'NodeCIDR' }
  | { readonly mode: 'BridgeInterface'; readonly bridge: string }
  | { readonly mode: 'InterfaceNamePrefix'; readonly prefix: string };

/** The first address of each family. */
function firstOfFamily(addresses: readonly Address[]): Address[] {
  const first = new Map<Family, Address>();
  for (const address of addresses) if (!first.has(familyOf(address))) first.set(familyOf(address), address);
  return [...first.values()];
}

/**
 * Facts of the node called `name`. Its Node object decides the primary addresses; without one, or while it has none, they are
 * those of the default-route devices and the zone is unknown. kube-proxy: `bindAddress`, where it is one, stands before both in its family.
 */
export function nodeFacts(objects: Objects, name: string, devices: DeviceAddresses, bindAddress?: Address): NodeFacts {
  const node = objects.nodes.get(name);
  const own = node !== undefined && node.addresses.length > 0 ? node.addresses : devices.defaultRouteAddresses;
  return {
    name,
    zone: node?.zone,
    primaryAddresses: firstOfFamily(bindAddress === undefined ? own : [bindAddress, ...own]),
    localAddresses: devices.localAddresses,
    podCIDRs: node?.podCIDRs ?? [],
  };
}

/** The addresses NodePorts are served on now. A link-local IPv6 address is never one of them (3.12). */
export function nodePortAddresses(selection: NodePortAddresses, node: NodeFacts): Address[] {
  const inside = insideOf(selection.ranges);
  const selected = [...(selection.primary ? node.primaryAddresses : []), ...node.localAddresses.filter(inside)];
  return [...new Set(selected)].filter((address) => familyOf(address) === 4 || addressKind(address) !== 'link-local').sort();
}

/** The prefixes local pods have; undefined: they are known by their interface. */
export function podPrefixes(detect: DetectLocal, node: NodeFacts): readonly Prefix[] | undefined {
  if (detect.mode === 'ClusterCIDR') return detect.prefixes;
  return detect.mode === 'NodeCIDR' ? node.podCIDRs : undefined;
}

function agentProblem(reason: string, message: string, field?: string): Problem {
  return { object: 'Agent', ...(field === undefined ? {} : { field }), reason, message };
}

/** What is not known of this node and what that means. `families`: those in which some Service is served. */
export function nodeProblems(objects: Objects, node: NodeFacts, detect: DetectLocal, families: ReadonlySet<Family>): Problem[] {
  const problems: Problem[] = [];
  const name = JSON.stringify(node.name);
  if (!objects.nodes.has(node.name)) {
    const message = `there is no Node object named ${name}: the node's addresses are those of its default-route device and its zone is unknown`;
    problems.push(agentProblem('NoNodeObject', message));
  }
  const prefixes = podPrefixes(detect, node);
  const field = detect.mode === 'NodeCIDR' ? 'spec.podCIDRs' : 'clusterCIDR';
  for (const family of prefixes === undefined ? [] : families) {
    if (prefixes!.some((prefix) => familyOf(prefix) === family)) continue;
    // Row 14.2: one family without a prefix would treat every local pod of it as a stranger.
    const message = `local pods of IPv${family} cannot be told: ${detect.mode} has no prefix of that family, so all of them are masqueraded`;
    problems.push(agentProblem('PartialDualStack', message, field));
  }
  return problems;
}
