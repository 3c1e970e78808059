// What does one kernel say to our objects and to the test files that are named? Runs inside it and prints one line of JSON an answer.
import { run } from 'node:test';
import { loadEach, type ObjectAnswer } from './programs.ts';

export interface TestAnswer {
  readonly test: string;
  /** undefined: it passed. */
  readonly failure?: string;
  /** Why it was not run. */
  readonly skipped?: string;
}

export type Answer = ObjectAnswer | TestAnswer;

function tell(answer: Answer): void {
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}

for (const answer of loadEach()) tell(answer);

for await (const { type, data } of run({ files: process.argv.slice(2), concurrency: 1 })) {
  if (type === 'test:stderr' || type === 'test:stdout') process.stderr.write(data.message);
  if ((type !== 'test:pass' && type !== 'test:fail') || data.details.type === 'suite') continue;
  if (type === 'test:fail') tell({ test: data.name, failure: String(data.details.error.cause ?? data.details.error) });
  else if (data.skip === undefined) tell({ test: data.name });
  else tell({ test: data.name, skipped: String(data.skip) });
}
