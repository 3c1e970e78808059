// Where does the agent say what it does? One JSON line an event on standard error, by pino.

import { type Logger, pino } from 'pino';

export type Log = Logger;

/** Opens the log. Lines are written synchronously, so that the last one before a crash is there. */
export function openLog(): Log {
  return pino(
    {
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
