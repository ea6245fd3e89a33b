/** One end of a pipe or of a FIFO. The bytes in it stay in it as long as one of its ends is held. */
import type { FdDescription } from '../../ports/index.js';
import { GOES_OVER, isType, noHandler, type FdFacts } from './facts.js';

export function describePipe(facts: FdFacts): FdDescription | null {
  if (!isType(facts, 'fifo')) return null;
  return {
    type: 'pipe',
    sizeBytes: null,
    label: facts.link,
    viable: { handover: GOES_OVER, kexec: noHandler('pipes', 'the bytes in it are lost') },
  };
}
