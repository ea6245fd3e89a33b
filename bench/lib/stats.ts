/** Median and range of one variant's values, as the benches print them. Quartiles and paired ratios: summary.ts. */
import { quantile } from './summary.js';

/** Median with the smallest and the largest value. */
export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** The spread of `values`; all NaN if there are none. */
export function spread(values: readonly number[]): Spread {
  return { median: quantile(values, 0.5), min: quantile(values, 0), max: quantile(values, 1) };
}
