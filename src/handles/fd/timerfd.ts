/** A timer with an fd. It goes on running while nobody reads it, so that a handover only delays its reader. */
import type { FdDescription } from '../../ports/index.js';
import { anonymousName, GOES_OVER, noHandler, type FdFacts } from './facts.js';

export function describeTimerfd(facts: FdFacts): FdDescription | null {
  if (anonymousName(facts) !== 'timerfd') return null;
  return {
    type: 'timerfd',
    sizeBytes: null,
    label: 'timerfd',
    viable: { handover: GOES_OVER, kexec: noHandler('timers', 'arm a new one; the monotonic clock starts again at 0') },
  };
}
