/** An inotify instance: its watches and the events that wait in it belong to the open file, and go along. */
import type { FdDescription } from '../../ports/index.js';
import { anonymousName, fdinfoLines, GOES_OVER, noHandler, type FdFacts } from './facts.js';

export function describeInotify(facts: FdFacts): FdDescription | null {
  if (anonymousName(facts) !== 'inotify') return null;
  const count = fdinfoLines(facts, 'inotify wd:').length;
  return {
    type: 'inotify',
    sizeBytes: null,
    label: `inotify with ${count} watch${count === 1 ? '' : 'es'}`,
    viable: { handover: GOES_OVER, kexec: noHandler('inotify instances', 'watch anew; events of the gap are lost') },
  };
}
