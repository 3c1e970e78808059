// In which order does an agent start and stop? The source is read while the kernel verifies the programs. Programs must find full maps: on a
// cold start they are attached after the first turn, on a warm start the earlier agent's programs go on serving until they are replaced in
// place. Stopping leaves all of it serving.

import { mkdirSync, writeFileSync } from 'node:fs';
import { type Agent, type Applied, openAgent } from '../agent.ts';
import type { Config } from '../config.ts';
import { type Datapath, openDatapath, type TakenOver } from '../kernel/datapath.ts';
import type { Native } from '../kernel/native.ts';
import { openNode } from '../kernel/node.ts';
import type { DatapathOptions } from '../kernel/options.ts';
import type { Destination, ServiceName } from '../model/account.ts';
import { nodePortAddresses } from '../model/node.ts';
import type { Log } from '../observe/log.ts';
import { snapshotPath, socketPath } from '../observe/paths.ts';
import { serve } from '../observe/protocol.ts';
import { writeSnapshot } from '../observe/snapshot.ts';
import type { Source } from '../source/objects.ts';
import { compare } from '../sync.ts';
import { agentAccount } from './account.ts';
import { openObservation } from './observation.ts';
import { type Followed, followConfig, type Reload } from './reload.ts';
import { type ChosenSource, openSource } from './source.ts';
import type { AgentStatus } from './status.ts';
import { openUpkeep, type Upkeep } from './upkeep.ts';
import { followView } from './view.ts';

/** The snapshot is written at most so often, and takes at most a hundredth of the time. */
const SNAPSHOT_MS = 1_000;
const SNAPSHOT_SHARE = 100;

export interface RunningAgent {
  /** Stops; the kernel keeps serving. */
  close(): Promise<void>;
}

/** What the command line already knows. */
export interface Start {
  readonly config: Config;
  /** The configuration's file, and how it is read again; undefined: flags alone. */
  readonly configFile: Pick<Followed, 'file' | 'read'> | undefined;
  readonly native: Native;
  readonly log: Log;
  readonly version: string;
  /** Ends the start where it waits. */
  readonly signal: AbortSignal;
}

function datapathOptions(config: Config): DatapathOptions {
  const { detectLocal } = config;
  // Pods that are known by the name of their interface are served at these interfaces.
  if (detectLocal.mode === 'InterfaceNamePrefix' && config.podInterfaces === undefined)
    return { ...config, podInterfaces: [detectLocal.prefix] };
  return config;
}

/** Resolves when the source has read everything once, or the start is given up, also before it was asked. */
export function synced(source: Source, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
    const look = () => {
      if (source.synced) resolve();
    };
    source.onChange(look);
    look();
  });
}

function statusOf(start: Start, startedAt: number, agent: Agent, chosen: ChosenSource, datapath: AgentStatus['datapath']): AgentStatus {
  const { node, oldestChangeMs, refusal, ...report } = agent.report();
  const objects = chosen.source.objects();
  let endpointSlices = 0;
  for (const slices of objects.slices.values()) endpointSlices += slices.length;
  return {
    version: start.version,
    pid: process.pid,
    startedAt,
    takenAt: Date.now(),
    node: {
      name: start.config.nodeName,
      hasObject: report.hasNodeObject,
      zone: node?.zone ?? null,
      primaryAddresses: node?.primaryAddresses ?? [],
      nodePortAddresses: node === undefined ? [] : nodePortAddresses(start.config.nodePortAddresses, node),
    },
    source: { synced: chosen.source.synced, services: objects.services.size, endpointSlices, ...chosen.status() },
    loop: {
      services: report.services,
      turns: report.turns,
      lastWritten: report.written,
      oldestChangeMs: oldestChangeMs === undefined ? null : Math.round(oldestChangeMs),
      refusal: refusal ?? null,
      refusals: report.refusals,
      drifts: report.drifts,
    },
    problems: report.problems,
    datapath,
  };
}

/** Writes the snapshot soon after it is wanted, more rarely the longer it takes. A disk that refuses costs names, not service. */
function openSnapshots(path: string, take: () => Parameters<typeof writeSnapshot>[1], log: Log) {
  let timer: NodeJS.Timeout | undefined;
  let nextAt = Number.NEGATIVE_INFINITY;
  let failed = false;
  const write = () => {
    timer = undefined;
    const began = performance.now();
    try {
      writeSnapshot(path, take());
      failed = false;
    } catch (error) {
      if (!failed) log.warn({ path, error: error instanceof Error ? error.message : String(error) }, 'the snapshot was not written');
      failed = true;
    }
    const ended = performance.now();
    nextAt = ended + Math.max(SNAPSHOT_MS, SNAPSHOT_SHARE * (ended - began));
  };
  return {
    write,
    want() {
      timer ??= setTimeout(write, Math.max(0, nextAt - performance.now()));
    },
    close() {
      clearTimeout(timer);
      write();
    },
  };
}

/** kube-proxy: the last process the kernel ends when memory is short. What it may not be told is no reason not to serve. */
function setOomScore(adjustment: number, log: Log): void {
  try {
    writeFileSync('/proc/self/oom_score_adj', String(adjustment));
  } catch (error) {
    log.warn({ oomScoreAdj: adjustment, error: (error as Error).message }, 'oomScoreAdj was not set');
  }
}

function tellTakenOver(log: Log, taken: TakenOver | undefined): void {
  if (taken === undefined) return;
  const { entries, unfit, unknown } = taken;
  log.info({ entries }, 'connections carried over from maps of another layout or size');
  if (unfit > 0) log.warn({ entries: unfit }, 'some had no room: their connections end');
  if (unknown.length > 0) log.warn({ maps: unknown }, 'these maps did not say what they hold: connections through them end');
}

/** Starts everything and resolves when it serves. Undefined: given up by the signal. Throws ConfigError, PreconditionError, LockedError, or what the kernel refused. */
export async function startAgent(start: Start): Promise<RunningAgent | undefined> {
  const { config, native, log, signal } = start;
  const startedAt = Date.now();
  const options = datapathOptions(config);
  const closers: (() => void | Promise<void>)[] = [];
  const close = async () => {
    for (const stop of closers.splice(0).reverse()) await stop();
  };
  try {
    const chosen = await openSource(config, start.version);
    const { source } = chosen;
    closers.push(() => source.close());
    const observation = await openObservation({ config, chosen, log, version: start.version, startedAt });
    closers.push(() => observation.close());
    const node = openNode(native, options);
    closers.push(() => node.close());
    const datapath: Datapath = await openDatapath(native, node, options);
    closers.push(() => datapath.close());
    setOomScore(config.oomScoreAdj, log);
    mkdirSync(config.stateDirectory, { recursive: true, mode: 0o700 });
    log.info({ adopted: datapath.adopted, node: config.nodeName, source: chosen.from }, datapath.adopted ? 'maps adopted' : 'maps made');

    const viewOf = followView(config);
    let reload: Reload | undefined;
    let afterTurn = (_applied: Applied) => {};
    const agent = openAgent({
      config,
      source,
      addresses: () => node.addresses(),
      maps: datapath.maps,
      empty: datapath.empty,
      log,
      datapathProblems: () => [
        ...datapath.problems(),
        ...(reload?.problems() ?? []),
        ...observation.problems(),
        ...chosen.problems(datapath.maps),
      ],
      onProblem: observation.problem,
      onApplied(applied) {
        datapath.update(viewOf(applied.model));
        observation.applied(applied);
        afterTurn(applied);
      },
    });
    closers.push(() => agent.close());
    observation.follow(agent, datapath);
    closers.push(node.onChange(() => agent.dirty()));

    let attached = false;
    const modelNow = () => {
      const model = agent.model();
      if (model === undefined) throw new Error('the agent waits for its source: it has no Services to speak of yet');
      return model;
    };
    const findings = async () => [...compare(datapath.maps, modelNow(), config, agent.unfit()), ...(await datapath.findings())];
    const account = (to: Destination | ServiceName) => {
      const { oldestChangeMs, refusal, problems } = agent.report();
      const model = modelNow();
      return agentAccount(to, {
        objects: source.objects(),
        model,
        ...{ options, config, problems },
        names: agent.names(),
        devices: datapath.devices(),
        waitingMs: oldestChangeMs === undefined ? null : Math.round(oldestChangeMs),
        refusal: refusal ?? null,
      });
    };
    const server = await serve(socketPath(config.stateDirectory), async (question) => {
      if (question.ask === 'account') return account(question.to);
      if (question.ask === 'findings') return findings();
      return statusOf(start, startedAt, agent, chosen, attached ? await datapath.status() : undefined);
    });
    closers.push(() => server.close());
    let upkeep: Upkeep | undefined;
    const keepUp = () => {
      upkeep ??= openUpkeep(native, datapath, config.conntrack, config.resetGoneBackends, log);
      return upkeep;
    };
    closers.push(() => upkeep?.close());
    // What an earlier agent attached serves while the source is waited for, and its flows end as ever.
    if (datapath.adopted) keepUp();

    agent.dirty();
    await synced(source, signal);
    if (signal.aborted) return void (await close());
    agent.dirty();
    await Promise.race([agent.settled(), new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))]);
    const model = agent.model();
    if (signal.aborted || model === undefined) return void (await close());

    tellTakenOver(log, await datapath.attach(viewOf(model)));
    attached = true;
    const running = keepUp();
    observation.serving(running);
    const snapshots = openSnapshots(
      snapshotPath(config.stateDirectory),
      () => ({ writtenAt: Date.now(), names: agent.names(), status: statusOf(start, startedAt, agent, chosen, undefined) }),
      log,
    );
    closers.push(() => snapshots.close());
    afterTurn = ({ udpStopped }) => {
      snapshots.want();
      if (udpStopped) running.backendsStopped();
    };
    closers.push(datapath.onProblems(() => agent.problemsChanged()));
    if (start.configFile !== undefined) {
      const followed = followConfig({
        ...start.configFile,
        config,
        log,
        onChange({ xdp, socketExceptions, resetGoneBackends }) {
          void datapath.setXdp(xdp);
          datapath.setExceptions(socketExceptions);
          running.setResetGone(resetGoneBackends);
        },
        onProblems: () => agent.problemsChanged(),
      });
      reload = followed;
      closers.push(() => followed.close());
    }
    // Before anybody is told that we serve: names are there when the first dump is asked for.
    snapshots.write();
    agent.dirty();
    // Again, and before what is behind the pages goes.
    closers.push(() => observation.close());
    log.info({ services: model.services.size }, 'serving');
    return { close };
  } catch (error) {
    await close();
    throw error;
  }
}
