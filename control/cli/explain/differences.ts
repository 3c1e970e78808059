// Do the maps say what the Model says? The Model's Services that bear upon the connection are compiled by the product's own compiler into maps
// in memory, and the same walk goes over both.

import { SettingFlag } from '../../abi/layout.gen.ts';
import type { AgentAccount } from '../../agent/account.ts';
import { type Maps, memoryMaps } from '../../kernel/maps.ts';
import type { Destination } from '../../model/account.ts';
import type { Address, Model } from '../../model/model.ts';
import type { NodePortAddresses } from '../../model/node.ts';
import type { PortName } from '../../observe/snapshot.ts';
import { adopt, frontendNames, sync } from '../../sync.ts';
import { endpointText } from '../text.ts';
import { type Stage, stagesOf } from './stages.ts';

export interface Modelled {
  readonly stages: readonly Stage[];
  /** `namespace/name:port` of the deciding frontend. */
  readonly owner: string | undefined;
}

/** Flags that say who serves just now, and not what the Model says. */
const PASSING = SettingFlag.SETTING_YIELD | SettingFlag.SETTING_OTHERS_FLOWS | SettingFlag.SETTING_EXEMPT_CGROUPS;

/** The node's NodePort addresses as they are now, whatever they were selected by. */
function exactly(addresses: readonly Address[]): NodePortAddresses {
  return { primary: false, ranges: addresses.map((address) => `${address}/${address.includes(':') ? 128 : 32}`) };
}

/** What the maps would say if they held what the Model says. settings: of the kernel, for what does not decide. */
export function modelledWalk(
  maps: Maps,
  { account, settings }: AgentAccount,
  source: Address,
  to: Destination,
  entrance: Parameters<typeof stagesOf>[3],
): Modelled {
  const compiled = memoryMaps();
  const held = maps.settings.get(0);
  if (held === undefined) throw new Error('the map settings is empty');
  compiled.settings.set(0, { ...held, ...settings, flags: (settings.flags & ~PASSING) | (held.flags & PASSING) });
  const model: Model = {
    services: new Map(account.services.map((service) => [service.key, service])),
    node: account.node,
    serviceCIDRs: account.serviceCIDRs,
    problems: [],
  };
  const state = adopt(compiled);
  sync(compiled, state, model, { nodePortAddresses: exactly(account.nodePortAddresses) });
  const stages = stagesOf(compiled, source, to, entrance);
  const id = stages.at(-1)?.walk.frontend?.id;
  // `namespace/name:port/protocol/family`
  const key = id === undefined ? undefined : frontendNames(state).get(id);
  return { stages, owner: key?.split('/').slice(0, -2).join('/') };
}

function backendsOf({ walk }: Stage): Map<string, string> {
  return new Map(
    walk.candidates.map(({ address, port, masquerade, verdict }) => [
      endpointText(address, port),
      `${verdict}${masquerade ? ', masqueraded' : ''}`,
    ]),
  );
}

function* stageDifferences(kernel: Stage, model: Stage): Generator<string> {
  const said = (verdict: string | undefined) => verdict ?? 'a backend is chosen';
  if (kernel.walk.verdict !== model.walk.verdict)
    yield `at the hook ${kernel.hook} the kernel says ${said(kernel.walk.verdict)}, the model ${said(model.walk.verdict)}`;
  const [there, wanted] = [kernel.walk.frontend, model.walk.frontend];
  if (there === undefined && wanted !== undefined) yield 'the kernel has no frontend here, the model has';
  if (there !== undefined && wanted === undefined) yield 'the kernel has a frontend here, the model has none';
  if (there !== undefined && wanted !== undefined) {
    if (there.flags !== wanted.flags) yield `the frontend's flags are ${there.flags} in the kernel, ${wanted.flags} in the model`;
    if (there.affinity_seconds !== wanted.affinity_seconds)
      yield `the affinity is ${there.affinity_seconds} s in the kernel, ${wanted.affinity_seconds} s in the model`;
  }
  const [held, planned] = [backendsOf(kernel), backendsOf(model)];
  for (const [backend, fate] of held) {
    const other = planned.get(backend);
    if (other === undefined) yield `the kernel may choose ${backend}, the model may not`;
    else if (other !== fate) yield `${backend}: ${fate} in the kernel, ${other} in the model`;
  }
  for (const backend of planned.keys()) if (!held.has(backend)) yield `the model may choose ${backend}, the kernel may not`;
}

/** In words, nothing where they agree. name: what the kernel's frontend is called. */
export function differencesOf(kernel: readonly Stage[], name: PortName | undefined, { stages, owner }: Modelled): string[] {
  const found: string[] = [];
  for (const stage of kernel) {
    const other = stages.find(({ hook }) => hook === stage.hook);
    if (other === undefined) found.push(`the kernel asks the hook ${stage.hook}, the model would not`);
    else found.push(...stageDifferences(stage, other));
  }
  for (const { hook } of stages)
    if (!kernel.some((stage) => stage.hook === hook)) found.push(`the model asks the hook ${hook}, the kernel does not`);
  const called = name === undefined ? undefined : `${name.service}:${name.port}`;
  if (called !== undefined && owner !== undefined && called !== owner)
    found.push(`the frontend is ${called}'s in the kernel, ${owner}'s in the model`);
  return [...new Set(found)];
}
