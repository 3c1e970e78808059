// How does a source gather its objects? A store that is changed object by object and handed out as immutable snapshots. A
// snapshot costs what changed since the last one, plus one shallow copy of each map that did.

import { isDeepStrictEqual } from 'node:util';
import type { Problem } from '../model/model.ts';
import type { EndpointSlice, Kind, KubeObject, Node, Objects, Service, ServiceCIDR } from './objects.ts';

export interface ObjectStore {
  /** Adds or replaces. An equal value changes nothing: the object held stays the identical one. */
  put(object: KubeObject): void;
  remove(kind: Kind, key: string): void;
  /** The objects as they are now; the previous snapshot itself where nothing changed. */
  snapshot(problems: readonly Problem[]): Objects;
}

/** One map of the store and its last published copy. */
interface Shelf<V> {
  working: Map<string, V>;
  published: ReadonlyMap<string, V>;
  dirty: boolean;
  /** A key came since the last copy: the order has to be made again. */
  unordered: boolean;
}

function shelf<V>(): Shelf<V> {
  return { working: new Map(), published: new Map(), dirty: false, unordered: false };
}

function setOn<V>(on: Shelf<V>, key: string, value: V): void {
  on.unordered ||= !on.working.has(key);
  on.working.set(key, value);
  on.dirty = true;
}

function deleteFrom<V>(on: Shelf<V>, key: string): void {
  if (on.working.delete(key)) on.dirty = true;
}

/** Equal objects give equal snapshots whatever the order of events: keys ascend. */
function publish<V>(on: Shelf<V>): ReadonlyMap<string, V> {
  if (!on.dirty) return on.published;
  if (on.unordered) on.working = new Map([...on.working].sort(([a], [b]) => (a < b ? -1 : 1)));
  on.published = new Map(on.working);
  on.dirty = on.unordered = false;
  return on.published;
}

export function objectStore(): ObjectStore {
  const services = shelf<Service>();
  const nodes = shelf<Node>();
  const serviceCIDRs = shelf<ServiceCIDR>();
  const slices = new Map<string, EndpointSlice>();
  const groups = shelf<readonly EndpointSlice[]>();
  let changes: Objects['changes'] = { services: 0, slices: 0 };
  let last: Objects = {
    services: services.published,
    slices: groups.published,
    nodes: nodes.published,
    serviceCIDRs: serviceCIDRs.published,
    changes,
    problems: [],
  };

  const held = (kind: Kind, key: string): KubeObject | undefined => {
    if (kind === 'EndpointSlice') return slices.get(key);
    return (kind === 'Service' ? services : kind === 'Node' ? nodes : serviceCIDRs).working.get(key);
  };

  /** Another value each time, so that a snapshot keeps the number it was taken at. */
  const count = (kind: Kind): void => {
    if (kind === 'Service') changes = { ...changes, services: changes.services + 1 };
    if (kind === 'EndpointSlice') changes = { ...changes, slices: changes.slices + 1 };
  };

  /** Takes a slice out of the list of its Service, or puts it in, keeping the list sorted by key. */
  const regroup = (slice: EndpointSlice, present: boolean): void => {
    if (slice.service === undefined) return;
    const others = (groups.working.get(slice.service) ?? []).filter((other) => other.key !== slice.key);
    const group = present ? [...others, slice].sort((a, b) => (a.key < b.key ? -1 : 1)) : others;
    if (group.length > 0) setOn(groups, slice.service, group);
    else deleteFrom(groups, slice.service);
  };

  const removeSlice = (key: string): void => {
    const slice = slices.get(key);
    if (slice === undefined) return;
    slices.delete(key);
    regroup(slice, false);
  };

  return {
    put(object) {
      if (isDeepStrictEqual(held(object.kind, object.key), object)) return;
      count(object.kind);
      if (object.kind === 'EndpointSlice') {
        if (slices.get(object.key)?.service !== object.service) removeSlice(object.key);
        slices.set(object.key, object);
        regroup(object, true);
      } else if (object.kind === 'Service') setOn(services, object.key, object);
      else if (object.kind === 'Node') setOn(nodes, object.key, object);
      else setOn(serviceCIDRs, object.key, object);
    },
    remove(kind, key) {
      if (held(kind, key) === undefined) return;
      count(kind);
      if (kind === 'EndpointSlice') removeSlice(key);
      else if (kind === 'Service') deleteFrom(services, key);
      else if (kind === 'Node') deleteFrom(nodes, key);
      else deleteFrom(serviceCIDRs, key);
    },
    snapshot(problems) {
      const now: Objects = {
        services: publish(services),
        slices: publish(groups),
        nodes: publish(nodes),
        serviceCIDRs: publish(serviceCIDRs),
        changes,
        problems: isDeepStrictEqual(last.problems, problems) ? last.problems : problems,
      };
      const same = (Object.keys(now) as (keyof Objects)[]).every((part) => now[part] === last[part]);
      if (!same) last = now;
      return last;
    },
  };
}
