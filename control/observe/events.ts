// How does a cluster's user learn what is wrong with an object? By Events beside it (events.k8s.io/v1), as kube-proxy writes them. Nothing
// waits for them: they queue, a few at a time go out, the same again is counted at the one that is there, and without a server they are lost.

import { randomInt } from 'node:crypto';
import type { Log } from './log.ts';

/** Speaks to the API server. */
export interface EventSink {
  /** The HTTP status of the answer; rejects where nobody answers. */
  send(method: 'POST' | 'PATCH', path: string, contentType: string, body: unknown, signal: AbortSignal): Promise<number>;
}

/** The object that an Event is about. */
export interface Regarding {
  readonly apiVersion: string;
  readonly kind: string;
  /** Undefined: of the cluster. */
  readonly namespace: string | undefined;
  readonly name: string;
  /** Empty where unknown: tools that ask by uid then do not find the Event. */
  readonly uid: string;
}

export interface Occurrence {
  readonly type: 'Normal' | 'Warning';
  /** A CamelCase word for programs. */
  readonly reason: string;
  /** What was being done, likewise. */
  readonly action: string;
  /** A sentence for people. */
  readonly note: string;
}

/** What became of the Events, since the start. */
export interface EventCounts {
  /** The server has them. */
  readonly sent: number;
  /** Counted at an Event that is there. */
  readonly repeated: number;
  /** Of one object too many in a short time. */
  readonly limited: number;
  /** The queue was full, or no server answered for too long. */
  readonly lost: number;
  /** The server did not want them. */
  readonly refused: number;
}

export interface Recorder {
  /** Takes note; never blocks and never throws. `regarding` is asked when the Event goes out; undefined: there is nothing to put it at. */
  record(object: string, occurrence: Occurrence, regarding: () => Regarding | undefined): void;
  counts(): EventCounts;
  /** What is in the queue is lost. */
  close(): void;
}

/** Of tests alone; what is not given is as below. */
export interface Pace {
  readonly gapMs?: number;
  readonly retryMs?: number;
  /** Monotonic, in ms. */
  readonly clock?: () => number;
}

/** kube-proxy: clientConnection.qps is 5. */
const GAP_MS = 200;
const QUEUE = 500;
/** Five attempts, doubling from one second: half a minute in all, and the next one has its chance. */
const RETRY_MS = 1_000;
const ATTEMPTS = 5;
const ANSWER_MS = 10_000;
/** The first repetition is told at once, later ones so often. */
const REPEAT_MS = 300_000;
/** An Event that did not happen again for so long is a new one the next time. */
const SERIES_MS = 600_000;
/** client-go's idea of spam: so many at once about one object, then one in five minutes. */
const BURST = 10;
const REFILL_MS = 300_000;
/** Events and objects that are remembered; the least recent is forgotten. */
const REMEMBERED = 4_096;
/** The API's limits, in bytes and characters. */
const NOTE_BYTES = 1_024;
const NAME_LENGTH = 253;
const INSTANCE_LENGTH = 128;
const CONTROLLER = 'sluice';

/** One that may have gone out, and may happen again. */
interface Series {
  readonly object: string;
  readonly occurrence: Occurrence;
  readonly regarding: () => Regarding | undefined;
  /** Path of the Event on the server; undefined: it is not there yet. */
  path: string | undefined;
  count: number;
  /** Clock of the last occurrence, and wall clock of it for people. */
  lastAt: number;
  lastTime: string;
  /** Clock when the server was told last. */
  toldAt: number;
  queued: boolean;
}

/** A map that forgets the entry that was used longest ago. */
function remember<V>(map: Map<string, V>, key: string, value: V): void {
  map.delete(key);
  map.set(key, value);
  if (map.size > REMEMBERED) map.delete(map.keys().next().value!);
}

/** The API's MicroTime has six digits. */
function microTime(ms: number): string {
  return new Date(ms).toISOString().replace('Z', '000Z');
}

/** At most so many bytes, cut between characters. */
function cut(text: string, bytes: number): string {
  if (Buffer.byteLength(text) <= bytes) return text;
  return `${Buffer.from(text)
    .subarray(0, bytes - 3)
    .toString()
    .replace(/\uFFFD+$/, '')}…`;
}

/** Opens a recorder. instance: who says it, the node's name. */
export function openRecorder(sink: EventSink, instance: string, log: Log, pace: Pace = {}): Recorder {
  const { gapMs = GAP_MS, retryMs = RETRY_MS, clock = () => performance.now() } = pace;
  const counts = { sent: 0, repeated: 0, limited: 0, lost: 0, refused: 0 };
  const series = new Map<string, Series>();
  const buckets = new Map<string, { tokens: number; at: number }>();
  const queue: Series[] = [];
  const stop = new AbortController();
  let working = false;
  // Of many nodes that start together some do so in one millisecond.
  let names = BigInt(Date.now()) * 1_000_000n + BigInt(randomInt(1_000_000));
  let refusalTold = false;

  /** Waits, or less when the recorder closes. */
  const pause = (ms: number) =>
    new Promise<void>((resolve) => {
      const timer = setTimeout(done, ms);
      function done() {
        clearTimeout(timer);
        stop.signal.removeEventListener('abort', done);
        resolve();
      }
      stop.signal.addEventListener('abort', done);
    });

  const allowed = (object: string): boolean => {
    const now = clock();
    const bucket = buckets.get(object) ?? { tokens: BURST, at: now };
    bucket.tokens = Math.min(BURST, bucket.tokens + (now - bucket.at) / REFILL_MS);
    bucket.at = now;
    remember(buckets, object, bucket);
    if (bucket.tokens < 1) return false;
    bucket.tokens--;
    return true;
  };

  /** The status; undefined: nobody answered, or one that may answer better later. */
  const ask = async (method: 'POST' | 'PATCH', path: string, type: string, body: unknown): Promise<number | undefined> => {
    try {
      const status = await sink.send(method, path, type, body, AbortSignal.any([stop.signal, AbortSignal.timeout(ANSWER_MS)]));
      return status === 429 || status >= 500 ? undefined : status;
    } catch {
      // Of a server that is away the source tells; here it only means to wait.
      return undefined;
    }
  };

  const create = (one: Series, regarding: Regarding) => {
    const namespace = regarding.namespace ?? 'default';
    const suffix = `.${(names++).toString(16)}`;
    // Cut where a name may end.
    const name = `${regarding.name.slice(0, NAME_LENGTH - suffix.length).replace(/[-.]+$/, '')}${suffix}`;
    const path = `/apis/events.k8s.io/v1/namespaces/${namespace}/events`;
    const { type, reason, action, note } = one.occurrence;
    const body = {
      apiVersion: 'events.k8s.io/v1',
      kind: 'Event',
      metadata: { name, namespace },
      eventTime: one.lastTime,
      reportingController: CONTROLLER,
      reportingInstance: instance.slice(0, INSTANCE_LENGTH),
      action,
      reason,
      regarding,
      note: cut(note, NOTE_BYTES),
      type,
    };
    return { path, body, own: `${path}/${name}` };
  };

  /** Tells the server what it does not know yet. true: it is over, well or not. */
  const tell = async (one: Series): Promise<boolean> => {
    if (one.path !== undefined) {
      const body = { series: { count: one.count, lastObservedTime: one.lastTime } };
      const status = await ask('PATCH', one.path, 'application/merge-patch+json', body);
      if (status === undefined) return false;
      // Events live an hour: then it is a new one.
      if (status !== 404) return settle(status, 'repeated');
      one.path = undefined;
    }
    const regarding = one.regarding();
    if (regarding === undefined) return true;
    const { path, body, own } = create(one, regarding);
    const status = await ask('POST', path, 'application/json', body);
    if (status === undefined) return false;
    if (status < 300) one.path = own;
    return settle(status, 'sent');
  };

  const settle = (status: number, outcome: 'sent' | 'repeated'): boolean => {
    counts[status < 300 ? outcome : 'refused']++;
    if (status >= 300 && !refusalTold) {
      log.warn({ status }, 'the API server refused an Event; more of the kind are counted in sluice_events_total');
      refusalTold = true;
    }
    return true;
  };

  const work = async () => {
    working = true;
    for (let one = queue.shift(); one !== undefined && !stop.signal.aborted; one = queue.shift()) {
      one.queued = false;
      one.toldAt = clock();
      let over = await tell(one);
      for (let attempt = 1; !over && attempt < ATTEMPTS && !stop.signal.aborted; attempt++) {
        await pause(retryMs * 2 ** (attempt - 1));
        over = await tell(one);
      }
      if (!over) counts.lost++;
      await pause(gapMs);
    }
    working = false;
  };

  const enqueue = (one: Series) => {
    if (one.queued) return;
    if (queue.length >= QUEUE) {
      counts.lost++;
      return;
    }
    one.queued = true;
    queue.push(one);
    if (!working) void work();
  };

  return {
    record(object, occurrence, regarding) {
      if (stop.signal.aborted) return;
      const { type, reason, action, note } = occurrence;
      const key = JSON.stringify([object, type, reason, action, note]);
      const now = clock();
      const lastTime = microTime(Date.now());
      const known = series.get(key);
      if (known !== undefined && now - known.lastAt < SERIES_MS) {
        known.count++;
        known.lastAt = now;
        known.lastTime = lastTime;
        remember(series, key, known);
        if (known.count === 2 || now - known.toldAt >= REPEAT_MS) enqueue(known);
        return;
      }
      if (!allowed(object)) {
        counts.limited++;
        return;
      }
      const one: Series = { object, occurrence, regarding, path: undefined, count: 1, lastAt: now, lastTime, toldAt: now, queued: false };
      remember(series, key, one);
      enqueue(one);
    },
    counts: () => ({ ...counts }),
    close() {
      stop.abort();
      queue.length = 0;
    },
  };
}
