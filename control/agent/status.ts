// What does a running agent say about itself? The value behind `sluice status`, as it goes over the socket and into the snapshot.

import type { DatapathStatus } from '../kernel/status.ts';
import type { Address, Problem } from '../model/model.ts';
import type { KubeStatus } from '../source/kube/kube.ts';

export interface AgentStatus {
  readonly version: string;
  readonly pid: number;
  /** ms since the epoch. */
  readonly startedAt: number;
  readonly takenAt: number;
  readonly node: {
    readonly name: string;
    /** Without one, addresses are those of the default-route device and the zone is unknown. */
    readonly hasObject: boolean;
    readonly zone: string | null;
    readonly primaryAddresses: readonly Address[];
    readonly nodePortAddresses: readonly Address[];
  };
  readonly source: {
    /** The first complete read is done. */
    readonly synced: boolean;
    readonly services: number;
    readonly endpointSlices: number;
    /** One of the two is null. `ignored`: objects of kinds that are none of ours, how many of which. */
    readonly manifests: { readonly directory: string; readonly files: number; readonly ignored: Readonly<Record<string, number>> } | null;
    readonly apiServer: KubeStatus | null;
  };
  readonly loop: {
    /** Services in the maps. */
    readonly services: number;
    readonly turns: number;
    /** Entries and slots written by the last turn that wrote any. */
    readonly lastWritten: number;
    /** Age of the oldest change that is not in the maps yet; null: there is none. */
    readonly oldestChangeMs: number | null;
    /** The kernel's refusal that the loop is trying to get past. */
    readonly refusal: string | null;
    readonly refusals: number;
    readonly drifts: number;
  };
  readonly problems: readonly Problem[];
  /** Undefined before the datapath was looked at. */
  readonly datapath: DatapathStatus | undefined;
}

/** Is this what an agent of this version says? Snapshots and answers may be of another one. */
export function isAgentStatus(value: unknown): value is AgentStatus {
  if (typeof value !== 'object' || value === null) return false;
  if (!('source' in value) || typeof value.source !== 'object' || value.source === null || !('apiServer' in value.source)) return false;
  return ['version', 'pid', 'node', 'loop', 'problems'].every((field) => field in value);
}
