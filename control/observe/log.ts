// Where does the agent say what it does? One JSON line an event on standard error, by pino.

import { type Logger, pino } from 'pino';

export type Log = Logger;

/** klog's: what is written from this level on is for debugging. */
const DEBUG_VERBOSITY = 4;

/** Opens the log. Lines are written synchronously, so that the last one before a crash is there. `verbosity` is klog's. */
export function openLog(verbosity: number): Log {
  return pino(
    {
      level: verbosity >= DEBUG_VERBOSITY ? 'debug' : 'info',
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
