/** The options that name a kernel, its initrd and its command line; paths are the caller's. */
import { resolve } from 'node:path';
import type { LuodParams } from '../protocol/spec.js';
import { UsageError } from './exit-codes.js';
import type { OptionSpec } from './verb.js';

export interface ImageOptions {
  initrd?: string;
  cmdline?: string;
  reuseCmdline?: boolean;
  append?: string;
}

export const IMAGE_OPTIONS: readonly OptionSpec[] = [
  { flags: '--initrd <file>', help: 'initrd of that kernel' },
  { flags: '--cmdline <text>', help: 'its whole command line; by default the running kernel’s' },
  { flags: '--reuse-cmdline', help: 'the running kernel’s command line, which is the default, said aloud' },
  { flags: '--append <text>', help: 'added at the end of the command line' },
];

/** @throws UsageError --cmdline and --reuse-cmdline exclude each other */
export function imageParams(options: ImageOptions, cwd: string): Omit<LuodParams<'load'>, 'kernel'> {
  const { initrd, cmdline, reuseCmdline, append } = options;
  if (cmdline !== undefined && reuseCmdline) throw new UsageError('--cmdline and --reuse-cmdline exclude each other');
  return {
    ...(initrd === undefined ? {} : { initrd: resolve(cwd, initrd) }),
    ...(cmdline === undefined ? {} : { cmdline }),
    ...(reuseCmdline ? { reuseCmdline } : {}),
    ...(append === undefined ? {} : { append }),
  };
}
