/**
 * Points at which a test stops, delays or kills this process. Without LUO_FAULT_DIR in the environment at start a point
 * does nothing. With it, a file named as the point arms it, for the first process that comes by: the file is read and
 * removed, a line `NAME PID` is added to `hits`, and its text is done: `kill`, `exit N`, `stop`, `delay MS`.
 */
import { appendFileSync, existsSync, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { FaultPoint } from '../base/fault-points.js';
import { exitNow } from './process.js';

const folder = process.env['LUO_FAULT_DIR'];

/** Pass the point `name`. Where it is armed with `kill` or `exit`, it does not return. */
export const faultPoint: (name: FaultPoint) => void = folder === undefined || folder === '' ? () => {} : passArmed;

function passArmed(name: FaultPoint): void {
  const path = join(folder!, name);
  // The ordinary case, and it may be in a blackout: an exception would cost many times as much.
  if (!existsSync(path)) return;
  let action: string;
  try {
    action = readFileSync(path, 'utf8').trim();
    // Two processes may come by at once: the one that removes the file is the one that is meant.
    unlinkSync(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  appendFileSync(join(folder!, 'hits'), `${name} ${process.pid}\n`);
  const [word = '', argument] = action.split(/\s+/);
  switch (word) {
    case 'kill':
      process.kill(process.pid, 'SIGKILL');
      sleep(60_000);
      break;
    case 'exit':
      return exitNow(Number(argument ?? 1));
    case 'stop':
      process.kill(process.pid, 'SIGSTOP');
      break;
    case 'delay':
      sleep(Number(argument ?? 0));
      break;
    default:
      throw new Error(`fault point '${name}' is armed with '${action}', which is no action`);
  }
}

/** Blocks this thread. */
function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
