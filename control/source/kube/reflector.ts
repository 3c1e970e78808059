// How is one resource followed for good? Streamed with its initial objects where the server can (a watch list), else listed page by
// page and then watched; resumed where it broke, begun anew where it cannot be. Whatever happens it goes on, and never asks a
// server that is down or keeps closing more than once a second.

import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import type { Problem } from '../../model/model.ts';
import type { KubeObject } from '../objects.ts';
import { type Api, ApiError } from './api.ts';
import { type Kept, type Page, readEvent, readPage, type WatchEvent } from './event.ts';
import { BrokenLine, splitLines } from './lines.ts';
import type { Resource } from './resources.ts';

/** All in ms. */
export interface Timings {
  /** From the start of a request to the next, after one that brought nothing. */
  readonly spacing: number;
  /** Pause after the second failure in a row; it doubles. */
  readonly firstPause: number;
  readonly longestPause: number;
  /**
   * A watch so long without a byte, and up to a quarter longer, may be broken: it is begun again where it was, which costs a request. The
   * API server sends bookmarks only while a resource changes, so a quiet one has none. Where nobody acknowledges, TCP tells sooner.
   */
  readonly silence: number;
  /** A watch that is open for so long is well, though nothing came. */
  readonly settled: number;
  /** The initial objects have come, it seems, but not the bookmark after them: this server does not know about it. */
  readonly initialSilence: number;
  /** The server is asked to end a watch after so long, and up to twice that. */
  readonly watch: number;
  /** A resource the server does not have is looked for again. */
  readonly missing: number;
}

export const TIMINGS: Timings = {
  spacing: 1_000,
  firstPause: 1_000,
  longestPause: 30_000,
  silence: 90_000,
  settled: 5_000,
  initialSilence: 15_000,
  watch: 300_000,
  missing: 600_000,
};

const PAGE_ITEMS = 500;
/** Answers in a row that brought nothing: then what we resume from may be at fault. */
const ANSWERS_TO_DISTRUST = 3;
/** A stream may break once or twice without anybody having to know. */
const FAILURES_TO_TELL = 3;
/** Answers in a row that a resource is not there, with pauses that grow. */
const FAILURES_TO_BE_GONE = 6;
/**
 * Watches in a row in which nothing was heard: likewise, after an hour. A server that was restored from a backup has an older history than ours
 * and says nothing until it has caught up.
 */
const SILENCES_TO_DISTRUST = 36;

/** Where the objects go. */
export interface Shelf {
  /** What is held under a key, to share it. */
  held(key: string): KubeObject | undefined;
  put(kept: Kept): void;
  remove(key: string): void;
  /** All there is: what is not in it is gone. */
  replace(all: ReadonlyMap<string, Kept>): void;
}

export interface ReflectorStatus {
  readonly resource: string;
  readonly synced: boolean;
  readonly how: 'watch list' | 'list' | 'absent';
  readonly connected: boolean;
  readonly resourceVersion: string | null;
  /** Since anything was heard; null: nothing yet. */
  readonly heardMs: number | null;
  /** Watches begun after the first. */
  readonly reconnects: number;
  /** Complete reads after the first. */
  readonly relists: number;
  /** Requests and watches that ended otherwise than they should. */
  readonly errors: number;
  /** Lines that were none. */
  readonly broken: number;
  /** Events from before what is known: told twice, or too late. */
  readonly late: number;
}

export interface Reflector {
  readonly synced: boolean;
  /** What is in the way now, told in the same words for as long as it is. */
  readonly trouble: Problem | undefined;
  status(): ReflectorStatus;
  /** The server answered somebody else: a pause because it did not ends soon. */
  nudge(): void;
  close(): void;
}

export interface ReflectorParts {
  readonly resource: Resource;
  readonly api: Api;
  readonly shelf: Shelf;
  /** The objects, `synced` or `trouble` changed. */
  readonly onChange: () => void;
  /** A server answered after it had not. */
  readonly onAnswer: () => void;
  readonly timings: Timings;
  /** 0 to 1: jitter. */
  readonly random: () => number;
}

/** What we resume from is of no use any more: everything is read again. */
class Expired extends Error {}
/** The server does not do watch lists. */
class Unsupported extends Error {}
/** Nothing came for too long. */
class Silent extends Error {}
/** The stream ended otherwise than by our doing or its end. */
class BrokenOff extends Error {}

function isOlder(version: string | undefined, than: string | undefined): boolean {
  // etcd: revisions are numbers that grow. Whatever else a server has is taken in the order of the stream.
  return version !== undefined && than !== undefined && Number(version) < Number(than);
}

/** Follows a resource until closed. */
export function openReflector({ resource, api, shelf, onChange, onAnswer, timings, random }: ReflectorParts): Reflector {
  const closing = new AbortController();
  const name = resource.path.slice(resource.path.lastIndexOf('/') + 1);
  let synced = false;
  let absent = false;
  let how: 'watch list' | 'list' = 'watch list';
  let fieldSelector = resource.fieldSelector;
  /** What a watch resumes from; undefined: everything is read again. */
  let version: string | undefined;
  let connected = false;
  let heardAt: number | undefined;
  let trouble: Problem | undefined;
  let wake: AbortController | undefined;
  /** No request before this time. */
  let dueAt = Number.NEGATIVE_INFINITY;
  /** When everything was last read again without a pause. */
  let hurriedAt = Number.NEGATIVE_INFINITY;
  /** Rounds in a row that brought nothing; of them those in which a server answered, and those in which it was silent. */
  let failures = 0;
  let answers = 0;
  let silences = 0;
  const count = { watches: 0, reads: 0, errors: 0, broken: 0, late: 0 };

  const query = (more: Readonly<Record<string, string>>) => {
    return { ...resource.query, ...(fieldSelector === undefined ? {} : { fieldSelector }), ...more };
  };

  const setTrouble = (reason: string, message: string) => {
    if (trouble?.reason === reason) return;
    trouble = { object: 'ApiServer', field: name, reason, message };
    onChange();
  };

  /** The server serves. */
  const well = () => {
    failures = 0;
    if (trouble === undefined) return;
    trouble = undefined;
    onChange();
  };

  /** Something came that moves us on. */
  const progress = () => {
    answers = silences = 0;
    well();
  };

  const heard = () => {
    heardAt = performance.now();
    if (trouble?.reason === 'ApiServerUnreachable') onAnswer();
  };

  /** Every request of a round, though the pages of a list are one, moves the next round away. */
  const asking = () => {
    dueAt = Math.max(dueAt, performance.now()) + timings.spacing;
  };

  /** The record that is held already, where it says the same: then nothing new is kept of another read. */
  const shared = (kept: Kept): Kept => {
    const held = shelf.held(kept.key);
    return held !== undefined && isDeepStrictEqual(held, kept.object) ? { ...kept, object: held } : kept;
  };

  const complete = (all: ReadonlyMap<string, Kept>, isAbsent: boolean) => {
    count.reads++;
    shelf.replace(all);
    synced = true;
    absent = isAbsent;
    onChange();
  };

  const list = async (): Promise<void> => {
    const all = new Map<string, Kept>();
    let page: Page | undefined;
    asking();
    do {
      const more: Record<string, string> = page?.next === undefined ? {} : { continue: page.next };
      const options = { query: query({ limit: String(PAGE_ITEMS), ...more }), signal: closing.signal };
      page = readPage(await api.request('GET', resource.path, options), resource);
      heard();
      for (const kept of page.kept) all.set(kept.key, shared(kept));
    } while (page.next !== undefined);
    version = page.version;
    complete(all, false);
  };

  /** Takes one event. Returns whether the objects changed. Throws what ends the watch. */
  const take = (event: WatchEvent, initial: Map<string, Kept> | undefined): boolean => {
    switch (event.type) {
      case 'error': {
        const { code, message } = event.failure;
        if (code === 410) throw new Expired(message);
        throw new ApiError(`${api.server}: watch of ${resource.path}: ${code ?? 'error'} ${message}`, code ?? 500);
      }
      case 'bookmark':
        if (initial !== undefined && !event.endsInitial) throw new Unsupported('a bookmark before the end of the initial objects');
        // A history that goes back is another one than ours.
        if (initial === undefined && isOlder(event.version, version)) throw new Expired(`version ${event.version} after ${version}`);
        version = event.version;
        return false;
      case 'put':
      case 'remove':
        if (initial !== undefined) {
          // They come in no order of versions, so none of them moves ours.
          if (event.type === 'put') initial.set(event.kept.key, shared(event.kept));
          else initial.delete(event.kept.key);
          return false;
        }
        if (event.version !== undefined && (event.version === version || isOlder(event.version, version))) {
          count.late++;
          return false;
        }
        if (event.type === 'put') shelf.put(event.kept);
        else shelf.remove(event.kept.key);
        version = event.version ?? version;
        return true;
      case 'unknown':
        return false;
    }
  };

  /** Watches, from the beginning where there is no version, until the stream ends. Returns whether it brought anything. */
  const watch = async (): Promise<boolean> => {
    let initial = version === undefined ? new Map<string, Kept>() : undefined;
    let gained = false;
    const broken = new AbortController();
    const timers: NodeJS.Timeout[] = [];
    const after = (ms: number, then: () => void) => {
      const timer = setTimeout(then, ms);
      timers.push(timer);
      return timer;
    };
    const ask = {
      watch: 'true',
      allowWatchBookmarks: 'true',
      timeoutSeconds: String(Math.ceil((timings.watch * (1 + random())) / 1000)),
      ...(version === undefined ? { sendInitialEvents: 'true', resourceVersionMatch: 'NotOlderThan' } : { resourceVersion: version }),
    };
    asking();
    count.watches++;
    const body = await api.watch(resource.path, { query: query(ask), signal: AbortSignal.any([closing.signal, broken.signal]) });
    const pieces = body[Symbol.asyncIterator]();
    const lines = splitLines();
    try {
      connected = true;
      heard();
      const silence = after(timings.silence * (1 + random() / 4), () => broken.abort(new Silent('nothing was heard for too long')));
      const unended = after(timings.initialSilence, () => {
        if (initial !== undefined) broken.abort(new Unsupported('nothing says that the initial objects are complete'));
      });
      after(timings.settled, () => {
        if (initial === undefined) well();
      });
      for (;;) {
        const piece = await pieces.next().catch((error: unknown) => {
          throw broken.signal.aborted ? broken.signal.reason : new BrokenOff(error instanceof Error ? error.message : String(error));
        });
        if (piece.done) return gained;
        heard();
        silence.refresh();
        let changed = false;
        try {
          lines.push(piece.value, (line) => {
            const event = readEvent(line, resource);
            changed = take(event, initial) || changed;
            if (initial !== undefined && event.type === 'bookmark') {
              complete(initial, false);
              initial = undefined;
            }
            if (initial !== undefined) unended.refresh();
            else {
              gained = true;
              progress();
            }
          });
        } finally {
          if (changed) onChange();
        }
      }
    } finally {
      connected = false;
      for (const timer of timers) clearTimeout(timer);
      // Whatever ended it, no more of it is read.
      broken.abort();
      await pieces.return?.().catch(() => {});
    }
  };

  /** Takes note of what ended a round, and says how long to leave the server alone at least; undefined: ask differently, at once. */
  const judge = (error: unknown): number | undefined => {
    failures++;
    const answered = () => {
      if (++answers >= ANSWERS_TO_DISTRUST) version = undefined;
    };
    if (error instanceof Unsupported) {
      how = 'list';
      return undefined;
    }
    if (error instanceof Expired || (error instanceof ApiError && error.status === 410)) {
      version = undefined;
      // A server that says so of all it has just told is not to be read at full speed.
      const now = performance.now();
      if (failures > 1 || now - hurriedAt < timings.longestPause) return 0;
      hurriedAt = now;
      return undefined;
    }
    if (error instanceof Silent) {
      // No error: a resource that does not change is silent.
      if (++silences >= SILENCES_TO_DISTRUST) version = undefined;
      return 0;
    }
    if (error instanceof BrokenLine || error instanceof BrokenOff) {
      count.errors++;
      if (error instanceof BrokenLine) count.broken++;
      answered();
      if (failures >= FAILURES_TO_TELL)
        setTrouble('ApiServerBreaksOff', `${api.server}: ${resource.path}: ${error.message}; it is tried again`);
      return 0;
    }
    // Anything else is a bug.
    if (!(error instanceof ApiError)) throw error;
    const { status, message } = error;
    if (status === 400 && fieldSelector !== undefined) {
      fieldSelector = undefined;
      return undefined;
    }
    if ((status === 400 || status === 422) && version === undefined && how === 'watch list') {
      how = 'list';
      return undefined;
    }
    // A server that starts may refuse for a while what it has: what was there once is not believed gone so soon.
    const known = synced && !absent;
    if (resource.optional && (status === 404 || status === 403) && (!known || (status === 404 && failures >= FAILURES_TO_BE_GONE))) {
      version = undefined;
      if (!absent) complete(new Map(), true);
      if (status === 404) {
        well();
        return timings.missing * (1 + random());
      }
      setTrouble('ApiServerRefuses', message);
      return 0;
    }
    count.errors++;
    if (status === undefined) setTrouble('ApiServerUnreachable', `${message}; what was last heard is served, and it is tried again`);
    else {
      answered();
      setTrouble(status === 401 || status === 403 ? 'ApiServerRefuses' : 'ApiServerFails', `${message}; it is tried again`);
    }
    return error.retryAfterMs ?? 0;
  };

  const pause = async (leastMs: number): Promise<void> => {
    const backOff = failures < 2 ? 0 : Math.min(timings.longestPause, timings.firstPause * 2 ** (failures - 2)) * (0.5 + random() / 2);
    const ms = Math.max(leastMs, backOff, dueAt - performance.now());
    if (ms <= 0) return;
    wake = new AbortController();
    await sleep(ms, undefined, { signal: AbortSignal.any([closing.signal, wake.signal]) }).catch(() => {});
    wake = undefined;
  };

  const follow = async (): Promise<void> => {
    while (!closing.signal.aborted) {
      let least: number | undefined = 0;
      try {
        if (version === undefined && how === 'list') await list();
        const begun = performance.now();
        const gained = await watch();
        // kube-apiserver ends a watch after minutes; one that ends at once and brought nothing is no better than a refusal.
        if (!gained && performance.now() - begun < timings.settled) throw new BrokenOff('the watch ends as soon as it begins');
      } catch (error) {
        if (closing.signal.aborted) return;
        least = judge(error);
      }
      if (least === undefined) dueAt = Number.NEGATIVE_INFINITY;
      else await pause(least);
    }
  };
  void follow();

  return {
    get synced() {
      return synced;
    },
    get trouble() {
      return trouble;
    },
    status: () => ({
      resource: name,
      synced,
      how: absent ? 'absent' : how,
      connected,
      resourceVersion: version ?? null,
      heardMs: heardAt === undefined ? null : Math.round(performance.now() - heardAt),
      reconnects: Math.max(0, count.watches - 1),
      relists: Math.max(0, count.reads - 1),
      errors: count.errors,
      broken: count.broken,
      late: count.late,
    }),
    nudge() {
      const waiting = wake;
      if (waiting === undefined || trouble?.reason !== 'ApiServerUnreachable') return;
      const ms = Math.max(0, dueAt - performance.now()) + random() * timings.spacing;
      setTimeout(() => waiting.abort(), ms).unref();
    },
    close() {
      closing.abort();
    },
  };
}
