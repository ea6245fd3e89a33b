/**
 * Before the blackout a successor has work of its own behind it: it rehearsed, connections were attached, and the threads of V8
 * still compile what that has made hot. On a machine with few processors they would take one from the old process, which
 * serves, and is about to freeze.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

const WINDOW_MS = 2;
/** Processor time of all threads in a window that counts as rest, us. */
const REST_US = 400;
/** A program that has work of its own all the time is not waited for longer, ms. */
const WAIT_MS = 40;

/** Wait until no thread of this process does anything, for 40 ms at most. */
export async function untilAtRest(): Promise<void> {
  const end = performance.now() + WAIT_MS;
  while (performance.now() < end) {
    const before = process.cpuUsage();
    await sleep(WINDOW_MS);
    const { user, system } = process.cpuUsage(before);
    if (user + system <= REST_US) return;
  }
}

type CollectGarbage = (options: { type: 'minor' | 'major' }) => void;

/** Collect garbage now: a collection just after go would be seen by clients. @param type `minor`: of what is young */
export function collectGarbage(type: 'minor' | 'major'): void {
  const global = globalThis as { gc?: CollectGarbage };
  if (global.gc !== undefined) return global.gc({ type });
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as CollectGarbage;
  setFlagsFromString('--no-expose-gc');
  gc({ type });
}
