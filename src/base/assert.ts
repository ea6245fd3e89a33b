/**
 * "The program is wrong": stops where it is found out. Node's own module of this kind opens standard error as it is loaded, and
 * with it makes a pipe non-blocking for everybody who shares it.
 */

/** The name is that of Node's, by which tests and reporters know it. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** @throws AssertionError unless `condition` holds */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}
