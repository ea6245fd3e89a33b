/** What an fd is and whether it can cross: the kinds are asked in order, the first that knows it answers. */
import type { FdDescriber, FdDescription } from '../../ports/index.js';
import { describeDeviceNode } from './device-node.js';
import { describeEpoll } from './epoll.js';
import { describeEventfd } from './eventfd.js';
import { gatherFacts, type FdKind } from './facts.js';
import { describeFile } from './file.js';
import { describeInotify } from './inotify.js';
import { describeMemfd } from './memfd.js';
import { describeOther, describePath } from './other.js';
import { describePidfd } from './pidfd.js';
import { describePipe } from './pipe.js';
import { describeSession } from './session.js';
import { describeSocket } from './socket.js';
import { describeTimerfd } from './timerfd.js';

const KINDS: readonly FdKind[] = [
  describePath,
  describeMemfd,
  describePidfd,
  describeFile,
  describeSocket,
  describePipe,
  describeEventfd,
  describeTimerfd,
  describeEpoll,
  describeInotify,
  describeSession,
  describeDeviceNode,
];

/** @throws LuoError SYS EBADF not an open fd */
export function describeFd(fd: number): FdDescription {
  const facts = gatherFacts(fd);
  for (const kind of KINDS) {
    const description = kind(facts);
    if (description !== null) return description;
  }
  return describeOther(facts);
}

export const fdDescriber: FdDescriber = { describe: describeFd };
