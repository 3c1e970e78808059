// The runner `plan`: what do the compiled entries alone say about a row of the flow tables? Manifests through the real source, model
// and compiler into maps in memory, and a walk over those.

import assert from 'node:assert/strict';
import { memoryMaps } from '../../control/kernel/maps.ts';
import type { DatapathOptions } from '../../control/kernel/options.ts';
import { settingsOf } from '../../control/kernel/settings.ts';
import { walk } from '../../control/kernel/walk.ts';
import { type Case, verdictOf } from './flow.ts';
import { backendPort, type PlaceName, places } from './places.ts';
import { fillMaps, modelOf, readObjects } from './world.ts';

/** The datapath's part of a configuration, as the flow tables have it. */
export const planOptions: DatapathOptions = {
  pinDirectory: '',
  stateDirectory: '',
  cgroupRoot: undefined,
  hooks: { tc: true, socket: 'on' },
  xdp: 'off',
  socketExceptions: [],
  devices: undefined,
  podInterfaces: undefined,
  detectLocal: { mode: 'PodInterfaces' },
  mapSizes: {},
  masqueradeAll: false,
  masqueradeMark: 1 << 14,
  snatPorts: { first: 20000, last: 29999 },
  conntrack: { tcpEstablishedSeconds: 86400, tcpCloseWaitSeconds: 3600, udpSeconds: 60, udpStreamSeconds: 180 },
};

/** Who has an address. */
export function placeOf(address: string): PlaceName | undefined {
  const found = Object.entries(places).find(([, place]) => place[4] === address || place[6] === address);
  return found?.[0] as PlaceName | undefined;
}

/** Opens the runner over a directory of manifests. `check` throws where the entries say anything but what the row does. */
export function openPlanRunner(directory: string, masqueradeAll: boolean, sourceRangesEverywhere = false): { check(flow: Case): void } {
  const maps = memoryMaps();
  const model = modelOf(readObjects(directory), sourceRangesEverywhere);
  const prefixes = { serviceCIDRs: model.serviceCIDRs, localPrefixes: undefined };
  maps.settings.set(0, settingsOf({ ...planOptions, masqueradeAll }, { netnsCookie: 1n, jiffiesPerSecond: 250 }, prefixes, 1).settings);
  fillMaps(maps, model);
  return {
    check(flow) {
      const { verdict, candidates } = walk(maps, {
        hook: flow.at,
        source: places[flow.from][flow.family],
        destination: flow.address,
        port: flow.port,
        protocol: flow.protocol === 'tcp' ? 6 : 17,
        local: flow.from === 'nodeA',
      });
      if (verdict !== undefined) {
        assert.equal(verdict, verdictOf(flow));
        return;
      }
      const answers = candidates.map((candidate) => {
        const backend = placeOf(candidate.address);
        assert.equal(candidate.port, backendPort, `port of ${candidate.address}`);
        assert.ok(backend, `${candidate.address} is nobody`);
        assert.equal(candidate.verdict, verdictOf(flow, backend), `verdict when ${backend} answers`);
        return [backend, candidate.masquerade ? 'nodeA' : flow.from] as const;
      });
      assert.deepEqual(Object.fromEntries(answers), flow.reaches, 'who answers, and the source that each of them sees');
    },
  };
}
