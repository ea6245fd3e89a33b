/** What can be said of a command before it is started: its size, and whether its program is there. */
import { accessSync, constants } from 'node:fs';
import { resolve } from 'node:path';
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import type { ServiceCommand } from './service.js';

/** @param service whose command it is to be @throws LuoError LIMIT_REACHED */
export function checkCommand(service: string, command: ServiceCommand): void {
  const bytes = Buffer.byteLength(JSON.stringify([command.argv, command.env]));
  if (bytes > LIMITS.serviceBytesMax) {
    throw new LuoError('LIMIT_REACHED', `command and environment of '${service}' take ${bytes} bytes`, {
      data: { limit: 'serviceBytesMax' },
    });
  }
}

/**
 * Asked here, since the keeper starts a service through a shell, whose own words would be all that is left of it.
 * @throws LuoError SERVICE_START_FAILED
 */
export function checkProgram({ argv, cwd }: ServiceCommand): void {
  const program = argv[0]!;
  if (!program.includes('/')) return;
  try {
    accessSync(resolve(cwd, program), constants.X_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const what = code === 'ENOENT' ? 'no such program or folder' : String(code);
    throw new LuoError('SERVICE_START_FAILED', `'${program}' cannot be started in '${cwd}': ${what}`, {
      cause: error,
      ...(code === undefined ? {} : { errno: code }),
    });
  }
}
