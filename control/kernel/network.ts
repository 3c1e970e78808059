// Which devices, addresses and routes does the node's network namespace have right now? A dump first, then every change as the kernel
// tells it (rtnetlink(7)); after lost messages a dump again. What the devices are to us is decided in links.ts.

import type { Family } from '../model/model.ts';
import type { Native } from './native.ts';
import {
  addressesRequest,
  type Link,
  type LinkAddress,
  linkAddressOf,
  linkOf,
  linksRequest,
  messagesIn,
  type Route,
  Rtm,
  routeOf,
  routesRequest,
} from './netlink.ts';

const NETLINK_ROUTE = 0;

/** Multicast groups as the bit mask of bind(2): LINK, TC, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR, IPV6_ROUTE, IPV6_RULE. */
const GROUPS = (1 << 0) | (1 << 3) | (1 << 4) | (1 << 6) | (1 << 7) | (1 << 8) | (1 << 10) | (1 << 18);

/** Routes are dumped again when one changes, at most this often: a routing daemon changes thousands at once. */
const ROUTES_INTERVAL_MS = 250;

const RTN_UNICAST = 1;
const TABLE_LOCAL = 255;

/** The namespace at one moment. Immutable. */
export interface Network {
  readonly links: ReadonlyMap<number, Link>;
  /** In the kernel's order: on each device the first of a family comes first. */
  readonly addresses: readonly LinkAddress[];
  /** Devices by which some route to elsewhere leaves. */
  readonly routed: ReadonlySet<number>;
  /** Devices of the default routes, the preferred one first. */
  readonly defaults: Readonly<Record<Family, readonly number[]>>;
}

export interface NetworkWatch {
  current(): Network;
  /** Grows with every change of a link, an address, a route or a rule: remembered ways may be wrong. */
  changes(): number;
  /** Calls back after changes, at most once a turn of the event loop. Returns a stop function. */
  onChange(callback: () => void): () => void;
  /** Calls back when a queueing discipline or filter changed anywhere, at most once a turn of the event loop. Returns a stop function. */
  onFilterChange(callback: () => void): () => void;
  /** Dumps everything again, at once; calls back where something differs. */
  refresh(): void;
  close(): void;
}

/** Watches the namespace that the process is in. Throws what the kernel says to the first dump. */
export function watchNetwork(native: Native): NetworkWatch {
  const asking = native.netlinkOpen(NETLINK_ROUTE, 0);
  const listening = native.netlinkOpen(NETLINK_ROUTE, GROUPS);
  const changeCallbacks = new Set<() => void>();
  const filterCallbacks = new Set<() => void>();
  let links = new Map<number, Link>();
  let addresses = new Map<string, LinkAddress>();
  let ways: Ways = { routed: new Set(), defaults: { 4: [], 6: [] } };
  let network: Network;
  let changes = 0;
  let turn: NodeJS.Immediate | undefined;
  let filterTurn: NodeJS.Immediate | undefined;
  let routesTimer: NodeJS.Timeout | undefined;

  const request = (message: Uint8Array) => messagesIn(native.netlinkRequest(asking, message));
  const freeze = () => {
    network = { links: new Map(links), addresses: [...addresses.values()], ...ways };
  };
  const changed = () => {
    changes++;
    turn ??= setImmediate(() => {
      turn = undefined;
      freeze();
      for (const callback of changeCallbacks) callback();
    });
  };

  const filtersChanged = () => {
    filterTurn ??= setImmediate(() => {
      filterTurn = undefined;
      for (const callback of filterCallbacks) callback();
    });
  };

  function dumpLinks(): void {
    const found = new Map<number, Link>();
    for (const { body } of request(linksRequest())) {
      const link = linkOf(body);
      if (link !== undefined) found.set(link.ifindex, link);
    }
    const differs = !sameEntries(links, found);
    links = found;
    if (differs) changed();
  }

  function dumpAddresses(): void {
    const found = new Map<string, LinkAddress>();
    for (const { body } of request(addressesRequest())) {
      const address = linkAddressOf(body);
      if (address !== undefined) found.set(addressKey(address), address);
    }
    const differs = !sameEntries(addresses, found);
    addresses = found;
    if (differs) changed();
  }

  function dumpRoutes(): void {
    const found = waysOf(routesIn());
    if (!sameWays(ways, found)) {
      ways = found;
      changed();
    }
  }

  function* routesIn(): Generator<Route> {
    for (const family of [4, 6] as const) {
      for (const { body } of request(routesRequest(family))) {
        const route = routeOf(body);
        if (route !== undefined) yield route;
      }
    }
  }

  function refresh(): void {
    dumpLinks();
    dumpAddresses();
    dumpRoutes();
  }

  function takeLink(type: number, body: Uint8Array): void {
    const link = linkOf(body);
    if (link === undefined) return;
    if (type === Rtm.NEWLINK) {
      const known = links.get(link.ifindex);
      links.set(link.ifindex, link);
      if (known === undefined || !same(known, link)) changed();
    } else if (links.delete(link.ifindex)) {
      changed();
      // A veth whose peer moved to another namespace is told of by no message of its own: only the peer's end is.
      dumpLinks();
    }
  }

  function takeAddress(type: number, body: Uint8Array): void {
    const address = linkAddressOf(body);
    if (address === undefined) return;
    const key = addressKey(address);
    if (type === Rtm.DELADDR) {
      if (addresses.delete(key)) changed();
      return;
    }
    const known = addresses.get(key);
    addresses.set(key, address);
    if (known === undefined || !same(known, address)) changed();
  }

  function take(messages: Uint8Array | 'overrun'): void {
    if (messages === 'overrun') {
      changed();
      refresh();
      return;
    }
    for (const { type, body } of messagesIn(messages)) {
      if (type === Rtm.NEWLINK || type === Rtm.DELLINK) takeLink(type, body);
      else if (type === Rtm.NEWADDR || type === Rtm.DELADDR) takeAddress(type, body);
      else if (type === Rtm.NEWROUTE || type === Rtm.DELROUTE || type === Rtm.NEWRULE || type === Rtm.DELRULE) {
        changed();
        routesTimer ??= setTimeout(() => {
          routesTimer = undefined;
          dumpRoutes();
        }, ROUTES_INTERVAL_MS);
      } else filtersChanged();
    }
  }

  // Listening before the dump: a change in between is told twice, never missed.
  const stop = native.netlinkListen(listening, take);
  refresh();
  freeze();

  return {
    current: () => network,
    changes: () => changes,
    onChange: (callback) => subscribe(changeCallbacks, callback),
    onFilterChange: (callback) => subscribe(filterCallbacks, callback),
    refresh,
    close() {
      stop();
      clearImmediate(turn);
      clearImmediate(filterTurn);
      clearTimeout(routesTimer);
      native.closeFd(listening);
      native.closeFd(asking);
    },
  };
}

interface Ways {
  readonly routed: ReadonlySet<number>;
  readonly defaults: Readonly<Record<Family, readonly number[]>>;
}

/** Where do routes lead? Connected link-local networks (fe80::/10 is on every device) lead nowhere. */
export function waysOf(routes: Iterable<Route>): Ways {
  const routed = new Set<number>();
  const defaults: Record<Family, Route[]> = { 4: [], 6: [] };
  for (const route of routes) {
    if (route.type !== RTN_UNICAST || route.table === TABLE_LOCAL) continue;
    if (route.destination?.startsWith('fe80:') || route.destination?.startsWith('ff')) continue;
    for (const device of route.devices) routed.add(device);
    if (route.prefixLength === 0) defaults[route.family].push(route);
  }
  const devices = (family: Family) => [...new Set(defaults[family].sort((a, b) => a.metric - b.metric).flatMap((route) => route.devices))];
  return { routed, defaults: { 4: devices(4), 6: devices(6) } };
}

function sameWays(a: Ways, b: Ways): boolean {
  return same([...a.routed].sort(), [...b.routed].sort()) && same(a.defaults, b.defaults);
}

function addressKey(address: LinkAddress): string {
  return `${address.ifindex} ${address.address}/${address.prefixLength}`;
}

/** Small flat values with their members in one order. */
function same(a: unknown, b: unknown): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

function sameEntries<K, V>(a: ReadonlyMap<K, V>, b: ReadonlyMap<K, V>): boolean {
  return a.size === b.size && [...b].every(([key, value]) => same(a.get(key), value));
}

function subscribe(callbacks: Set<() => void>, callback: () => void): () => void {
  callbacks.add(callback);
  return () => callbacks.delete(callback);
}
