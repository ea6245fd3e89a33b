/** The command line of the next kernel, made of what was asked for and the running one's. */
import { LuoError } from '../../../base/errors.js';
import { COMMAND_LINE_BYTES_MAX } from '../../../abi/kexec.js';
import type { ImageRequest } from '../../../ports/index.js';

/** The next kernel's command line. @throws LuoError IMAGE_REFUSED too long */
export function commandLine(request: ImageRequest, running: string): string {
  const base = request.cmdline ?? running;
  const cmdline = request.append === undefined ? base : `${base} ${request.append}`.trim();
  if (Buffer.byteLength(cmdline) >= COMMAND_LINE_BYTES_MAX) {
    throw new LuoError(
      'IMAGE_REFUSED',
      `the command line has ${Buffer.byteLength(cmdline)} bytes; the kernel takes ${COMMAND_LINE_BYTES_MAX - 1}`,
    );
  }
  return cmdline;
}
