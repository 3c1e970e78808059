// How does a source gather its objects? A store that is changed object by object and handed out as immutable snapshots. A
// snapshot costs what changed since the last one. Equal objects give equal snapshots whatever the order of events: keys ascend.

import { isDeepStrictEqual } from 'node:util';
import type { Problem } from '../model/model.ts';
import { type SortedMap, sortedMap } from '../sorted.ts';
import type { EndpointSlice, Kind, KubeObject, Node, Objects, Service, ServiceCIDR } from './objects.ts';

export interface ObjectStore {
  /** Adds or replaces. An equal value changes nothing: the object held stays the identical one. */
  put(object: KubeObject): void;
  remove(kind: Kind, key: string): void;
  held(kind: Kind, key: string): KubeObject | undefined;
  /** The objects as they are now; the previous snapshot itself where nothing changed. */
  snapshot(problems: readonly Problem[]): Objects;
}

/** One map of the store: its last published version and what changed since; undefined: it goes. */
interface Shelf<V> {
  published: SortedMap<V>;
  readonly pending: Map<string, V | undefined>;
}

function shelf<V>(): Shelf<V> {
  return { published: sortedMap(), pending: new Map() };
}

function heldOn<V>({ published, pending }: Shelf<V>, key: string): V | undefined {
  return pending.has(key) ? pending.get(key) : published.get(key);
}

function publish<V>(on: Shelf<V>): ReadonlyMap<string, V> {
  const { published, pending } = on;
  // What came and went again, or was replaced by the value that is published, is no change.
  for (const [key, value] of pending) if (published.get(key) === value) pending.delete(key);
  on.published = published.withAll(pending);
  pending.clear();
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
    return heldOn<KubeObject>(kind === 'Service' ? services : kind === 'Node' ? nodes : serviceCIDRs, key);
  };

  /** Another value each time, so that a snapshot keeps the number it was taken at. */
  const count = (kind: Kind): void => {
    if (kind === 'Service') changes = { ...changes, services: changes.services + 1 };
    if (kind === 'EndpointSlice') changes = { ...changes, slices: changes.slices + 1 };
  };

  /** Takes a slice out of the list of its Service, or puts it in, keeping the list sorted by key. */
  const regroup = (slice: EndpointSlice, present: boolean): void => {
    if (slice.service === undefined) return;
    const before = heldOn(groups, slice.service) ?? [];
    const after = before.findIndex(({ key }) => key >= slice.key);
    const at = after < 0 ? before.length : after;
    const group = before.toSpliced(at, before[at]?.key === slice.key ? 1 : 0, ...(present ? [slice] : []));
    groups.pending.set(slice.service, group.length > 0 ? group : undefined);
  };

  const removeSlice = (key: string): void => {
    const slice = slices.get(key);
    if (slice === undefined) return;
    slices.delete(key);
    regroup(slice, false);
  };

  return {
    held,
    put(object) {
      if (isDeepStrictEqual(held(object.kind, object.key), object)) return;
      count(object.kind);
      if (object.kind === 'EndpointSlice') {
        if (slices.get(object.key)?.service !== object.service) removeSlice(object.key);
        slices.set(object.key, object);
        regroup(object, true);
      } else if (object.kind === 'Service') services.pending.set(object.key, object);
      else if (object.kind === 'Node') nodes.pending.set(object.key, object);
      else serviceCIDRs.pending.set(object.key, object);
    },
    remove(kind, key) {
      if (held(kind, key) === undefined) return;
      count(kind);
      if (kind === 'EndpointSlice') removeSlice(key);
      else if (kind === 'Service') services.pending.set(key, undefined);
      else if (kind === 'Node') nodes.pending.set(key, undefined);
      else serviceCIDRs.pending.set(key, undefined);
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
