/**
 * luod's own log: one JSON line per event on standard error, which the keeper appends to DIR/logs/luod.log. Library
 * folders throw or return; the daemon decides, and logs once. `audit` lines say who asked for what, and what came of it.
 */
import { pino } from 'pino';
import type { Logger } from 'pino';

export type { Logger };

/** Who else is to have each line; may be set later. */
export interface LogTee {
  write?: (line: string) => void;
}

/** The log of this process. Written synchronously: the line before a SIGKILL is the one that is wanted afterwards. */
export function createLogger(level: string, tee: LogTee = {}): Logger {
  const out = pino.destination({ fd: 2, sync: true });
  return pino(
    { base: { pid: process.pid }, level, timestamp: pino.stdTimeFunctions.isoTime },
    {
      write: (line: string) => {
        out.write(line);
        tee.write?.(line);
      },
    },
  );
}
