// What do the files of a directory say, now and as they change? A Source over *.yaml, *.yml and *.json. It reads a file when it
// has come to rest, keeps the last good objects of one that does not parse, and believes that a file is gone only when it stays away.

import { closeSync, type FSWatcher, fstatSync, openSync, readdirSync, readFileSync, type Stats, statSync, watch } from 'node:fs';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import type { Problem } from '../model/model.ts';
import { claimsOn } from './claims.ts';
import { readManifest } from './manifest.ts';
import type { KubeObject, Objects, Source } from './objects.ts';
import { objectStore } from './store.ts';

/** A file is read when nothing wrote to it for so long. */
const SETTLE_MS = 50;
/** Likewise for a text that may be cut where it still parses: its last line has no end, or its last object a Problem. */
const DOUBTFUL_MS = 1_000;
/** A file that stays away for so long was removed; one that comes back sooner was being replaced. */
const GONE_MS = 1_000;
/** A first read that is not complete after so long counts as complete: some file never rests. */
const FIRST_READ_MS = 5_000;
/** For what the watch does not tell: other file systems' changes, a replaced directory, a watch that could not be had. */
const POLL_MS = 10_000;
const FILE_BYTES_MOST = 64 * 1024 * 1024;

const MANIFEST = /^[^.].*\.(ya?ml|json)$/;

/** A Source with what `status` shows of it. */
export interface Manifests extends Source {
  readonly directory: string;
  /** Files known now. */
  readonly files: number;
  /** Objects of kinds that are none of ours, by kind (`apps/v1 Deployment`). */
  ignored(): ReadonlyMap<string, number>;
}

interface File {
  /** Signature of the content that was last read, parsed or not. */
  read: string | undefined;
  /** Signature last seen, and since when (performance.now()). */
  seen: { signature: string; since: number } | undefined;
  /** Away since then; undefined: it is there. */
  awaySince: number | undefined;
  /** The text last believed ended with a newline. */
  finished: boolean;
  objects: readonly KubeObject[];
  ignored: ReadonlyMap<string, number>;
  /** About the content as it is now. */
  problems: readonly Problem[];
}

function signatureOf(stats: Stats): string {
  return [stats.dev, stats.ino, stats.size, stats.mtimeMs, stats.ctimeMs].join(' ');
}

function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR');
}

/** Reads a file whose signature is still the given one; undefined: it is changing. */
function readStill(path: string, signature: string): string | undefined {
  const descriptor = openSync(path, 'r');
  try {
    if (signatureOf(fstatSync(descriptor)) !== signature) return undefined;
    const text = readFileSync(descriptor, 'utf8');
    return signatureOf(fstatSync(descriptor)) === signature ? text : undefined;
  } finally {
    closeSync(descriptor);
  }
}

/**
 * Opens a directory of manifests and reads it; where every file is at rest, the Source is synced when this returns. Throws one
 * sentence where the directory is missing or cannot be read. Once open, neither ends it: what was read stays.
 */
export function openManifests(directory: string): Manifests {
  try {
    readdirSync(directory);
  } catch (error) {
    throw new Error(`the directory of manifests cannot be read: ${errorText(error)}`, { cause: error });
  }
  const opened = performance.now();
  const files = new Map<string, File>();
  const store = objectStore();
  const claims = claimsOn(store);
  const callbacks: (() => void)[] = [];
  /** Names to look at, and whether all must be. */
  const suspects = new Set<string>();
  let lookAtAll = true;
  let allSeen = opened;
  const unreadable = new Map<string, Problem>();
  let directoryProblems: readonly Problem[] = [];
  let watcher: FSWatcher | undefined;
  let watched: string | undefined;
  let timer: NodeJS.Timeout | undefined;
  let wakeAt = Number.POSITIVE_INFINITY;
  let synced = false;
  let closed = false;
  let objects: Objects = store.snapshot([]);

  /** Looks again after a delay, or sooner if that was wanted already. */
  const wake = (delay: number): void => {
    const at = performance.now() + delay;
    if (closed || at >= wakeAt) return;
    wakeAt = at;
    clearTimeout(timer);
    timer = setTimeout(scan, Math.max(1, Math.ceil(delay)));
  };

  const fileProblem = (name: string, reason: string, message: string): Problem => {
    return { object: `File ${name}`, origin: name, reason, message };
  };

  const kept = (file: File): string => {
    const count = file.objects.length;
    return count === 0 ? 'nothing of it is known' : `the ${count} objects last read from it are kept`;
  };

  /** Reads a file that rests. Returns how many ms it must rest longer, 0 when it is done with. */
  const readFile = (name: string, file: File, signature: string, restMs: number, bytes: number): number => {
    if (bytes > FILE_BYTES_MOST) {
      file.problems = [fileProblem(name, 'FileTooLarge', `${bytes} bytes are more than ${FILE_BYTES_MOST}; ${kept(file)}`)];
      file.read = signature;
      return 0;
    }
    const text = readStill(join(directory, name), signature);
    if (text === undefined) return SETTLE_MS;
    const unfinished = !text.endsWith('\n') && !text.trimEnd().endsWith('}');
    const manifest = readManifest(text, name);
    const doubtful = !('malformed' in manifest) && manifest.doubtful;
    if ((unfinished || doubtful) && restMs < DOUBTFUL_MS) return DOUBTFUL_MS - restMs;
    file.read = signature;
    if ('malformed' in manifest) {
      file.problems = [fileProblem(name, 'FileNotParsed', `${manifest.malformed}; ${kept(file)}`)];
      return 0;
    }
    // A full disk or a writer that died leaves the same for good: what ended with a newline before is not believed without one.
    if (unfinished && (doubtful || file.finished)) {
      const message = `its last line has no end, so it looks half written (a newline at the end makes it whole); ${kept(file)}`;
      file.problems = [fileProblem(name, 'FileNotParsed', message)];
      return 0;
    }
    file.finished = !unfinished;
    file.objects = manifest.objects;
    file.ignored = manifest.ignored;
    file.problems = manifest.problems;
    claims.replace(name, file.objects, true);
    return 0;
  };

  /** A file that is known and not there. */
  const lookAway = (name: string, now: number): number => {
    const file = files.get(name);
    if (file === undefined) return 0;
    if (file.awaySince === undefined) {
      file.awaySince = now;
      // Its objects stay, but a file that has them now, as after a rename, comes first.
      claims.replace(name, file.objects, false);
    }
    const left = GONE_MS - (now - file.awaySince);
    if (left > 0) return left;
    files.delete(name);
    claims.replace(name, [], false);
    return 0;
  };

  /** Looks at one file. Returns how many ms to wait before the next look, 0 when it is as it was read. */
  const lookAt = (name: string, now: number): number => {
    let stats: Stats;
    try {
      stats = statSync(join(directory, name));
    } catch (error) {
      // Not there, or a link that leads nowhere.
      if (isMissing(error)) return lookAway(name, now);
      throw error;
    }
    if (!stats.isFile()) return lookAway(name, now);
    const file = files.get(name) ?? {
      read: undefined,
      seen: undefined,
      awaySince: undefined,
      finished: false,
      objects: [],
      ignored: new Map(),
      problems: [],
    };
    files.set(name, file);
    if (file.awaySince !== undefined) {
      file.awaySince = undefined;
      claims.replace(name, file.objects, true);
    }
    const signature = signatureOf(stats);
    if (file.read === signature) return 0;
    if (file.seen?.signature !== signature) file.seen = { signature, since: now };
    // ctime tells how long a file rested before we came, unless the clock was set.
    const restMs = Math.max(now - file.seen.since, Date.now() - stats.ctimeMs);
    return restMs < SETTLE_MS ? SETTLE_MS - restMs : readFile(name, file, signature, restMs, stats.size);
  };

  const watchDirectory = (): Problem[] => {
    const identity = String(statSync(directory).ino);
    if (watcher !== undefined && watched === identity) return [];
    watcher?.close();
    watcher = undefined;
    try {
      const fresh = watch(directory, (_event, name) => {
        // A ConfigMap changes by the swap of a link that is no manifest: then every file may be another.
        if (name === null || !MANIFEST.test(name)) lookAtAll = true;
        else suspects.add(name);
        wake(SETTLE_MS);
      });
      fresh.on('error', () => {
        fresh.close();
        if (watcher === fresh) watcher = undefined;
        lookAtAll = true;
        wake(SETTLE_MS);
      });
      watcher = fresh;
      watched = identity;
      return [];
    } catch (error) {
      const message = `changes are seen every ${POLL_MS / 1000} s only: ${errorText(error)}`;
      return [{ object: 'Agent', origin: directory, reason: 'DirectoryNotWatched', message }];
    }
  };

  /** Looks at the suspects, or at every file. Returns how many ms to wait before the next look, and whether a file is not read yet. */
  const lookAround = (): { delay: number; reading: boolean } => {
    const now = performance.now();
    let delay = POLL_MS;
    let reading = false;
    // Throws where the directory itself is away: its files are then not gone one by one.
    statSync(directory);
    if (lookAtAll) {
      directoryProblems = watchDirectory();
      for (const name of readdirSync(directory)) if (MANIFEST.test(name)) suspects.add(name);
      for (const name of files.keys()) suspects.add(name);
      lookAtAll = false;
      allSeen = now;
    }
    for (const name of [...suspects].sort()) {
      unreadable.delete(name);
      try {
        const wait = lookAt(name, now);
        if (wait === 0) suspects.delete(name);
        else delay = Math.min(delay, wait);
        reading ||= wait > 0 && files.get(name)?.awaySince === undefined;
      } catch (error) {
        suspects.delete(name);
        const file = files.get(name);
        const message = `it cannot be read: ${errorText(error)}; ${file === undefined ? 'nothing of it is known' : kept(file)}`;
        unreadable.set(name, fileProblem(name, 'FileNotRead', message));
      }
    }
    return { delay, reading };
  };

  const scan = (): void => {
    wakeAt = Number.POSITIVE_INFINITY;
    lookAtAll ||= performance.now() - allSeen >= POLL_MS;
    const wasSynced = synced;
    let delay = GONE_MS;
    try {
      const look = lookAround();
      delay = look.delay;
      synced ||= !look.reading || performance.now() - opened > FIRST_READ_MS;
    } catch (error) {
      lookAtAll = true;
      const message = `the directory of manifests cannot be read: ${errorText(error)}; what was read from it is kept`;
      directoryProblems = [{ object: 'Agent', origin: directory, reason: 'DirectoryNotRead', message }];
    }
    const before = objects;
    const troubled = [...files].filter(([, file]) => file.problems.length > 0).sort(([a], [b]) => (a < b ? -1 : 1));
    const fileProblems = troubled.flatMap(([, file]) => file.problems);
    objects = store.snapshot([...directoryProblems, ...unreadable.values(), ...fileProblems, ...claims.problems()]);
    wake(delay);
    if (objects !== before || synced !== wasSynced) for (const callback of callbacks) callback();
  };

  scan();
  return {
    directory,
    get synced() {
      return synced;
    },
    get files() {
      return files.size;
    },
    objects: () => objects,
    ignored() {
      const sum = new Map<string, number>();
      for (const file of files.values()) for (const [kind, count] of file.ignored) sum.set(kind, (sum.get(kind) ?? 0) + count);
      return sum;
    },
    onChange(callback) {
      callbacks.push(callback);
    },
    close() {
      closed = true;
      clearTimeout(timer);
      watcher?.close();
    },
  };
}
