/**
 * The rows of the crash matrix, and what each must come to: every actor killed at every fault point, some points in
 * later phases, and some rows in which more than one process dies.
 */
import type { FaultPoint } from '../../src/base/fault-points.js';

export const ACTORS = ['luod', 'keeper', 'old', 'new'] as const;
export type Actor = (typeof ACTORS)[number];

/** Somebody is killed at a point: the process that passes it, or another one while that stands still there. */
export interface Kill {
  readonly point: FaultPoint;
  readonly victim: Actor;
}

/** One row of the matrix. */
export interface Row extends Kill {
  /** The point is armed when this other point is passed; by default before the update. */
  readonly from?: FaultPoint;
  /** What happens afterwards, before all is well again. */
  readonly then?: readonly Kill[];
}

/** The order in which an undisturbed update passes the points: all of FAULT_POINTS, which a test checks. */
export const ORDER: readonly FaultPoint[] = [
  ...(['keeper.put', 'keeper.spawn', 'new.hello', 'new.claimed', 'new.standby', 'luod.standby'] as const),
  ...(['luod.prepare.sent', 'old.prepare', 'old.prepared', 'luod.prepared'] as const),
  ...(['luod.restore.prepared', 'new.restore.prepared'] as const),
  ...(['luod.freeze.sent', 'old.freeze', 'old.frozen', 'luod.frozen'] as const),
  ...(['luod.restore.frozen', 'new.restore.frozen', 'new.ready', 'luod.ready'] as const),
  ...(['luod.decide.before', 'keeper.decide.before', 'keeper.decide.after', 'luod.decide.after'] as const),
  ...(['luod.go.sent', 'new.go', 'luod.retire.sent', 'old.retire', 'new.go.acked', 'luod.go.acked'] as const),
  ...(['luod.finish.sent', 'new.finish', 'luod.finished'] as const),
];

function isBefore(point: FaultPoint, other: FaultPoint): boolean {
  return ORDER.indexOf(point) < ORDER.indexOf(other);
}

/** May connections end? Only where the process dies that may be serving at that moment. */
export function mayLoseConnections({ point, victim }: Kill): boolean {
  if (victim === 'old') return isBefore(point, 'old.frozen');
  if (victim === 'new') {
    // The old process stands still with its answer given: the others may go on to the end before the new one is killed.
    if (point === 'old.frozen') return true;
    return point === 'new.go' ? false : !isBefore(point, 'luod.go.sent') && point !== 'new.hello';
  }
  return false;
}

/** What the update must come to, where it does not depend on who is faster. */
export function mustBe({ point, victim, from }: Row): 'committed' | 'rolled back' | undefined {
  if (from !== undefined) return undefined;
  switch (victim) {
    case 'luod':
      // Its answer is given: while the old process stands still, luod goes on until it is killed.
      if (point === 'old.frozen') return undefined;
      // Once the keeper has been asked, its record counts, whoever hears of it.
      return isBefore(point, 'keeper.decide.before') ? 'rolled back' : 'committed';
    case 'keeper':
      return isBefore(point, 'luod.decide.after') ? undefined : 'committed';
    case 'old':
      // What it handed over is kept: it is not needed any more.
      if (isBefore(point, 'luod.freeze.sent')) return 'rolled back';
      return isBefore(point, 'luod.frozen') ? undefined : 'committed';
    case 'new':
      if (isBefore(point, 'old.frozen') || point === 'luod.frozen' || point === 'new.restore.frozen')
        return 'rolled back';
      return isBefore(point, 'luod.decide.after') ? undefined : 'committed';
  }
}

/** luod is started again after a pause that grows with the deaths of a short time: so the actors take turns. */
function inTurns<T>(lists: readonly (readonly T[])[]): T[] {
  const longest = Math.max(...lists.map((list) => list.length));
  return Array.from({ length: longest }, (_, at) => lists.flatMap((list) => list.slice(at, at + 1))).flat();
}

/** Actor times point. */
export const EVERY_POINT: readonly Row[] = inTurns(ACTORS.map((victim) => ORDER.map((point) => ({ point, victim }))));

/** Points that are passed several times, at a later time; and deaths that follow each other. */
export const LATER_AND_SEVERAL: readonly Row[] = [
  { point: 'keeper.put', victim: 'keeper', from: 'luod.prepare.sent' },
  { point: 'keeper.put', victim: 'keeper', from: 'luod.freeze.sent' },
  { point: 'luod.decide.after', victim: 'luod', then: [{ point: 'luod.go.sent', victim: 'luod' }] },
  { point: 'luod.decide.after', victim: 'luod', then: [{ point: 'new.go', victim: 'new' }] },
  { point: 'luod.decide.after', victim: 'luod', then: [{ point: 'luod.go.sent', victim: 'keeper' }] },
  { point: 'luod.frozen', victim: 'old', then: [{ point: 'luod.decide.after', victim: 'luod' }] },
  { point: 'luod.frozen', victim: 'old', then: [{ point: 'new.go', victim: 'new' }] },
  { point: 'old.freeze', victim: 'old', then: [{ point: 'keeper.spawn', victim: 'luod' }] },
  { point: 'old.freeze', victim: 'old', then: [{ point: 'keeper.spawn', victim: 'keeper' }] },
  { point: 'old.freeze', victim: 'old', then: [{ point: 'new.hello', victim: 'new' }] },
  { point: 'old.freeze', victim: 'old', then: [{ point: 'new.go', victim: 'luod' }] },
  { point: 'new.go', victim: 'new', then: [{ point: 'keeper.spawn', victim: 'luod' }] },
  { point: 'new.go', victim: 'new', then: [{ point: 'keeper.spawn', victim: 'keeper' }] },
  { point: 'new.go', victim: 'new', then: [{ point: 'new.hello', victim: 'new' }] },
  { point: 'new.go', victim: 'new', then: [{ point: 'new.ready', victim: 'keeper' }] },
  { point: 'new.go', victim: 'new', then: [{ point: 'new.go', victim: 'luod' }] },
  { point: 'new.go', victim: 'new', then: [{ point: 'new.go', victim: 'new' }] },
];

/** Those that are played with the cache too. */
export const WITH_THE_CACHE: readonly Row[] = [
  { point: 'old.prepare', victim: 'old' },
  { point: 'luod.freeze.sent', victim: 'luod' },
  { point: 'old.frozen', victim: 'old' },
  { point: 'new.restore.frozen', victim: 'new' },
  { point: 'keeper.decide.before', victim: 'keeper' },
  { point: 'luod.decide.after', victim: 'luod' },
  { point: 'new.go', victim: 'new' },
  { point: 'new.go.acked', victim: 'new' },
  { point: 'luod.go.acked', victim: 'keeper' },
  { point: 'new.finish', victim: 'luod' },
];

/** `new at new.go, then luod at keeper.spawn`. */
export function nameOf({ point, victim, from, then = [] }: Row): string {
  const later = from === undefined ? '' : ` after ${from}`;
  return [`${victim} at ${point}${later}`, ...then.map((kill) => `${kill.victim} at ${kill.point}`)].join(', then ');
}
