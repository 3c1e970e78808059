// What must the maps hold for this Model? Moves a Plan from the Model it was compiled for to the next; the cost grows with
// the Services that changed, not with those that exist. A Service is in the Plan whole or not at all.

import { trimmed } from '../model/lists.ts';
import type { FrontendKind, Model, ModelService, Problem } from '../model/model.ts';
import type { NodePortAddresses } from '../model/node.ts';
import { differences } from '../sorted.ts';
import { placeNode } from './addresses.ts';
import { claimPort, endpointName, type Refusal, releasePort } from './claims.ts';
import { releaseFrontendId } from './ids.ts';
import type { CompiledPort, CompiledService, FrontendClaim, Plan } from './plan.ts';
import { reclaimRuns } from './runs.ts';

/** The Plan's part of the configuration. */
export interface CompileOptions {
  readonly nodePortAddresses: NodePortAddresses;
}

/**
 * Puts this version of a Service in the place of the one before; ports that did not change stay as they are. Where it does not fit
 * the one before is restored: what it gave up is still in reach.
 */
function place(plan: Plan, service: ModelService, now: number): Refusal | undefined {
  const before = plan.services.get(service.key);
  const kept = new Map<string, CompiledPort>();
  const given: CompiledPort[] = [];
  const wanted = new Map(service.ports.map((source) => [source.key, source]));
  for (const port of before?.ports ?? []) {
    const { key } = port.source;
    if (port.source === wanted.get(key) && port.created === service.created) kept.set(key, port);
    else given.push(port);
  }
  for (const port of given) releasePort(plan, port);

  const ports: CompiledPort[] = [];
  for (const [key, source] of wanted) {
    const claimed = kept.get(key) ?? claimPort(plan, service, source, now);
    if ('what' in claimed) {
      for (const port of ports) if (!kept.has(port.source.key)) releasePort(plan, port);
      if (before !== undefined) restore(plan, before, given, now);
      return claimed;
    }
    ports.push(claimed);
  }
  for (const { source } of given) if (!wanted.has(source.key)) releaseFrontendId(plan.ids, source.key);
  plan.services.set(service.key, { source: service, ports: trimmed(ports) });
  if (given.length > 0) plan.released = true;
  return undefined;
}

function restore(plan: Plan, before: CompiledService, given: readonly CompiledPort[], now: number): void {
  const gone = new Set(given);
  const ports = before.ports.map((old) => {
    if (!gone.has(old)) return old;
    const port = claimPort(plan, before.source, old.source, now);
    if ('what' in port) throw new Error(`${old.source.key} does not fit where it was: ${port.what}`);
    return port;
  });
  plan.services.set(before.source.key, { source: before.source, ports });
}

/** Takes a Service out of the Plan. */
function remove(plan: Plan, { source, ports }: CompiledService): void {
  for (const port of ports) {
    releasePort(plan, port);
    releaseFrontendId(plan.ids, port.source.key);
  }
  plan.services.delete(source.key);
  plan.released = true;
}

function refusalProblem(service: ModelService, { reason, what, map }: Refusal, stays: boolean): Problem {
  const fate = stays ? 'its last version that did fit stays in force until there is room' : 'it is not served until there is room';
  const remedy = map === undefined ? '' : `: give sluice.mapSizes.${map} (--map-size ${map}=…) more`;
  return { object: `Service ${service.key}`, reason, message: `it does not fit into ${what}; ${fate}${remedy}` };
}

/** Tries to bring a Service into the Plan; a Problem is kept where it does not fit. */
function admit(plan: Plan, service: ModelService, now: number): void {
  // What is resting comes free in a moment; until then the old version serves. Without such hope it has to make room.
  const waiting = plan.released || now < plan.restUntil;
  let refusal = place(plan, service, now);
  const before = plan.services.get(service.key);
  if (refusal !== undefined && before !== undefined && !waiting) {
    remove(plan, before);
    refusal = place(plan, service, now);
  }
  if (refusal === undefined) {
    plan.refused.delete(service.key);
    return;
  }
  const stays = plan.services.get(service.key);
  const serving = new Set(stays?.ports.map((port) => port.source.key));
  for (const { key } of service.ports) if (!serving.has(key)) releaseFrontendId(plan.ids, key);
  plan.refused.set(service.key, { source: service, problem: refusalProblem(service, refusal, stays !== undefined) });
}

function byAge(a: ModelService, b: ModelService): number {
  return a.created - b.created || (a.key < b.key ? -1 : a.key > b.key ? 1 : 0);
}

/**
 * Services to bring in and to take out, among those that differ from the Model before. The oldest come first: where not all of them
 * fit, the same ones do every time.
 */
function compareServices(plan: Plan, model: Model): { changed: ModelService[]; vanished: CompiledService[] } {
  const changed: ModelService[] = [];
  const vanished: CompiledService[] = [];
  for (const key of differences(model.services, plan.wanted)) {
    const service = model.services.get(key);
    const compiled = plan.services.get(key);
    if (service === undefined || compiled?.source === service) plan.refused.delete(key);
    if (service === undefined) {
      if (compiled !== undefined) vanished.push(compiled);
    } else if (compiled?.source !== service && plan.refused.get(key)?.source !== service) changed.push(service);
  }
  plan.wanted = model.services;
  const late = ({ key }: ModelService) => Number(plan.unfit.has(key));
  return { changed: changed.sort((a, b) => late(a) - late(b) || byAge(a, b)), vanished };
}

/** Services that were refused before and may fit by now. */
function waitingServices(plan: Plan, tried: readonly ModelService[], now: number): ModelService[] {
  if (!plan.released && now < plan.retryAt) return [];
  plan.retryAt = Number.POSITIVE_INFINITY;
  const done = new Set(tried);
  return [...plan.refused.values()]
    .map(({ source }) => source)
    .filter((service) => !done.has(service))
    .sort(byAge);
}

/**
 * Moves `plan` to `model` and returns it. `now` is a monotonic clock in ms. Nothing is written: the keys that may differ from the
 * maps are in `touched`, the runs to fill in `runs.fresh`; `settle` closes the step once they are in the maps.
 */
export function compile(model: Model, plan: Plan, options: CompileOptions, now: number): Plan {
  const { changed, vanished } = compareServices(plan, model);
  for (const service of vanished) remove(plan, service);
  placeNode(plan, model.node, options.nodePortAddresses);
  reclaimRuns(plan.runs, now);
  for (const service of changed) admit(plan, service, now);
  for (const service of waitingServices(plan, changed, now)) admit(plan, service, now);
  return plan;
}

/** Where each kind of frontend is given. */
const FIELDS: Readonly<Record<FrontendKind, string>> = {
  ClusterIP: 'spec.clusterIPs',
  NodePort: 'spec.ports',
  ExternalIP: 'spec.externalIPs',
  LoadBalancer: 'status.loadBalancer.ingress',
};

function disputeProblems([owner, ...others]: readonly FrontendClaim[]): Problem[] {
  if (owner === undefined) return [];
  const { key } = owner;
  const name = `${endpointName(key.address, key.port)}/${owner.port.source.protocol}`;
  const losers = new Map<CompiledPort, FrontendClaim>();
  for (const claim of others) if (claim.port !== owner.port && !losers.has(claim.port)) losers.set(claim.port, claim);
  return [...losers.values()].map(({ port, kind }) => {
    const right = owner.kind === 'ClusterIP' && kind !== 'ClusterIP' ? 'whose ClusterIP it is' : 'which is older or first by name';
    const why = port.service === owner.port.service ? 'another of its ports' : `Service ${owner.port.service}, ${right}`;
    const message = `${name} belongs to ${why}; this port is not served there until that one is gone`;
    return { object: `Service ${port.service}`, field: FIELDS[kind], reason: 'VIPConflict', message };
  });
}

/** What is wrong with Services in the Plan: those that do not fit, and frontends that another Service has. */
export function planProblems(plan: Plan): Problem[] {
  const problems = [...plan.refused.values()].map(({ problem }) => problem);
  for (const { family, text } of plan.disputed.values()) problems.push(...disputeProblems(plan.families[family].frontends.get(text) ?? []));
  return problems;
}
