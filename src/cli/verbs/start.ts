/** `luoctl start`: start a parked service again on its kept state. */
import { serviceLine } from '../describe.js';
import { EXIT } from '../exit-codes.js';
import { ProgressView } from '../progress.js';
import { verb } from '../verb.js';

export const start = verb({
  name: 'start',
  group: 'Services:',
  summary: 'start a parked service again on its kept state',
  operands: '<name>',
  example: {
    line: 'luoctl start cache',
    says: 'starts cache with the command and the state it had when it was stopped',
  },
  async run({ context, args }) {
    const progress = new ProgressView(context, `start of '${args[0]}'`);
    try {
      const { service } = await context.withLuod(
        async (luod) => (await luod.request('start', { name: args[0]! }, { onProgress: progress.show })).result,
      );
      progress.clear();
      context.report({ service }, serviceLine(service, context.paint));
      return EXIT.done;
    } finally {
      progress.clear();
    }
  },
});
