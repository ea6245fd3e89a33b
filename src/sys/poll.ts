/** poll(2) without waiting, for what must be known in this turn and not in the loop's next. */
import { POLLFD } from '../abi/structs.js';
import { poll } from './libc.js';
import { checkRetry } from './sys-error.js';

const one = Buffer.alloc(POLLFD.sizeBytes);

/** Which of `events` (POLL) hold for `fd` now; hang-up and error come unasked. @throws SysError ENOMEM */
export function pollNow(fd: number, events: number): number {
  one.writeInt32LE(fd, POLLFD.fd);
  one.writeInt16LE(events, POLLFD.events);
  one.writeInt16LE(0, POLLFD.revents);
  return checkRetry('poll', () => poll(one, 1, 0)) === 0 ? 0 : one.readInt16LE(POLLFD.revents);
}
