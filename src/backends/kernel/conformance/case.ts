/**
 * What a case of the suite is: a fact as its name, and a function that throws where the fact does not hold. The names are
 * what a person reads in the report; they do not change lightly, since two stages find each other by them.
 */
import type { Bench } from './bench.js';

/** Facts that one kernel can show. */
export interface Case {
  readonly name: string;
  readonly run: (bench: Bench) => void | Promise<void>;
}

/** Facts that need the next kernel: `before` leaves sessions, `after` looks at what came of them. */
export interface GapCase {
  readonly name: string;
  readonly before: (bench: Bench) => void | Promise<void>;
  readonly after: (bench: Bench) => void | Promise<void>;
}

/** A list of cases, as it is: what is written in it gets its types from here. */
export function cases(list: readonly Case[]): readonly Case[] {
  return list;
}

/** The same for those that need a jump. */
export function gapCases(list: readonly GapCase[]): readonly GapCase[] {
  return list;
}

export interface Group {
  readonly group: string;
  readonly about: string;
  readonly byDefault: boolean;
  readonly cases: readonly Case[];
  readonly gapCases: readonly GapCase[];
}
