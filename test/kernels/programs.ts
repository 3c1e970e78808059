// Does this kernel take our objects, and how much work is each program for its verifier? Loaded with the features that the product finds here.
import { spawnSync } from 'node:child_process';
import { encoded } from '../../control/abi/codec.ts';
import { Features } from '../../control/abi/layout.gen.ts';
import { buildDirectory, loadNative } from '../../control/kernel/addon.ts';
import { probeFeatures } from '../../control/kernel/features.ts';
import { OBJECTS, objectPath } from '../../control/kernel/preconditions.ts';

/** Probes are there to be refused, so they are no objects here. */
export interface ObjectAnswer {
  readonly object: string;
  /** Instructions that the verifier processed, by program; undefined where the kernel refuses the object. */
  readonly instructions: Readonly<Record<string, number>> | undefined;
  /** The end of what libbpf and the verifier said about a refusal. */
  readonly refusal: string;
}

const REFUSAL_LINES = 30;

/** Loads each object that a node loads, one after the other, in a process of its own. Needs root. */
export function* loadEach(): Generator<ObjectAnswer> {
  const features = Buffer.from(encoded(Features, probeFeatures(loadNative()))).toString('hex');
  for (const object of OBJECTS.filter((name) => name !== 'probe')) {
    const { status, stdout, stderr } = spawnSync(`${buildDirectory}verify`, [objectPath(object), features], {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
    });
    const lines = stdout.trim().split('\n');
    const counts = Object.fromEntries(lines.map((line) => line.split(' ')).map(([program, count]) => [program!, Number(count)]));
    const refusal = stderr.trimEnd().split('\n').slice(-REFUSAL_LINES).join('\n');
    yield { object, instructions: status === 0 ? counts : undefined, refusal };
  }
}
