/** `luoctl take`: get an entry of a box back, as content or as an open fd. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:os';
import type { Context, Luod } from '../context.js';
import { copyOut, looksBinary } from '../copy.js';
import { EXIT, UsageError } from '../exit-codes.js';
import { verb } from '../verb.js';

interface Options {
  remove?: boolean;
  exec?: string;
}

export const take = verb<Options>({
  name: 'take',
  group: 'Boxes and handles:',
  summary: 'write an entry of a box to standard output, or give it to a command',
  operands: '<box> <entry>',
  options: [
    { flags: '--remove', help: 'take it out of the box, after it was written or the command started' },
    { flags: '--exec <command>', help: 'run this shell command with the entry as its fd 3; its exit code is luoctl’s' },
  ],
  notes:
    'Memory and files can be written to standard output; sockets, pipes and other fds have no content of their own and need --exec. Binary content is not written to a terminal. With --json only the description of the entry is printed.',
  example: {
    line: 'luoctl take keys host-key > host-key',
    says: 'writes the content of the entry into a file; the box keeps it',
  },
  async run({ context, args, options }) {
    if (context.json && options.exec !== undefined) throw new UsageError('--json and --exec exclude each other');
    const entry = { box: args[0]!, name: args[1]! };
    return context.withLuod(async (luod) => {
      const { result, fds } = await luod.request('take', entry);
      const remove = async (): Promise<void> => {
        if (options.remove) await removeEntry(luod, entry);
      };
      try {
        const fd = fds[0]!.fd;
        if (options.exec !== undefined) return await execWith(context, fd, options.exec, remove);
        if (context.json) {
          context.sayJson({ ...entry, ...result });
        } else if (result.type === 'memfd' || result.type === 'file') {
          if (context.io.stdout.isTTY && (await looksBinary(fd))) {
            throw new UsageError(`${entry.box}/${entry.name} is binary: send it into a file (> FILE)`);
          }
          await copyOut(fd, context.io.stdout);
        } else {
          throw new UsageError(
            `${entry.box}/${entry.name} is a ${result.type}: it has no content to write, use --exec COMMAND`,
          );
        }
        // Only now: content that could not be written is still in the box.
        await remove();
        return EXIT.done;
      } finally {
        for (const fd of fds) fd.close();
      }
    });
  },
});

async function removeEntry(luod: Luod, entry: { box: string; name: string }): Promise<void> {
  const { fds } = await luod.request('take', { ...entry, remove: true });
  for (const fd of fds) fd.close();
}

/** Runs `command` with `fd` as its fd 3; 128 + the signal's number when a signal ended it, as a shell says it. */
async function execWith(context: Context, fd: number, command: string, started: () => Promise<void>): Promise<number> {
  const child = spawn('/bin/sh', ['-c', command], {
    stdio: ['inherit', 'inherit', 'inherit', fd],
    cwd: context.io.cwd,
    env: { ...context.io.env },
  });
  const ended = once(child, 'exit') as Promise<[number | null, NodeJS.Signals | null]>;
  await once(child, 'spawn');
  await started();
  const [code, signal] = await ended;
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}
