/**
 * The suite that says whether a /dev/liveupdate behaves as the kernel's does: the port behind `luoctl conformance`. Types
 * only; src/backends/kernel/conformance implements it.
 */

/** Cases of stage 1 and 2 are the same ones: the first half before the jump into the next kernel, the second after it. */
export type ConformanceStage = 1 | 2;

export interface ConformanceSelection {
  /** Left out: what needs no jump. */
  readonly stage?: ConformanceStage;
  /** Left out: every group but `kernel-only`. @throws LuoError UNSUPPORTED a group that there is not */
  readonly groups?: readonly string[];
}

export interface ConformanceCase {
  readonly group: string;
  /** A fact, as a sentence. */
  readonly name: string;
}

export type ConformanceOutcome =
  | { readonly result: 'pass' }
  /** It cannot be asked here. */
  | { readonly result: 'skip'; readonly reason: string }
  | { readonly result: 'fail'; readonly what: string; readonly expected: string; readonly came: string };

export type ConformanceResult = ConformanceCase & ConformanceOutcome;

export interface ConformanceGroup {
  readonly group: string;
  readonly about: string;
  /** Run when no group is named. */
  readonly byDefault: boolean;
  readonly cases: number;
}

export interface Conformance {
  /** The groups that have cases for `stage`. */
  groups(stage?: ConformanceStage): readonly ConformanceGroup[];
  list(selection: ConformanceSelection): readonly ConformanceCase[];
  /**
   * Run them one after the other. Leaves nothing behind, but for stage 1: a process that holds its sessions until the jump.
   * @param device path of it
   * @param told each result as it comes
   * @returns the pid of that process, after stage 1
   * @throws LuoError LIVEUPDATE_MISSING, LIVEUPDATE_HELD, LIVEUPDATE_BROKEN; SESSION_MISSING stage 2 without a stage 1;
   *   SESSION_COPY_LEFT another stage 1 waits for its jump; UNSUPPORTED, SYS
   */
  run(
    device: string,
    selection: ConformanceSelection,
    told: (result: ConformanceResult) => void,
  ): Promise<{ readonly holder: number | null }>;
}
