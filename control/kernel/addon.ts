// Where is the addon? Beside the objects in build/, made once by `make build` and shipped with them.

import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { home } from '../home.ts';
import type { Native } from './native.ts';

/** Directory of the built files: `sluice.node`, and `bpf/*.o`. */
export const buildDirectory = `${home}/build/`;

/** Loads build/sluice.node. Throws an Error that says what to do when it is not built or does not fit this system. */
export function loadNative(): Native {
  const path = `${buildDirectory}sluice.node`;
  if (!existsSync(path)) throw new Error(`${path} is not built: run "make build"`);
  try {
    return createRequire(import.meta.url)(path) as Native;
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${path} does not load: ${reason}. It needs glibc, libelf1 and zlib1g; "make build" rebuilds it`, { cause });
  }
}
