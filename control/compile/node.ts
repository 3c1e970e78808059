// Which addresses are this node's own, and on which of them are NodePorts served (semantics 8.1, 8.2)?

import { AddressFlag } from '../abi/layout.gen.ts';
import { familyOf } from '../address.ts';
import type { Address, NodeFacts } from '../model/model.ts';
import { type NodePortAddresses, nodePortAddresses } from '../model/node.ts';
import type { FamilyPlan, Plan } from './plan.ts';
import { FAMILIES } from './plan.ts';

function nodeFlags(node: NodeFacts, where: NodePortAddresses): Map<Address, number> {
  const serving = new Set(nodePortAddresses(where, node));
  const flags = new Map<Address, number>();
  for (const address of [...node.primaryAddresses, ...node.localAddresses]) {
    flags.set(address, AddressFlag.ADDRESS_NODE | (serving.has(address) ? AddressFlag.ADDRESS_NODE_PORT : 0));
  }
  return flags;
}

function placeNodeAddresses(part: FamilyPlan, flags: ReadonlyMap<Address, number>, before: ReadonlySet<Address>): void {
  const ofFamily = (address: Address): boolean => familyOf(address) === part.family;
  for (const address of before) {
    const hold = part.addresses.get(address);
    if (hold === undefined || flags.has(address)) continue;
    hold.node = 0;
    if (hold.frontends === 0 && !hold.retired) part.addresses.delete(address);
    part.touched.addresses.add(address);
  }
  for (const [address, node] of flags) {
    if (!ofFamily(address)) continue;
    const hold = part.addresses.get(address);
    if (hold?.node === node) continue;
    if (hold === undefined) part.addresses.set(address, { frontends: 0, clusterIPs: 0, node, retired: false, published: false });
    else hold.node = node;
    part.touched.addresses.add(address);
  }
}

/** Moves the Plan to the node's present addresses: their own entries, and the backends that run on them (BACKEND_HOST). */
export function placeNode(plan: Plan, node: NodeFacts, where: NodePortAddresses): void {
  if (plan.node === node) return;
  const flags = nodeFlags(node, where);
  const hosts = new Set(flags.keys());
  const moved = new Set([...plan.hosts, ...hosts].filter((address) => plan.hosts.has(address) !== hosts.has(address)));
  for (const family of FAMILIES) {
    const part = plan.families[family];
    placeNodeAddresses(part, flags, plan.hosts);
    if (moved.size === 0) continue;
    for (const hold of part.backends.byId.values()) if (moved.has(hold.address)) part.touched.backends.add(hold.id);
  }
  plan.hosts = hosts;
  plan.node = node;
}
