/** Members that have not answered: named on standard error, with an exit code of their own. */
import type { Context } from './context.js';
import { EXIT, type ExitCode } from './exit-codes.js';
import { printable } from './format.js';

/** EXIT.stuck, and the names told, if there are any; else `otherwise`. */
export function stuckExit(context: Context, stuck: readonly string[], otherwise: ExitCode): ExitCode {
  if (stuck.length === 0) return otherwise;
  context.tell(`${context.paintError.bad('luoctl: stuck:')} ${stuck.map(printable).join(', ')}`);
  context.tell('  to do: ask again with luoctl recover, or give one up with luoctl recover --forget ID');
  return EXIT.stuck;
}
