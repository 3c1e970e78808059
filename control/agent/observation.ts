// What can be asked of a running agent from outside, and when does it begin to be? The health page answers from the first moment, since a
// probe must not end an agent that starts; what needs the maps comes with them. A port that is taken is a Problem and tried again.

import type { Agent, Applied } from '../agent.ts';
import type { Config } from '../config.ts';
import type { Problem } from '../model/model.ts';
import { nodePortAddresses } from '../model/node.ts';
import { type Health, healthPages, isHealthy, type Readiness } from '../observe/health.ts';
import { type HealthPorts, openHealthPorts } from '../observe/health-ports.ts';
import { type Listener, openListener, type Place, placeText, type Respond } from '../observe/listener.ts';
import type { Source } from '../source/objects.ts';

export interface Observation {
  /** The agent is there: what it says counts from now on, and it is told of Problems that come and go. */
  follow(agent: Agent): void;
  /** Call it after every turn that succeeded. */
  applied(applied: Applied): void;
  /** Programs are attached over full maps. */
  serving(): void;
  problems(): readonly Problem[];
  close(): void;
}

/** A health or metrics port that cannot be had, where the configuration says that this ends the start. */
export class BindError extends Error {
  override readonly name = 'BindError';
}

type Pages = { readonly field: 'healthzBindAddress' | 'metricsBindAddress'; readonly listener: Listener; readonly place: Place };

function bindMessage({ field, listener, place }: Pages): string {
  const what = field === 'healthzBindAddress' ? 'health' : 'metrics';
  return `${placeText(place)} cannot be listened on (${listener.refusal()}; is kube-proxy still running?): no ${what} here`;
}

/**
 * A Node object that was there and is gone was deleted. Where none ever was, as with manifests, nobody says that the node leaves.
 */
function openEligibility(source: Source, nodeName: string): () => boolean {
  let seen = false;
  return () => {
    const node = source.objects().nodes.get(nodeName);
    seen ||= node !== undefined;
    return node === undefined ? !seen : !node.leaving;
  };
}

/** Opens the pages. Throws BindError where a port is taken and bindAddressHardFail is set. */
export async function openObservation(config: Config, source: Source): Promise<Observation> {
  const eligible = openEligibility(source, config.nodeName);
  let agent: Agent | undefined;
  const onProblems = () => agent?.problemsChanged();
  let serving = false;
  let updatedAt: number | undefined;

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
      serving,
      synced: source.synced,
      generationWanted: report?.generationWanted ?? 0,
      generationApplied: report?.generationApplied ?? 0,
      // Settings and devices are written beside the turns.
      refusal: report?.refusal ?? report?.problems.find(({ reason }) => reason === 'KernelRefused')?.message,
      gatherMs: config.minSyncPeriodMs ?? 0,
    };
  };

  const pages: Pages[] = [];
  const listen = (field: Pages['field'], respond: Respond) => {
    const place = config[field];
    if (place !== undefined) pages.push({ field, place, listener: openListener(place, respond, onProblems) });
  };
  listen('healthzBindAddress', healthPages({ health, readiness, onAnswer() {} }));
  const healthPorts: HealthPorts = openHealthPorts(config.nodeName, () => isHealthy(health()), onProblems);
  const close = () => {
    for (const { listener } of pages) listener.close();
    healthPorts.close();
  };

  await Promise.all(pages.map(({ listener }) => listener.tried));
  const refused = pages.filter(({ listener }) => listener.refusal() !== undefined);
  if (config.bindAddressHardFail && refused.length > 0) {
    const lines = refused.map((page) => `${page.field}: ${bindMessage(page)}, and bindAddressHardFail is set`);
    close();
    throw new BindError(lines.join('\n'));
  }

  /** All addresses at once where all are meant: an address that comes is served without a turn. */
  const checkedAddresses = (applied: Applied) => {
    const { ranges } = config.nodePortAddresses;
    if (ranges.includes('0.0.0.0/0') && ranges.includes('::/0')) return ['::'];
    return nodePortAddresses(config.nodePortAddresses, applied.model.node);
  };

  return {
    follow(given) {
      agent = given;
    },
    applied(applied) {
      updatedAt = Date.now();
      healthPorts.follow(applied.model.services, applied.changed, checkedAddresses(applied));
    },
    serving() {
      serving = true;
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
