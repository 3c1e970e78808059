// What can be asked of a running agent from outside, and what does it say by itself? The health page answers from the first moment, since a
// probe must not end an agent that starts; metrics and Events fill as the rest comes. A port that is taken is a Problem and tried again.

import type { Agent, Applied } from '../agent.ts';
import { effectiveFields } from '../config/effective.ts';
import type { Config } from '../config.ts';
import type { Datapath } from '../kernel/datapath.ts';
import type { Problem } from '../model/model.ts';
import { nodePortAddresses } from '../model/node.ts';
import { type Announcements, openAnnouncements } from '../observe/announcements.ts';
import { openRecorder, type Recorder } from '../observe/events.ts';
import { type Health, healthPages, isHealthy, isReady, type Readiness } from '../observe/health.ts';
import { type HealthPorts, openHealthPorts } from '../observe/health-ports.ts';
import { type Listener, openListener, type Place, placeText, type Respond } from '../observe/listener.ts';
import type { Log } from '../observe/log.ts';
import { metricsPages, openRegistry } from '../observe/metrics.ts';
import { openNodeMetrics } from '../observe/node-metrics.ts';
import { type MeasuredSlice, openProxyMetrics } from '../observe/proxy-metrics.ts';
import { openServiceCounts, type ServiceCounts } from '../observe/service-counts.ts';
import type { Objects, Source } from '../source/objects.ts';
import { openFill } from './fill.ts';
import type { ChosenSource } from './source.ts';
import type { Upkeep } from './upkeep.ts';

export interface ObservationParts {
  readonly config: Config;
  readonly chosen: Pick<ChosenSource, 'source' | 'events' | 'status'>;
  readonly log: Log;
  readonly version: string;
  /** ms since the epoch. */
  readonly startedAt: number;
}

export interface Observation {
  /** The agent is there: what it says counts from now on, and it is told of Problems that come and go. */
  follow(agent: Agent, datapath: Datapath): void;
  /** Call it after every turn that succeeded. */
  applied(applied: Applied): void;
  /** Call it with each Problem that was not there before. */
  problem(problem: Problem): void;
  /** Programs are attached over full maps. */
  serving(upkeep: Upkeep): void;
  problems(): readonly Problem[];
  close(): void;
}

/** A health or metrics port that cannot be had, where the configuration says that this ends the start. */
export class BindError extends Error {
  override readonly name = 'BindError';
}

interface Page {
  readonly field: 'healthzBindAddress' | 'metricsBindAddress';
  readonly listener: Listener;
  readonly place: Place;
}

function bindMessage({ field, listener, place }: Page): string {
  const what = field === 'healthzBindAddress' ? 'health' : 'metrics';
  return `${placeText(place)} cannot be listened on (${listener.refusal()}; is kube-proxy still running?): no ${what} here`;
}

/** A Node object that was there and is gone was deleted. Where none ever was, as with manifests, nobody says that the node leaves. */
function openEligibility(source: Source, nodeName: string): () => boolean {
  let seen = false;
  return () => {
    const node = source.objects().nodes.get(nodeName);
    seen ||= node !== undefined;
    return node === undefined ? !seen : !node.leaving;
  };
}

/** The slices that came or changed between two states; of one that changed twice the last counts. */
function* slicesOf({ objects, changed }: Applied, before: Objects | undefined): Iterable<MeasuredSlice> {
  for (const key of changed ?? objects.slices.keys()) {
    const known = before?.slices.get(key) ?? [];
    for (const slice of objects.slices.get(key) ?? []) if (!known.includes(slice)) yield slice;
  }
}

/** All addresses at once where all are meant: one that comes is then served without a turn. */
function checkedAddresses({ nodePortAddresses: selection }: Config, { model }: Applied): readonly string[] {
  if (selection.ranges.includes('0.0.0.0/0') && selection.ranges.includes('::/0')) return ['::'];
  return nodePortAddresses(selection, model.node);
}

/** Opens the pages. Throws BindError where a port is taken and bindAddressHardFail is set. */
export async function openObservation({ config, chosen, log, version, startedAt }: ObservationParts): Promise<Observation> {
  const { source, events } = chosen;
  const eligible = openEligibility(source, config.nodeName);
  let agent: Agent | undefined;
  let datapath: Datapath | undefined;
  let upkeep: Upkeep | undefined;
  let updatedAt: number | undefined;
  let last: Applied | undefined;
  let serviceCounts: ServiceCounts | undefined;
  let services: ReturnType<ServiceCounts['read']> | undefined;
  const onProblems = () => agent?.problemsChanged();

  const health = (): Health => ({
    now: Date.now(),
    updatedAt,
    oldestChangeMs: agent?.report().oldestChangeMs,
    lateAfterMs: 2 * config.syncPeriodMs,
    nodeEligible: eligible(),
  });
  const readiness = (): Readiness => {
    const report = agent?.report();
    return {
      serving: upkeep !== undefined,
      synced: source.synced,
      generationWanted: report?.generationWanted ?? 0,
      generationApplied: report?.generationApplied ?? 0,
      // Settings and devices are written beside the turns.
      refusal: report?.refusal ?? report?.problems.find(({ reason }) => reason === 'KernelRefused')?.message,
      gatherMs: config.minSyncPeriodMs ?? 0,
    };
  };

  const recorder: Recorder | undefined = events && openRecorder(events, config.nodeName, log);
  const announcements: Announcements | undefined = recorder && openAnnouncements(recorder, source.objects, config.nodeName);
  const registry = openRegistry();
  const proxyMetrics = openProxyMetrics(registry, {
    startedAt,
    model: () => last?.model,
    changes: () => ({ seen: source.objects().changes, applied: last?.objects.changes ?? { services: 0, slices: 0 } }),
    queuedAt: () => agent?.report().notedAt,
  });
  const fill = openFill(() => agent && datapath && { agent, datapath, flows: upkeep?.flows() });
  openNodeMetrics(registry, {
    version,
    standing() {
      const { oldestChangeMs, refusalsEver = 0, drifts = 0, problems = [] } = agent?.report() ?? {};
      const { generationWanted, generationApplied } = readiness();
      const ready = isReady(health(), readiness());
      return { ready, generationWanted, generationApplied, oldestChangeMs, refusals: refusalsEver, drifts, problems };
    },
    model: () => last?.model,
    maps: () => datapath?.maps,
    fill: fill.maps,
    flows: () => upkeep?.flows(),
    // Two metrics of one scrape: one look.
    services() {
      services ??= serviceCounts?.read().finally(() => {
        services = undefined;
      });
      return services;
    },
    snatPorts: fill.snatPorts,
    serviceOf: (frontend) => agent?.serviceOf(frontend),
    // One that this server does not have is missed by nobody.
    resources: () => (chosen.status().apiServer?.resources ?? []).filter(({ how }) => how !== 'absent'),
    events: () => recorder?.counts(),
  });

  const pages: Page[] = [];
  const listen = (field: Page['field'], respond: Respond) => {
    const place = config[field];
    if (place !== undefined) pages.push({ field, place, listener: openListener(place, respond, onProblems) });
  };
  listen('healthzBindAddress', healthPages({ health, readiness, onAnswer: proxyMetrics.answered }));
  listen(
    'metricsBindAddress',
    metricsPages(registry, () => effectiveFields(config)),
  );
  const healthPorts: HealthPorts = openHealthPorts(
    config.nodeName,
    () => isHealthy(health()),
    (service) => agent?.serves(service) ?? false,
    onProblems,
  );
  const close = () => {
    for (const { listener } of pages) listener.close();
    healthPorts.close();
    recorder?.close();
  };

  await Promise.all(pages.map(({ listener }) => listener.tried));
  const refused = pages.filter(({ listener }) => listener.refusal() !== undefined);
  if (config.bindAddressHardFail && refused.length > 0) {
    const lines = refused.map((page) => `${page.field}: ${bindMessage(page)}, and bindAddressHardFail is set`);
    close();
    throw new BindError(lines.join('\n'));
  }

  return {
    follow(givenAgent, givenDatapath) {
      agent = givenAgent;
      datapath = givenDatapath;
    },
    applied(applied) {
      updatedAt = Date.now();
      // Not before: what nobody has named yet would count as gone.
      if (agent && datapath) serviceCounts ??= openServiceCounts(datapath.maps.service_counts, agent.serviceOf);
      healthPorts.follow(applied.model.services, applied.changed, checkedAddresses(config, applied));
      announcements?.deprecated(applied.model.services, applied.changed);
      proxyMetrics.turned({ ...applied, endedAt: updatedAt, slices: slicesOf(applied, last?.objects) });
      last = applied;
    },
    problem: (problem) => announcements?.problem(problem),
    serving(given) {
      upkeep = given;
    },
    problems() {
      const taken = pages.flatMap((page): Problem[] =>
        page.listener.refusal() === undefined
          ? []
          : [{ object: 'Agent', field: page.field, reason: 'PortTaken', message: `${bindMessage(page)}; it is tried again every 5 s` }],
      );
      return [...taken, ...healthPorts.problems()];
    },
    close,
  };
}
