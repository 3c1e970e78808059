// What of the agent's work needs more privilege than its running? A bpffs to pin in, and ports that no socket may be given. Done once by a
// process that may, an agent with fewer capabilities finds it done.

import { mkdirSync } from 'node:fs';
import { LockedError, lockPins, PreconditionError } from './datapath.ts';
import { openLedger } from './ledger.ts';
import type { Native } from './native.ts';
import type { DatapathOptions } from './options.ts';
import { portsOf, portsText } from './ports.ts';
import { isOnBpfFs } from './preconditions.ts';
import { reservePorts } from './sysctl.ts';

/** Where a bpffs belongs, and so the one place where it is mounted. */
const BPF_FS = '/sys/fs/bpf';

/** Does it, and says what was done, a line each; what is done already is done again without effect. Throws PreconditionError, LockedError, or what the kernel refused. */
export function initialise(native: Native, options: Pick<DatapathOptions, 'pinDirectory' | 'stateDirectory' | 'snatPorts'>): string[] {
  const { pinDirectory, stateDirectory, snatPorts } = options;
  const done: string[] = [];
  if (!isOnBpfFs(native, pinDirectory)) {
    if (!pinDirectory.startsWith(`${BPF_FS}/`))
      throw new PreconditionError([`${pinDirectory} is not on a bpffs, nor below ${BPF_FS}, where one would be mounted`]);
    native.mount('bpf', BPF_FS, 'bpf');
    done.push(`mounted a bpffs at ${BPF_FS}`);
  }
  const lock = lockPins(native, pinDirectory);
  if (lock === undefined) throw new LockedError(`an agent runs with the pin directory ${pinDirectory}: nothing is left to do before it`);
  try {
    mkdirSync(stateDirectory, { recursive: true, mode: 0o700 });
    reservePorts(openLedger(stateDirectory), snatPorts);
    done.push(`reserved ports ${portsText(portsOf(snatPorts))}`);
  } finally {
    native.closeFd(lock);
  }
  return done;
}
