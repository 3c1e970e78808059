// A node of the flow tables that can be asked why: its manifests in maps in memory, and the account that an agent would give.

import { agentAccount } from '../../control/agent/account.ts';
import { type Explanation, explain } from '../../control/cli/explain/explanation.ts';
import type { Entrance } from '../../control/kernel/entrance.ts';
import { type Maps, memoryMaps } from '../../control/kernel/maps.ts';
import type { DatapathOptions } from '../../control/kernel/options.ts';
import { settingsOf } from '../../control/kernel/settings.ts';
import type { DeviceStatus } from '../../control/kernel/status.ts';
import type { Destination, ServiceName } from '../../control/model/account.ts';
import type { Model } from '../../control/model/model.ts';
import type { PortName } from '../../control/observe/snapshot.ts';
import { adopt, frontendNames, sync } from '../../control/sync.ts';
import type { Case } from './flow.ts';
import { places } from './places.ts';
import { planOptions } from './walk.ts';
import { modelOf, readObjects } from './world.ts';

const NODE_PORTS = { primary: true, ranges: [] };

export interface Explained {
  readonly maps: Maps;
  readonly model: Model;
  readonly names: ReadonlyMap<number, PortName>;
  account(to: Destination | ServiceName): ReturnType<typeof agentAccount>;
  /** What explain says of a row's connection. withAgent: an agent answers too. */
  explain(flow: Case, withAgent?: boolean): Explanation;
}

const pod = { ifindex: 7, name: 'veth-pod' };
const nic = { ifindex: 2, name: 'eth0' };
const devices: readonly DeviceStatus[] = [
  {
    ...nic,
    role: 'nic',
    why: 'has the default route',
    mode: 'tcx',
    xdp: { native: false, why: 'switched off by sluice.xdp' },
    before: [],
    refusal: undefined,
  },
  { ...pod, role: 'pod', why: 'veth whose peer is in another namespace', mode: 'tcx', xdp: undefined, before: [], refusal: undefined },
];

/** Where a row's packets enter node A. */
export function entranceAt(flow: Pick<Case, 'at' | 'from'>): Entrance {
  if (flow.from === 'nodeA') return { who: 'node', why: 'it is an address of this node', device: undefined };
  if (flow.at === 'nic') return { who: 'outside', why: 'the route to it leaves by eth0', device: nic };
  return { who: 'pod', why: "the route to it leaves by veth-pod, a pod's interface", device: pod };
}

/** Fills maps from a directory of manifests. */
export function openExplained(directory: string, more: Partial<DatapathOptions> & { sourceRangesEverywhere?: boolean } = {}): Explained {
  const options = { ...planOptions, ...more };
  const objects = readObjects(directory);
  const model = modelOf(objects, more.sourceRangesEverywhere);
  const maps = memoryMaps();
  const clocks = { netnsCookie: 1n, jiffiesPerSecond: 250 };
  maps.settings.set(0, settingsOf(options, clocks, { serviceCIDRs: model.serviceCIDRs, localPrefixes: undefined }, 1).settings);
  const state = adopt(maps);
  const { problems } = sync(maps, state, model, { nodePortAddresses: NODE_PORTS });
  const names = new Map<number, PortName>();
  const ports = new Map([...model.services.values()].flatMap((service) => service.ports).map((port) => [port.key, port]));
  for (const [id, key] of frontendNames(state)) {
    const port = ports.get(key);
    if (port !== undefined) names.set(id, { service: `${port.namespace}/${port.service}`, port: port.portName });
  }
  const config = { detectLocal: options.detectLocal, nodePortAddresses: NODE_PORTS, serviceProxyName: undefined };
  const account = (to: Destination | ServiceName) =>
    agentAccount(to, {
      ...{ objects, model, options, config, names, devices },
      problems: [...model.problems, ...problems],
      waitingMs: null,
      refusal: null,
    });
  return {
    maps,
    model,
    names,
    account,
    explain(flow, withAgent = true) {
      const to: Destination = { address: flow.address, port: flow.port, protocol: flow.protocol === 'tcp' ? 'TCP' : 'UDP' };
      return explain({ address: places[flow.from][flow.family], port: undefined }, to, {
        maps,
        entrance: entranceAt(flow),
        names,
        account: withAgent ? account(to) : undefined,
        monotonicNs: () => 0n,
      });
    },
  };
}
