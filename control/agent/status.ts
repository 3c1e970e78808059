// What does a running agent say about itself? The value behind `sluice status`, as it goes over the socket and into the snapshot.

import type { DatapathStatus } from '../kernel/status.ts';
import type { Address, Problem } from '../model/model.ts';

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
    readonly manifests: string;
    readonly files: number;
    readonly synced: boolean;
    readonly services: number;
    readonly endpointSlices: number;
    /** Objects of kinds that are none of ours: how many of which. */
    readonly ignored: Readonly<Record<string, number>>;
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
  return ['version', 'pid', 'node', 'source', 'loop', 'problems'].every((field) => field in value);
}
