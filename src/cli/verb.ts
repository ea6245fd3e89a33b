/**
 * What a verb of luoctl is: a value that says its command line, its help and its example, and a function. One file per
 * verb in verbs/; program.ts gives them all to commander. A verb never writes to the process's own streams and never
 * ends the process: it writes through its context and returns an exit code.
 */
import type { Context } from './context.js';
import type { ExitCode } from './exit-codes.js';

/** Headings of `luoctl help`, in this order. */
export const GROUPS = ['Services:', 'Updates:', 'Kernels:', 'Boxes and handles:', 'Looking:', 'Housekeeping:'] as const;

export interface OptionSpec {
  /** As commander reads it: `--blackout-max <ms>`. */
  readonly flags: string;
  readonly help: string;
  /** Turns the text into a value; throws commander's InvalidArgumentError. `previous` gathers repeated options. */
  readonly parse?: (text: string, previous: unknown) => unknown;
  readonly choices?: readonly string[];
  readonly required?: boolean;
}

/** One call of a verb: what was typed, already parsed. */
export interface Invocation<O> {
  readonly context: Context;
  /** Operands in the order of the verb's `operands`; optional ones that are missing are left out. */
  readonly args: readonly string[];
  /** What followed `--`. */
  readonly command: readonly string[] | undefined;
  readonly options: O;
}

export interface VerbSpec<O> {
  readonly name: string;
  readonly group: (typeof GROUPS)[number];
  readonly summary: string;
  /** Operands as commander reads them: `<name> [signal]`. */
  readonly operands?: string;
  /** Whether a command may or must follow `--`; left out: neither. */
  readonly command?: 'optional' | 'required';
  readonly options?: readonly OptionSpec[];
  /** Further sentences for `luoctl help VERB`. */
  readonly notes?: string;
  /** One real command line, and what it does. */
  readonly example: { readonly line: string; readonly says: string };
  run(invocation: Invocation<O>): Promise<ExitCode | number>;
}
export type Verb = VerbSpec<object>;

/** `spec` with the type of its options forgotten, so that verbs of different options fit one list. */
export function verb<O extends object>(spec: VerbSpec<O>): Verb {
  return spec as unknown as Verb;
}
