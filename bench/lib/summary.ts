/** Medians and their spread. Benches report ratios of runs made side by side, since machines differ and are shared. */

/** Median, with the quartiles as its spread. */
export interface Summary {
  readonly median: number;
  readonly low: number;
  readonly high: number;
  readonly count: number;
}

/** Value at `share` (0 to 1) of the sorted values, between neighbours by their distance. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return NaN;
  const at = (sorted.length - 1) * share;
  const below = sorted[Math.floor(at)]!;
  const above = sorted[Math.ceil(at)]!;
  return below + (above - below) * (at - Math.floor(at));
}

export function summarize(values: readonly number[]): Summary {
  return {
    median: quantile(values, 0.5),
    low: quantile(values, 0.25),
    high: quantile(values, 0.75),
    count: values.length,
  };
}

/** The ratio of each pair, so that what slowed both of a pair down cancels out. */
export function pairedRatio(over: readonly number[], under: readonly number[]): Summary {
  return summarize(over.map((value, index) => value / under[index]!));
}

/** `median (low to high)`, numbers cut to what can be read. */
export function show(summary: Summary, unit = ''): string {
  const digits = (value: number): string =>
    Math.abs(value) >= 1000 ? Math.round(value).toLocaleString('en') : value.toPrecision(3);
  return `${digits(summary.median)}${unit} (${digits(summary.low)} to ${digits(summary.high)})`;
}
