/**
 * What a program inherits from whoever starts it, besides directory, arguments and environment: open descriptors, ignored
 * and blocked signals, the soft limit of open files. Node changes all of these at its own start, so that bin/luoctl, a shell
 * script, writes them down before Node runs; the launcher gives them to the programs.
 *
 * The record is one line of five words: the soft limit (a number or `unlimited`), ignored signals and blocked signals (as
 * /proc/self/status has them), the sum of 1, 2 and 4 for standard input, output and error that are blocking, and the open
 * descriptors separated by commas. Unhappy: no record, or one that cannot be read (Node was started in another way): then what
 * this process has now, with standard input, output and error as they are. Not passed on: that SIGCHLD is ignored, which shells
 * undo at their own start.
 */
import { O } from '../../abi/linux.js';
import { getFileLimit, getStatusFlags, setStatusFlags } from '../../sys/index.js';

/** Name of the variable that carries the record; programs do not see it. */
export const INHERITANCE_VARIABLE = 'LUO_EMULATE_RECORD';

/** Ignored by the launcher process, even for a moment, it would make the kernel reap programs unseen. */
const SIGCHLD_BIT = 1n << 16n;

export interface Inheritance {
  /** Soft limit of open files; null: as the hard one. */
  readonly fileLimit: number | null;
  /** Signals (bit n - 1). */
  readonly ignored: bigint;
  readonly blocked: bigint;
  /** Descriptors that are open and not close-on-exec, ascending. */
  readonly fds: readonly number[];
  /** Those of 0, 1, 2 that were open and blocking, ascending. */
  readonly blocking: readonly number[];
}

/** The record in `text`, or what this process has itself. */
export function readInheritance(text: string | undefined): Inheritance {
  const match = /^(\d+|unlimited) ([0-9a-f]{1,16}) ([0-9a-f]{1,16}) ([0-7])(?: (\d[\d,]*))?$/.exec((text ?? '').trim());
  if (match === null) return { fileLimit: getFileLimit().soft, ignored: 0n, blocked: 0n, fds: [0, 1, 2], blocking: [] };
  const fds = (match[5] ?? '').split(',').filter(Boolean).map(Number);
  return {
    fileLimit: match[1] === 'unlimited' ? null : Number(match[1]),
    ignored: BigInt(`0x${match[2]}`) & ~SIGCHLD_BIT,
    blocked: BigInt(`0x${match[3]}`),
    fds: [...new Set(fds)].sort((a, b) => a - b),
    blocking: [0, 1, 2].filter((fd) => fds.includes(fd) && (Number(match[4]) & (1 << fd)) !== 0),
  };
}

/** The record of `inheritance`, as {@link readInheritance} reads it. */
export function writeInheritance({ fileLimit, ignored, blocked, fds, blocking }: Inheritance): string {
  const mask = blocking.reduce((sum, fd) => sum | (1 << fd), 0);
  return `${fileLimit ?? 'unlimited'} ${ignored.toString(16)} ${blocked.toString(16)} ${mask} ${fds.join(',')}`;
}

/**
 * Make blocking again what was. From Node 22 on, the loading of `node:util`, which koffi does, opens standard error, and that
 * makes a pipe non-blocking for everybody who shares it, the programs too: they would lose what they write.
 */
export function restoreBlocking({ blocking }: Inheritance): void {
  for (const fd of blocking) {
    const flags = getStatusFlags(fd);
    if ((flags & O.NONBLOCK) !== 0) setStatusFlags(fd, flags & ~O.NONBLOCK);
  }
}
