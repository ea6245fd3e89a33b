/**
 * The end of this process, told to its parent as the program's own: by the same exit code, or by the same signal, without a core
 * file of ours beside the program's, and without Node's exit, which would give the terminal back the modes of its start.
 */
import { constants } from 'node:os';
import type { EmulatedEnd } from '../../ports/emulator.js';
import { exitNow, forbidCore, kill, withDefaultAction } from '../../sys/index.js';

/** End this process as the program ended. */
export function endLike({ code, signal }: EmulatedEnd): never {
  if (signal === null) exitNow(code ?? 1);
  forbidCore();
  if (signal === constants.signals.SIGKILL) kill(process.pid, signal);
  else withDefaultAction(signal, () => kill(process.pid, signal));
  // It is still here: the signal is blocked, or this process may not get it.
  exitNow(128 + signal);
}
