/** Which file a typed command means, and which environment a service gets from its caller. */
import { accessSync, constants, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { LuoError } from '../base/errors.js';

/** Variables that belong to one process or to luo itself; a service must not find those of its caller. */
const OWN_VARIABLES = /^(LUO_.*|NOTIFY_SOCKET|LISTEN_(FDS|PID|FDNAMES|PIDFDID)|WATCHDOG_(USEC|PID))$/;

/** `env` as a service gets it, with `extra` on top. */
export function serviceEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  extra: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const kept = Object.entries(env).filter(
    (pair): pair is [string, string] => pair[1] !== undefined && !OWN_VARIABLES.test(pair[0]),
  );
  return { ...Object.fromEntries(kept), ...extra };
}

function executable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/**
 * `command` with its first word as an absolute path: below `cwd` if it has a slash, else searched in `path`, as a shell
 * does. Found here, because luod's own PATH is another one.
 * @throws LuoError SERVICE_START_FAILED there is no such program
 */
export function resolveCommand(command: readonly string[], cwd: string, path: string | undefined): string[] {
  const [program, ...rest] = command;
  if (program === undefined || program === '') throw new LuoError('SERVICE_START_FAILED', 'the command is empty');
  const candidates = program.includes('/')
    ? [resolve(cwd, program)]
    : (path ?? '/usr/local/bin:/usr/bin:/bin').split(':').map((folder) => join(resolve(cwd, folder), program));
  const found = candidates.find(executable);
  if (found === undefined) {
    throw new LuoError(
      'SERVICE_START_FAILED',
      program.includes('/')
        ? `'${program}' is no program that can be executed (looked at ${candidates[0]})`
        : `'${program}' is in none of the folders of PATH`,
      { errno: 'ENOENT', remedy: 'Give the path of the program, or check its permissions.' },
    );
  }
  return [found, ...rest];
}
