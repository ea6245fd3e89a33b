/**
 * One trapped call, from its arrival to its answer. What was read of the notification is copied: a call that is delayed is
 * answered long after the next one has come.
 */
import type { NotificationReader } from '../../sys/index.js';
import { ARCHS_OF_MACHINE, type WatchedCall } from '../../abi/index.js';
import { Target } from './target.js';
import type { CallDetails } from './trace.js';

/** What becomes of a call. */
export type Answer =
  | { readonly kind: 'value'; readonly value: number }
  | { readonly kind: 'errno'; readonly errno: string }
  /** It runs in the real kernel, with its own arguments. */
  | { readonly kind: 'native' }
  /** It is answered already, by an fd. */
  | { readonly kind: 'sent'; readonly fd: number }
  /** It is handled again later. */
  | { readonly kind: 'later'; readonly delayMs: number }
  /** Nobody is there to take an answer, or nobody will be: the machine jumps. */
  | { readonly kind: 'none' };

export const DONE: Answer = { kind: 'value', value: 0 };
export const NATIVE: Answer = { kind: 'native' };
export const NONE: Answer = { kind: 'none' };

export function value(number: number): Answer {
  return { kind: 'value', value: number };
}

export function errno(name: string): Answer {
  return { kind: 'errno', errno: name };
}

export class Call {
  readonly reader: NotificationReader;
  readonly id: bigint;
  readonly name: WatchedCall;
  readonly target: Target;
  readonly args: readonly bigint[];
  /** False: of a program of the machine's 32-bit architecture. */
  readonly isNative: boolean;
  /** For the trace. */
  readonly details: CallDetails;
  readonly startedMs = performance.now();
  /** A fault has delayed it: none acts on it any more. */
  wasDelayed = false;

  constructor(reader: NotificationReader, name: WatchedCall) {
    this.reader = reader;
    this.id = reader.id;
    this.name = name;
    this.target = new Target(reader.threadId);
    this.args = [0, 1, 2, 3, 4, 5].map((index) => reader.argument(index));
    this.isNative = reader.arch === ARCHS_OF_MACHINE[process.arch]?.native;
    this.details = { call: name };
  }

  /** An argument of type int. */
  int(index: number): number {
    return Number(BigInt.asIntN(32, this.args[index]!));
  }

  /** An argument of type unsigned int. */
  word(index: number): number {
    return Number(BigInt.asUintN(32, this.args[index]!));
  }

  /** An argument of type long, or a pointer. */
  long(index: number): bigint {
    return this.args[index]!;
  }

  /** Whatever was read of its process was read of the right one. */
  get isValid(): boolean {
    return this.reader.isValid(this.id);
  }
}
