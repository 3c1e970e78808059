// With which code does a verb end, and what does that say to a script? The one table; help prints it.

/** Exit codes by name. 1 is left to crashes, 2 is what shells and getopt use for wrong usage. */
export const EXITS = {
  done: { code: 0, when: 'done' },
  failed: { code: 1, when: 'failed: the kernel refused, or a bug; explain and check: the kernel does not hold what it should' },
  usage: { code: 2, when: 'wrong option, argument or configuration field' },
  notRunning: { code: 3, when: 'no agent answers on this node' },
  precondition: { code: 4, when: 'root, a capability, a kernel feature or a mount is missing' },
  alreadyRunning: { code: 5, when: 'another agent holds this node' },
  nothingPinned: { code: 6, when: 'no maps are pinned, or a name asked for is not known here' },
  notOurs: { code: 7, when: 'explain: no frontend of ours, packets go on untouched' },
  denied: { code: 8, when: 'explain: the connection is dropped or rejected' },
} as const;

export type ExitName = keyof typeof EXITS;

/** Ends a verb with a documented code and one message for people; no stack is shown. */
export class Refusal extends Error {
  readonly exit: ExitName;

  constructor(exit: ExitName, message: string) {
    super(message);
    this.name = 'Refusal';
    this.exit = exit;
  }
}

/** The lines of help that list the codes a verb can end with. */
export function exitHelp(names: readonly ExitName[]): string {
  return ['Exit codes:', ...names.map((name) => `  ${EXITS[name].code}  ${EXITS[name].when}`)].join('\n');
}
