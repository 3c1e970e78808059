// What is a destination address to us? A frontend's, the node's own, or one whose last frontend is gone but whose flows may
// live on. Several Services and the node may hold one address; NodePorts are served where semantics 8.1 and 8.2 say.

import { AddressFlag } from '../abi/layout.gen.ts';
import { familyOf } from '../address.ts';
import type { Address, Frontend, FrontendKind, NodeFacts } from '../model/model.ts';
import { type NodePortAddresses, nodePortAddresses } from '../model/node.ts';
import { idsOf } from './ids.ts';
import { type AddressHold, FAMILIES, type FamilyPlan, type Plan } from './plan.ts';

function openAddress(part: FamilyPlan, address: Address): AddressHold {
  const hold = part.addresses.get(address) ?? { frontends: 0, clusterIPs: 0, node: 0, retired: false, published: false };
  part.addresses.set(address, hold);
  part.touched.addresses.add(address);
  part.retired.delete(address);
  return hold;
}

/** Forgets an address that nobody holds, unless flows may still go to it. */
function closeAddress(part: FamilyPlan, address: Address, hold: AddressHold): void {
  if (hold.frontends > 0 || hold.node !== 0) return;
  if (hold.retired) part.retired.add(address);
  else part.addresses.delete(address);
}

/** Adds a frontend's claim on its address. False where the map is full. */
export function claimAddress(part: FamilyPlan, { address, kind }: Frontend): boolean {
  if (!part.addresses.has(address) && part.addresses.size >= part.limits.addresses) return false;
  const hold = openAddress(part, address);
  hold.frontends++;
  if (kind === 'ClusterIP') hold.clusterIPs++;
  return true;
}

/** Takes a frontend's claim back. An address that was in the map retires: flows to it live on (semantics 9.1). */
export function releaseAddress(part: FamilyPlan, address: Address, kind: FrontendKind): void {
  const hold = openAddress(part, address);
  hold.frontends--;
  if (kind === 'ClusterIP') hold.clusterIPs--;
  if (hold.frontends === 0 && hold.published) hold.retired = true;
  closeAddress(part, address, hold);
}

function nodeFlags(node: NodeFacts, where: NodePortAddresses): Map<Address, number> {
  const serving = new Set(nodePortAddresses(where, node));
  const flags = new Map<Address, number>();
  for (const address of [...node.primaryAddresses, ...node.localAddresses]) {
    flags.set(address, AddressFlag.ADDRESS_NODE | (serving.has(address) ? AddressFlag.ADDRESS_NODE_PORT : 0));
  }
  return flags;
}

function placeAddresses(part: FamilyPlan, flags: ReadonlyMap<Address, number>, before: ReadonlySet<Address>): void {
  for (const address of new Set([...before, ...flags.keys()])) {
    const node = flags.get(address) ?? 0;
    if (familyOf(address) !== part.family || (part.addresses.get(address)?.node ?? 0) === node) continue;
    const hold = openAddress(part, address);
    hold.node = node;
    closeAddress(part, address, hold);
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
    placeAddresses(part, flags, plan.hosts);
    if (moved.size === 0) continue;
    for (const id of idsOf(part.backends, moved)) part.touched.backends.add(id);
  }
  plan.hosts = hosts;
  plan.node = node;
}
