/** `luoctl blob`: data for the next kernel, without any update around it. */
import { copyIn, copyOut, looksBinary } from '../copy.js';
import type { Context } from '../context.js';
import { EXIT, UsageError, type ExitCode } from '../exit-codes.js';
import { printable, size, table } from '../format.js';
import { verb } from '../verb.js';

const ACTIONS = ['put', 'get', 'list', 'drop'];

export const blob = verb<{ replace?: boolean }>({
  name: 'blob',
  group: 'Kernels:',
  summary: 'keep data for the next kernel, or get what the last one left',
  operands: '<put|get|list|drop> [name]',
  options: [{ flags: '--replace', help: 'put: take the place of a blob of that name' }],
  notes:
    'put keeps standard input, get writes to standard output (binary content not to a terminal). A blob is preserved from the moment of put and crosses one kexec, also one that luo does not start, if luod runs until then. The kernel lists nothing: list shows what is kept for the next kernel, and of the last one only what was asked for by its name. luod keeps the last minutes of its own log as luod-log.',
  example: {
    line: 'luoctl blob get luod-log',
    says: 'shows what luod of the last kernel had to say before the jump',
  },
  async run({ context, args, options }) {
    const [action, name] = args as [string, string | undefined];
    if (!ACTIONS.includes(action)) throw new UsageError(`blob knows ${ACTIONS.join(', ')}, not '${action}'`);
    if (options.replace && action !== 'put') throw new UsageError('--replace goes with blob put only');
    if (action === 'list') {
      if (name !== undefined) throw new UsageError('blob list takes no NAME: blob get NAME asks for one');
      return list(context);
    }
    if (name === undefined) throw new UsageError(`blob ${action} needs a NAME`);
    if (action === 'put') return put(context, name, options.replace === true);
    if (action === 'get') return get(context, name);
    await context.ask('blobDrop', { name });
    context.report({ dropped: name }, `dropped ${printable(name)}\n`);
    return EXIT.done;
  },
});

/** Copies before it connects: a slow pipe must not hold a connection. */
async function put(context: Context, name: string, replace: boolean): Promise<ExitCode> {
  if (context.io.stdin.isTTY) throw new UsageError('nothing to keep: give content on standard input (< FILE)');
  const memfd = context.ports.createMemfd(`luoctl-blob-${name}`.slice(0, 200));
  try {
    await copyIn(context.io.stdin as AsyncIterable<Uint8Array | string>, memfd.fd);
    const params = { name, ...(replace ? { replace } : {}) };
    const { sizeBytes } = await context.withLuod(
      async (luod) => (await luod.request('blobPut', params, { fds: [memfd.fd] })).result,
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
      const { fd } = fds[0]!;
      if (context.json) context.sayJson(result);
      else if (context.io.stdout.isTTY && (await looksBinary(fd))) {
        throw new UsageError(`the blob ${printable(name)} is binary: send it into a file (> FILE)`);
      } else await copyOut(fd, context.io.stdout);
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
