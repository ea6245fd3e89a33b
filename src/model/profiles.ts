/**
 * What differs between the carriers that the model stands for: which files they accept, and how many.
 * `7.3` is the kernel: one handler, for memfds. `any` is the handover, where every kind of fd goes to the next program.
 */
export interface Profile {
  readonly name: string;
  /** The kinds of file that a handler accepts; null: all. */
  readonly kinds: readonly string[] | null;
  readonly sessionsMax: number;
  readonly filesPerSessionMax: number;
}

/** The one kind that the kernel preserves: shared memory without a name in a file system, not on huge pages. */
export const MEMFD_KIND = 'memfd';

export const PROFILES = {
  /** With 4 KiB pages: 10,000 blocks of 51 sessions, and of 63 files. @source Linux 7.3, kernel/liveupdate/luo_internal.h */
  '7.3': { name: '7.3', kinds: [MEMFD_KIND], sessionsMax: 510_000, filesPerSessionMax: 630_000 },
  /** The kernel's own limits, so that what was accepted here is not refused there for its number. */
  any: { name: 'any', kinds: null, sessionsMax: 510_000, filesPerSessionMax: 630_000 },
} as const satisfies Record<string, Profile>;
