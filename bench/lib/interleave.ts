/**
 * Runs of several variants in turn, round by round, so that what changes on the machine meanwhile meets all of them. The
 * order inside of a round is reversed in every other one.
 */

/** One thing to measure; the number is what is reported. */
export type Variant = () => number | Promise<number>;

export interface InterleaveOptions {
  readonly rounds: number;
  /** Rounds before these whose values are dropped. */
  readonly warmUp?: number;
  readonly onRound?: (round: number) => void;
}

/** The values of each variant, by round. */
export async function interleave<N extends string>(
  variants: Readonly<Record<N, Variant>>,
  options: InterleaveOptions,
): Promise<Record<N, number[]>> {
  const names = Object.keys(variants) as N[];
  const values = Object.fromEntries(names.map((name) => [name, [] as number[]])) as Record<N, number[]>;
  const warmUp = options.warmUp ?? 1;
  for (let round = -warmUp; round < options.rounds; round += 1) {
    const order = round % 2 === 0 ? names : [...names].reverse();
    for (const name of order) {
      const value = await variants[name]();
      if (round >= 0) values[name].push(value);
    }
    options.onRound?.(round);
  }
  return values;
}
