/** A counter with an fd. */
import type { FdDescription } from '../../ports/index.js';
import { anonymousName, fdinfo, GOES_OVER, noHandler, type FdFacts } from './facts.js';

export function describeEventfd(facts: FdFacts): FdDescription | null {
  if (anonymousName(facts) !== 'eventfd') return null;
  // The kernel shows the count in hexadecimal.
  const count = Number.parseInt(fdinfo(facts, 'eventfd-count') ?? '', 16);
  return {
    type: 'eventfd',
    sizeBytes: null,
    label: Number.isNaN(count) ? 'eventfd' : `eventfd with count ${count}`,
    viable: { handover: GOES_OVER, kexec: noHandler('eventfds', 'keep its count in memory that is preserved') },
  };
}
