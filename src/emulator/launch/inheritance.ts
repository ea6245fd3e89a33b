/**
 * What a program inherits from whoever starts it, besides directory, arguments and environment: open descriptors, ignored
 * and blocked signals, the soft limit of open files. Node changes all of these at its own start, so that bin/luoctl, a shell
 * script, writes them down before Node runs; the launcher gives them to the programs.
 *
 * The record is one line of four words: the soft limit (a number or `unlimited`), ignored signals and blocked signals (as
 * /proc/self/status has them), and the open descriptors separated by commas. Unhappy: no record, or one that cannot be read
 * (Node was started in another way): then what this process has now, with standard input, output and error. Not passed on: that
 * SIGCHLD is ignored, which shells undo at their own start.
 */
import { getFileLimit } from '../../sys/index.js';

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
}

/** The record in `text`, or what this process has itself. */
export function readInheritance(text: string | undefined): Inheritance {
  const match = /^(\d+|unlimited) ([0-9a-f]{1,16}) ([0-9a-f]{1,16})(?: (\d[\d,]*))?$/.exec((text ?? '').trim());
  if (match === null) return { fileLimit: getFileLimit().soft, ignored: 0n, blocked: 0n, fds: [0, 1, 2] };
  const fds = (match[4] ?? '').split(',').filter(Boolean).map(Number);
  return {
    fileLimit: match[1] === 'unlimited' ? null : Number(match[1]),
    ignored: BigInt(`0x${match[2]}`) & ~SIGCHLD_BIT,
    blocked: BigInt(`0x${match[3]}`),
    fds: [...new Set(fds)].sort((a, b) => a - b),
  };
}

/** The record of `inheritance`, as {@link readInheritance} reads it. */
export function writeInheritance({ fileLimit, ignored, blocked, fds }: Inheritance): string {
  return `${fileLimit ?? 'unlimited'} ${ignored.toString(16)} ${blocked.toString(16)} ${fds.join(',')}`;
}
