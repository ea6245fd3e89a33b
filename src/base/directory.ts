/** Where luod's directory is: one rule for luod, luoctl and every client. */
import { LuoError } from './errors.js';

/** Names of the files in luod's directory that others find it by. */
export const SOCKET_NAME = 'luod.sock';
export const KEEPER_SOCKET_NAME = 'keeper.sock';
/** Where the luod of the machine is. */
export const SYSTEM_DIRECTORY = '/run/luo';

/**
 * What was asked for, else LUO_DIR, else `/run/luo` for root and `$XDG_RUNTIME_DIR/luo` for others. As it was given: not
 * made absolute.
 * @throws LuoError LUOD_UNREACHABLE not root, and neither an option, LUO_DIR nor XDG_RUNTIME_DIR says where
 */
export function luodDirectory(options: {
  readonly dir?: string | undefined;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly uid: number | undefined;
}): string {
  const dir = options.dir || options.env['LUO_DIR'];
  if (dir) return dir;
  if (options.uid === 0) return SYSTEM_DIRECTORY;
  const runtime = options.env['XDG_RUNTIME_DIR'];
  if (runtime) return `${runtime}/luo`;
  throw new LuoError('LUOD_UNREACHABLE', 'where luod is cannot be told: XDG_RUNTIME_DIR is not set', {
    remedy: 'give --dir DIR, or set LUO_DIR to the directory that luod runs in',
  });
}
