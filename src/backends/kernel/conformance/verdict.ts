/** How a case ends that does not end well: what it expected did not come, or it cannot be asked here. */

/** The fact does not hold: something was expected and something else came. */
export class Mismatch extends Error {
  readonly what: string;
  readonly expected: string;
  readonly came: string;

  constructor(what: string, expected: unknown, came: unknown) {
    super(`${what}: expected ${text(expected)}, came ${text(came)}`);
    this.what = what;
    this.expected = text(expected);
    this.came = text(came);
  }
}

/** This machine cannot be asked. */
export class Skip extends Error {}

/** @throws Mismatch */
export function expect(what: string, came: unknown, expected: unknown): void {
  if (text(came) !== text(expected)) throw new Mismatch(what, expected, came);
}

/** As JSON, so that two values are the same where a reader would say so. */
function text(value: unknown): string {
  if (typeof value === 'string') return value;
  return JSON.stringify(value, (_key, part: unknown) => (typeof part === 'bigint' ? `${part}` : part)) ?? 'undefined';
}
