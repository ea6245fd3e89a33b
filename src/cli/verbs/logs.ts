/** `luoctl logs`: the log of a service, or of luod itself, from its beginning or its last lines, and live with -f. */
import { fstatSync, readSync, statSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { wholeNumber } from '../arguments.js';
import type { HeldFd } from '../context.js';
import { copyOut } from '../copy.js';
import { EXIT, UsageError } from '../exit-codes.js';
import { isConnectionLoss } from '../reconnect.js';
import { verb } from '../verb.js';

const POLL_MS = 200;
const CHUNK_BYTES = 64 * 1024;

export const logs = verb<{ follow?: boolean; lines?: number }>({
  name: 'logs',
  group: 'Looking:',
  summary: 'show the log of a service, or of luod itself',
  operands: '[name]',
  options: [
    { flags: '-f, --follow', help: 'go on with what is written later, until Ctrl-C' },
    { flags: '-n, --lines <count>', help: 'begin with the last lines', parse: wholeNumber },
  ],
  notes: 'A log is rotated by its size; -f follows into the new file. With --json only the path of the log is printed.',
  example: { line: 'luoctl logs cache -n 20 -f', says: 'shows the last 20 lines of the log of cache and follows it' },
  async run({ context, args, options }) {
    if (context.json && options.follow)
      throw new UsageError('--json prints the path of the log; it does not go with -f');
    const open = async (): Promise<{ path: string; log: HeldFd }> =>
      context.withLuod(async (luod) => {
        const { result, fds } = await luod.request('logs', args[0] === undefined ? {} : { name: args[0] });
        return { path: result.path, log: fds[0]! };
      });
    const first = await open();
    if (context.json) {
      first.log.close();
      context.sayJson({ path: first.path });
      return EXIT.done;
    }
    let current = first;
    try {
      const from = options.lines === undefined ? 0 : lastLines(current.log.fd, options.lines);
      let position = await copyOut(current.log.fd, context.io.stdout, from);
      if (!options.follow) return EXIT.done;
      const interrupt = new AbortController();
      const restore = context.io.onInterrupt(() => interrupt.abort());
      try {
        while (!interrupt.signal.aborted) {
          await delay(POLL_MS, undefined, { signal: interrupt.signal }).catch(() => {});
          const rotated = isRotated(current.path, current.log.fd);
          position = await copyOut(current.log.fd, context.io.stdout, position);
          if (!rotated) continue;
          const next = await reopen(open);
          if (!next) continue;
          current.log.close();
          current = next;
          position = 0;
        }
        return EXIT.done;
      } finally {
        restore();
      }
    } finally {
      current.log.close();
    }
  },
});

/** undefined while luod does not answer: the old file is followed on until it does. */
async function reopen<T>(open: () => Promise<T>): Promise<T | undefined> {
  try {
    return await open();
  } catch (error) {
    if (!isConnectionLoss(error)) throw error;
    return undefined;
  }
}

/** Whether another file stands at `path` now. Also false when there is none (yet), or it cannot be looked at. */
function isRotated(path: string, fd: number): boolean {
  const there = statSync(path, { throwIfNoEntry: false });
  return there !== undefined && there.ino !== fstatSync(fd).ino;
}

/** Where the last `lines` lines of the file begin, read backwards in pieces. */
function lastLines(fd: number, lines: number): number {
  const size = fstatSync(fd).size;
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  let missing = lines;
  let end = size;
  if (lines === 0) return size;
  while (end > 0) {
    const start = Math.max(0, end - CHUNK_BYTES);
    readSync(fd, chunk, 0, end - start, start);
    for (let at = end - start - 1; at >= 0; at -= 1) {
      // The newline that ends the file begins no line.
      if (chunk[at] !== 0x0a || start + at === size - 1) continue;
      missing -= 1;
      if (missing === 0) return start + at + 1;
    }
    end = start;
  }
  return 0;
}
