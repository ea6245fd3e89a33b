/** `luoctl put`: keep content, or an open fd, in a box that survives every update. */
import { fstatSync, readlinkSync } from 'node:fs';
import { wholeNumber } from '../arguments.js';
import type { Context } from '../context.js';
import { copyIn } from '../copy.js';
import { EXIT, UsageError } from '../exit-codes.js';
import { size } from '../format.js';
import { verb } from '../verb.js';

interface Options {
  fd?: number;
  asFile?: boolean;
  replace?: boolean;
}

export const put = verb<Options>({
  name: 'put',
  group: 'Boxes and handles:',
  summary: 'keep standard input, or an open fd, in a box',
  operands: '<box> <entry>',
  options: [
    { flags: '--fd <number>', help: 'keep this fd of the caller instead of content', parse: wholeNumber },
    { flags: '--as-file', help: 'standard input is a file: keep the open file itself, not a copy' },
    { flags: '--replace', help: 'take the place of an entry of that name' },
  ],
  notes:
    'The content of standard input is copied into memory that luo holds (a memfd). With --as-file or --fd nothing is copied: the open file, socket or pipe itself is kept.',
  example: {
    line: 'luoctl put keys host-key < /etc/hostname',
    says: 'keeps the content of the file as entry host-key of the box keys',
  },
  async run({ context, args, options }) {
    if (options.fd !== undefined && options.asFile) throw new UsageError('--fd and --as-file exclude each other');
    const params = { box: args[0]!, name: args[1]!, ...(options.replace ? { replace: true } : {}) };
    const send = (fd: number) =>
      context.withLuod(async (luod) => (await luod.request('put', params, { fds: [fd] })).result);
    const result =
      options.fd !== undefined
        ? await send(callerFd(options.fd))
        : options.asFile
          ? await send(inputFile())
          : await sendContent(context, params.name, send);
    context.report(
      { ...params, ...result },
      `${params.box}/${params.name}: ${result.type}, ${size(result.sizeBytes)}\n`,
    );
    return EXIT.done;
  },
});

/** Copies before it connects: a slow pipe must not hold a connection. */
async function sendContent<T>(context: Context, name: string, send: (fd: number) => Promise<T>): Promise<T> {
  if (context.io.stdin.isTTY) {
    throw new UsageError('nothing to keep: give content on standard input (< FILE), or --fd NUMBER');
  }
  const memfd = context.ports.createMemfd(`luoctl-${name}`.slice(0, 200));
  try {
    await copyIn(context.io.stdin as AsyncIterable<Uint8Array | string>, memfd.fd);
    return await send(memfd.fd);
  } finally {
    memfd.close();
  }
}

function inputFile(): number {
  if (!fstatSync(0).isFile())
    throw new UsageError('--as-file: standard input is no file; leave the option out to keep its content');
  return 0;
}

/** `fd`, if it can be one that the caller gave: Node's own epoll and io_uring fds take the numbers that are free. */
function callerFd(fd: number): number {
  let link: string;
  try {
    link = readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    throw new UsageError(`fd ${fd} is not open: give it to luoctl, as in luoctl put BOX ENTRY --fd ${fd} ${fd}<FILE`);
  }
  if (/^anon_inode:\[(eventpoll|io_uring)\]$/.test(link)) {
    throw new UsageError(`fd ${fd} was not given to luoctl: it is one of luoctl's own`);
  }
  return fd;
}
