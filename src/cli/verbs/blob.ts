/** `luoctl blob`: data for the next kernel, without any update around it. */
import { copyIn, copyOut } from '../copy.js';
import type { Context } from '../context.js';
import { EXIT, UsageError, type ExitCode } from '../exit-codes.js';
import { printable, size, table } from '../format.js';
import { verb } from '../verb.js';

export const blob = verb<{ replace?: boolean }>({
  name: 'blob',
  group: 'Kernels:',
  summary: 'keep data for the next kernel, or get what the last one left',
  operands: '<put|get|list|drop> [name]',
  options: [{ flags: '--replace', help: 'put: take the place of a blob of that name' }],
  notes:
    'put keeps standard input, get writes to standard output. A blob is preserved from the moment of put, whoever starts the next kernel, and crosses one kexec. luod keeps the last minutes of its own log as luod-log.',
  example: {
    line: 'luoctl blob get luod-log',
    says: 'shows what luod of the last kernel had to say before the jump',
  },
  async run({ context, args, options }) {
    const [what, name] = args;
    if (what === 'list') return list(context);
    if (name === undefined) throw new UsageError(`blob ${what} needs a NAME`);
    switch (what) {
      case 'put':
        return put(context, name, options.replace === true);
      case 'get':
        return get(context, name);
      case 'drop':
        await context.ask('blobDrop', { name });
        context.report({ dropped: name }, `dropped ${printable(name)}\n`);
        return EXIT.done;
      default:
        throw new UsageError(`blob knows put, get, list and drop, not '${what}'`);
    }
  },
});

async function put(context: Context, name: string, replace: boolean): Promise<ExitCode> {
  if (context.io.stdin.isTTY) throw new UsageError('nothing to keep: give content on standard input (< FILE)');
  const memfd = context.ports.createMemfd(`luoctl-blob-${name}`.slice(0, 200));
  try {
    await copyIn(context.io.stdin as AsyncIterable<Uint8Array | string>, memfd.fd);
    const { sizeBytes } = await context.withLuod(
      async (luod) =>
        (await luod.request('blobPut', { name, ...(replace ? { replace } : {}) }, { fds: [memfd.fd] })).result,
    );
    context.report({ name, sizeBytes }, `${printable(name)}: ${size(sizeBytes)} for the next kernel\n`);
    return EXIT.done;
  } finally {
    memfd.close();
  }
}

function get(context: Context, name: string): Promise<ExitCode> {
  return context.withLuod(async (luod) => {
    const { result, fds } = await luod.request('blobGet', { name });
    try {
      if (context.json) context.sayJson(result);
      else await copyOut(fds[0]!.fd, context.io.stdout);
      return EXIT.done;
    } finally {
      for (const fd of fds) fd.close();
    }
  });
}

async function list(context: Context): Promise<ExitCode> {
  const { blobs } = await context.ask('blobList', {});
  const rows = blobs.map((one) => [printable(one.name), size(one.sizeBytes), one.direction]);
  context.report({ blobs }, blobs.length === 0 ? 'no blobs\n' : table(['BLOB', 'SIZE', 'DIRECTION'], rows));
  return EXIT.done;
}
