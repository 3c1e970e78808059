// What does a running agent say when it is asked about one connection? The Model's account of its destination, and what of the node the maps
// do not show.

import type { Settings } from '../abi/layout.gen.ts';
import type { Config } from '../config.ts';
import type { DatapathOptions } from '../kernel/options.ts';
import { settingsOf } from '../kernel/settings.ts';
import type { DeviceStatus } from '../kernel/status.ts';
import { type Account, accountOf, type Destination, type ServiceName } from '../model/account.ts';
import type { Model, Problem } from '../model/model.ts';
import { podPrefixes } from '../model/node.ts';
import type { PortName } from '../observe/snapshot.ts';
import type { Objects } from '../source/objects.ts';

/** The settings that decide about a connection. */
export type DecidingSettings = Pick<
  Settings,
  'flags' | 'service_count4' | 'service_count6' | 'local_count4' | 'local_count6' | 'service4' | 'service6' | 'local4' | 'local6'
>;

export interface AgentAccount {
  readonly account: Account;
  /** As they must be. */
  readonly settings: DecidingSettings;
  /** The frontend ids of the Services in the account. */
  readonly names: readonly (readonly [id: number, name: PortName])[];
  /** What is attached where. */
  readonly devices: readonly DeviceStatus[];
  /** Age of the oldest change that is not in the maps yet; null: there is none. */
  readonly waitingMs: number | null;
  /** The kernel's refusal that the loop is trying to get past. */
  readonly refusal: string | null;
}

export interface AccountParts {
  readonly objects: Objects;
  readonly model: Model;
  readonly options: DatapathOptions;
  readonly config: Pick<Config, 'detectLocal' | 'nodePortAddresses' | 'serviceProxyName'>;
  readonly problems: readonly Problem[];
  readonly names: ReadonlyMap<number, PortName>;
  readonly devices: readonly DeviceStatus[];
  readonly waitingMs: number | null;
  readonly refusal: string | null;
}

function decidingSettings({ options, config, model }: AccountParts): DecidingSettings {
  const prefixes = { serviceCIDRs: model.serviceCIDRs, localPrefixes: podPrefixes(config.detectLocal, model.node) };
  const { settings } = settingsOf(options, { netnsCookie: 0n, jiffiesPerSecond: 1 }, prefixes, 1);
  const { flags, service_count4, service_count6, local_count4, local_count6, service4, service6, local4, local6 } = settings;
  return { flags, service_count4, service_count6, local_count4, local_count6, service4, service6, local4, local6 };
}

/** Everything that bears upon a connection to `to`. */
export function agentAccount(to: Destination | ServiceName, parts: AccountParts): AgentAccount {
  const { objects, model, config, problems, devices, waitingMs, refusal } = parts;
  const account = accountOf(objects, model, config, to, problems);
  const services = new Set(account.services.map(({ key }) => key));
  const names = [...parts.names].filter(([, { service }]) => services.has(service));
  return { account, settings: decidingSettings(parts), names, devices, waitingMs, refusal };
}

/** Is this what an agent of this version says? */
export function isAgentAccount(value: unknown): value is AgentAccount {
  if (typeof value !== 'object' || value === null) return false;
  return ['account', 'settings', 'names', 'devices'].every((field) => field in value);
}
