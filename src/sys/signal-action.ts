/**
 * What a signal does to this process, changed for the length of one call: past Node, which knows handlers only. Whatever stood
 * there, Node's own handler too, stands there again afterwards.
 */
import { SIGACTION } from '../abi/structs.js';
import * as libc from './libc.js';
import { check } from './sys-error.js';

const DEFAULT = 0n;
const IGNORE = 1n;

/**
 * Run `work` while this process ignores `signals` (bit n - 1): what is ignored when a program is started stays ignored in it.
 * @throws SysError EINVAL SIGKILL and SIGSTOP cannot be ignored
 */
export function ignoringSignals<T>(signals: bigint, work: () => T): T {
  const numbers: number[] = [];
  for (let signal = 1; signal <= 64; signal += 1)
    if (((signals >> BigInt(signal - 1)) & 1n) === 1n) numbers.push(signal);
  return withAction(numbers, IGNORE, work);
}

/** Run `work` while `signal` does what it does by default. @throws SysError EINVAL SIGKILL, SIGSTOP */
export function withDefaultAction<T>(signal: number, work: () => T): T {
  return withAction([signal], DEFAULT, work);
}

function withAction<T>(signals: readonly number[], handler: bigint, work: () => T): T {
  const next = Buffer.alloc(SIGACTION.sizeBytes);
  next.writeBigUInt64LE(handler, SIGACTION.handler);
  const former: { signal: number; action: Buffer }[] = [];
  try {
    for (const signal of signals) {
      const action = Buffer.alloc(SIGACTION.sizeBytes);
      check(libc.sigaction(signal, next, action), 'sigaction', String(signal));
      former.push({ signal, action });
    }
    return work();
  } finally {
    for (const { signal, action } of former) libc.sigaction(signal, action, null);
  }
}
