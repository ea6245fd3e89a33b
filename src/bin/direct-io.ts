/**
 * Standard output and error by plain writes. Node's own streams make a pipe non-blocking, for everybody who has it: a program
 * that shares our pipe would lose what it writes. Happy path: everything is written before `write` returns.
 * Unhappy: a reader that has gone ends this process quietly, as SIGPIPE would; a full pipe that others made non-blocking is waited for.
 */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { Output } from '../cli/context.js';

const sleeper = new Int32Array(new SharedArrayBuffer(4));

export function directOutput(fd: number): Output {
  return {
    isTTY: isatty(fd),
    write(chunk, done) {
      const bytes = typeof chunk === 'string' ? Buffer.from(chunk) : chunk;
      for (let at = 0; at < bytes.length;) at += writeSome(fd, bytes.subarray(at));
      done?.();
    },
  };
}

function writeSome(fd: number, bytes: Uint8Array): number {
  try {
    return writeSync(fd, bytes);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'EAGAIN') {
      Atomics.wait(sleeper, 0, 0, 1);
      return 0;
    }
    // Nobody is there to read it, or there is no such descriptor at all: it is as if it had been read.
    if (code === 'EPIPE' || code === 'EBADF') return bytes.length;
    throw error;
  }
}
