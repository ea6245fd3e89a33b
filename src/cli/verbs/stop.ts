/** `luoctl stop`: end a service; its state stays. */
import { milliseconds } from '../arguments.js';
import { serviceLine } from '../describe.js';
import { EXIT } from '../exit-codes.js';
import { verb } from '../verb.js';

export const stop = verb<{ timeout?: number }>({
  name: 'stop',
  group: 'Services:',
  summary: 'end a service and park its state',
  operands: '<name>',
  options: [{ flags: '--timeout <ms>', help: 'from SIGTERM to SIGKILL', parse: milliseconds }],
  notes:
    'What it registered stays with luo (parked) until luoctl start takes it up again or luoctl discard deletes it.',
  example: {
    line: 'luoctl stop cache --timeout 5s',
    says: 'ends cache, by force after five seconds, and keeps its memory',
  },
  async run({ context, args, options }) {
    const { service } = await context.ask('stop', {
      name: args[0]!,
      ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
    });
    context.report({ service }, serviceLine(service, context.paint));
    return EXIT.done;
  },
});
