/**
 * An epoll instance. Its list names open files, not fds: in the next program it reports what it reported before, for as
 * long as those files are held by somebody, under the data words of the program that added them.
 */
import type { FdDescription } from '../../ports/index.js';
import { anonymousName, fdinfoLines, noHandler, type FdFacts } from './facts.js';

export function describeEpoll(facts: FdFacts): FdDescription | null {
  if (anonymousName(facts) !== 'eventpoll') return null;
  const count = fdinfoLines(facts, 'tfd').length;
  return {
    type: 'epoll',
    sizeBytes: null,
    label: `epoll of ${count} file${count === 1 ? '' : 's'}`,
    viable: {
      handover: {
        ok: true,
        reason:
          count === 0 ? '' : 'the files it watches must be handed over too, or it goes on watching nobody’s files',
      },
      kexec: noHandler('epoll instances', 'make a new one'),
    },
  };
}
