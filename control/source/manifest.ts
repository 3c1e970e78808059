// What does one file of manifests say? Text becomes objects, or the place where it stops making sense. A file counts as a
// whole: a part of it that is no Kubernetes object means that it is half written or not meant for us.

import { LineCounter, parseAllDocuments } from 'yaml';
import type { Problem } from '../model/model.ts';
import type { KubeObject } from './objects.ts';
import { type Parsed, parseObjects } from './parse.ts';

export interface Manifest {
  readonly objects: readonly KubeObject[];
  readonly problems: readonly Problem[];
  /** Kinds that are none of ours, with how many of each. */
  readonly ignored: ReadonlyMap<string, number>;
  /** The last object has a Problem: the text may have been cut inside it, in a place where it still parses. */
  readonly doubtful: boolean;
}

/** Why a text is no manifest: a sentence that begins with the place where one is known. */
export interface Malformed {
  readonly malformed: string;
}

function placeText(place: { line: number; col: number } | undefined): string {
  return place === undefined ? '' : `line ${place.line}, column ${place.col}: `;
}

/** The documents of a text with their places. JSON is tried first: it is YAML too, but many times faster read as what it is. */
function readDocuments(text: string): { value: unknown; place: string }[] | Malformed {
  if (text.trimStart().startsWith('{')) {
    try {
      return [{ value: JSON.parse(text), place: '' }];
    } catch {
      // Several documents, a comment, or broken: the YAML parser knows which, and where.
    }
  }
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, merge: true });
  const values: { value: unknown; place: string }[] = [];
  for (const document of Array.isArray(documents) ? documents : []) {
    const [error] = document.errors;
    if (error !== undefined) {
      const [sentence] = error.message.replace(/ at line \d+, column \d+:?/, '').split('\n');
      return { malformed: `${placeText(error.linePos?.[0])}${sentence}` };
    }
    // toJS throws where aliases multiply without bound.
    const value: unknown = document.toJS();
    if (value !== null && value !== undefined) values.push({ value, place: placeText(lines.linePos(document.contents?.range?.[0] ?? 0)) });
  }
  return values;
}

/** Reads the text of a file called `name`. Never throws. */
export function readManifest(text: string, name: string): Manifest | Malformed {
  // A shell's > truncates before it writes: nothing at all is the beginning of something.
  if (text.trim() === '') return { malformed: 'the file is empty' };
  try {
    const documents = readDocuments(text);
    if ('malformed' in documents) return documents;
    const ignored = new Map<string, number>();
    const manifest = { objects: [] as KubeObject[], problems: [] as Problem[], ignored, doubtful: false };
    for (const { value, place } of documents) {
      const parsed: Parsed = parseObjects(value, name);
      if (parsed.foreign[0] !== undefined) return { malformed: `${place}${parsed.foreign[0]}` };
      for (const object of parsed.objects) manifest.objects.push(object);
      for (const problem of parsed.problems) manifest.problems.push(problem);
      manifest.doubtful = parsed.problems.length > 0 || (parsed.objects.at(-1)?.problems.length ?? 0) > 0;
      for (const kind of parsed.ignored) ignored.set(kind, (ignored.get(kind) ?? 0) + 1);
    }
    return manifest;
  } catch (error) {
    return { malformed: error instanceof Error ? error.message.split('\n')[0]! : String(error) };
  }
}
