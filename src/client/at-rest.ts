/**
 * Before the blackout a successor has work of its own behind it: connections were attached, and the threads of V8 still compile what
 * that has made hot. On a machine with few processors they would take one from the old process, which is about to freeze.
 */
import { setTimeout as sleep } from 'node:timers/promises';

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
