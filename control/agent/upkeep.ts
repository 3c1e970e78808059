// What must be done again and again while nothing changes? Flows that are over are forgotten, and sockets that are connected to a
// backend that is gone are destroyed. Each at its own pace, one sweep at a time.

import type { Datapath } from '../kernel/datapath.ts';
import { destroyStaleSockets } from '../kernel/destroy.ts';
import { expireFlows, expiryClock } from '../kernel/expire.ts';
import { openGoneBackends } from '../kernel/gone.ts';
import { KernelError } from '../kernel/maps.ts';
import type { Native } from '../kernel/native.ts';
import type { Timeouts } from '../kernel/options.ts';
import { type FlowCounts, openFlowTally } from '../kernel/tally.ts';
import type { Log } from '../observe/log.ts';

/** Between two sweeps over all flows. */
const EXPIRE_MS = 5_000;
/** Sockets are looked at as often, and this long after a change. */
const DESTROY_MS = 5_000;
const AFTER_CHANGE_MS = 50;

export interface Upkeep {
  /** What the last sweep over the flows counted; undefined: there was none yet. */
  flows(): FlowCounts | undefined;
  /** UDP backends serve no longer: looks at the sockets soon. */
  backendsStopped(): void;
  /** Whether connections of backends that are gone are ended from now on. */
  setResetGone(wanted: boolean): void;
  close(): void;
}

/** Repeats a sweep with a pause between; the kernel's refusals are logged and the next sweep tries again. */
function repeat(sweep: () => Promise<void>, pauseMs: number, log: Log): { soon(): void; close(): void } {
  let timer: NodeJS.Timeout | undefined;
  let running = false;
  let wanted = false;
  let closed = false;
  const schedule = (delay: number) => {
    clearTimeout(timer);
    if (!closed) timer = setTimeout(() => void run(), delay);
  };
  const run = async () => {
    running = true;
    try {
      await sweep();
    } catch (error) {
      if (!(error instanceof KernelError)) throw error;
      log.warn({ operation: error.operation, map: error.map, code: error.code }, 'a sweep was refused');
    }
    running = false;
    schedule(wanted ? AFTER_CHANGE_MS : pauseMs);
    wanted = false;
  };
  schedule(pauseMs);
  return {
    soon() {
      if (running) wanted = true;
      else schedule(AFTER_CHANGE_MS);
    },
    close() {
      closed = true;
      clearTimeout(timer);
    },
  };
}

/** Starts the sweeps over a datapath that is attached. resetGone: end TCP connections whose backend is gone for good (9.4). */
export function openUpkeep(native: Native, datapath: Datapath, timeouts: Timeouts, resetGone: boolean, log: Log): Upkeep {
  const tally = openFlowTally();
  let unable = false;
  let gone = resetGone ? openGoneBackends(() => performance.now()) : undefined;
  const expire = repeat(
    async () => {
      const settings = datapath.maps.settings.get(0);
      if (settings === undefined) return;
      const marked = gone?.marked() ?? 0;
      await expireFlows(datapath.maps, expiryClock(settings, timeouts, datapath.jiffies()), gone, tally);
      const reset = (gone?.marked() ?? 0) - marked;
      if (reset > 0) log.info({ entries: reset }, 'connections of backends that are gone are reset by their next packet');
    },
    EXPIRE_MS,
    log,
  );
  const destroy = repeat(
    async () => {
      const done = await destroyStaleSockets(native, datapath.maps);
      if (done.sockets > 0) log.info({ sockets: done.sockets }, 'destroyed UDP sockets of backends that are gone');
      if (done.unable && !unable) log.warn('this kernel cannot destroy sockets: connected UDP stays with a backend that is gone');
      unable ||= done.unable;
    },
    DESTROY_MS,
    log,
  );
  return {
    flows: tally.counts,
    backendsStopped: destroy.soon,
    setResetGone(wanted) {
      if (wanted !== (gone !== undefined)) gone = wanted ? openGoneBackends(() => performance.now()) : undefined;
    },
    close() {
      expire.close();
      destroy.close();
    },
  };
}
