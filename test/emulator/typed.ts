/** `luoctl emulate` as a user types it: bin/luoctl, with everything that it writes, under the node that runs the tests. */
import { dirname } from 'node:path';
import { luoctl, run, type Ended } from './support.js';

/** Of one command line; the machine may be slow. */
const LIMIT_MS = 240_000;

/** `program` under an emulated kernel; LUOCTL is in its environment. @param options of luoctl emulate */
export function emulate(
  program: readonly string[],
  options: readonly string[] = [],
  env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
  const PATH = `${dirname(process.execPath)}:${process.env['PATH']}`;
  return run([luoctl, 'emulate', ...options, '--', ...program], {
    env: { ...process.env, PATH, LUOCTL: luoctl, ...env },
    limitMs: LIMIT_MS,
  });
}

/** A shell command that makes the jump, from inside; it does not come back. */
export const JUMP = '"$LUOCTL" emulate kexec';
