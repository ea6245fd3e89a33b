/**
 * The keeper as a program: `keeper --dir DIR [--adopt | --kexec] -- LUOD_ARGV...`. With --adopt, fd 3 is the channel of a living
 * luod that started it. Prints nothing on stdout; ends with 0, or with 1 and a sentence on stderr.
 * SIGTERM and SIGINT end luod and then the keeper; SIGHUP is ignored, since services outlive a terminal.
 */
import { pathToFileURL } from 'node:url';
import { LuoError } from '../base/errors.js';
import { startKeeper } from '../keeper/index.js';

export interface RunKeeperOptions {
  readonly dir: string;
  readonly luodArgv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly adoptFd?: number;
  /** Take what the last kernel left for luod. */
  readonly kexec?: boolean;
}

/** Be the keeper until everything has ended; returns the exit code. */
export async function runKeeper(options: RunKeeperOptions): Promise<number> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(options.env)) if (value !== undefined) env[name] = value;
  try {
    process.on('SIGHUP', () => {});
    const keeper = await startKeeper({ ...options, env });
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => keeper.terminate());
    const error = await keeper.ended;
    if (error === undefined) return 0;
    throw error;
  } catch (error) {
    const { code, message, remedy } = LuoError.from(error);
    process.stderr.write(`luo keeper: ${message} [${code}]${remedy === undefined ? '' : `\n${remedy}`}\n`);
    return 1;
  }
}

/** @throws LuoError PROTO_INVALID */
function parseArguments(argv: readonly string[]): { dir: string; adopt: boolean; kexec: boolean; luodArgv: string[] } {
  const end = argv.indexOf('--');
  const options = end < 0 ? [...argv] : argv.slice(0, end);
  const luodArgv = end < 0 ? [] : argv.slice(end + 1);
  const dirAt = options.indexOf('--dir');
  const dir = dirAt < 0 ? undefined : options[dirAt + 1];
  const [adopt, kexec] = [options.includes('--adopt'), options.includes('--kexec')];
  // One that takes the place of another must not take twice what came over.
  if (dir === undefined || luodArgv.length === 0 || (adopt && kexec)) {
    throw new LuoError('PROTO_INVALID', 'usage: keeper --dir DIR [--adopt | --kexec] -- LUOD_COMMAND...');
  }
  return { dir, adopt, kexec, luodArgv };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  let code: number;
  try {
    const { dir, adopt, kexec, luodArgv } = parseArguments(process.argv.slice(2));
    code = await runKeeper({ dir, luodArgv, env: process.env, kexec, ...(adopt ? { adoptFd: 3 } : {}) });
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`);
    code = 2;
  }
  process.exit(code);
}
