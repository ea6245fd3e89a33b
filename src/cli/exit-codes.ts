/** Exit codes of luoctl, documented in docs/cli.md; scripts depend on them, so a number never changes its meaning. */
export const EXIT = {
  /** It is done. */
  done: 0,
  /** It failed; what there was goes on. */
  failed: 1,
  /** The command line is wrong; nothing was asked. */
  usage: 2,
  /** An update was rolled back: the old version goes on. */
  rolledBack: 3,
  /** No luod answers. */
  noLuod: 4,
  /** Members are stuck, and named: `luoctl recover`. */
  stuck: 5,
} as const;
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A mistake in the command line that commander cannot see; exit code 2. */
export class UsageError extends Error {
  constructor(message: string) {
    super(message);
    this.name = 'UsageError';
  }
}
