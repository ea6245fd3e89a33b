/** `luoctl prepare`: do the first half of an update and stay there. */
import { resolve } from 'node:path';
import { GAPS, type Gap } from '../../base/words.js';
import { LIMIT_OPTIONS, limitsParam, milliseconds, variable, type LimitOptions } from '../arguments.js';
import { EXIT } from '../exit-codes.js';
import { interruptible, LEFT } from '../interruptible.js';
import { ProgressView } from '../progress.js';
import { resolveCommand } from '../resolve-command.js';
import { verb } from '../verb.js';

interface Options extends LimitOptions {
  gap?: Gap;
  env?: Record<string, string>;
  cwd?: string;
}

export const prepare = verb<Options>({
  name: 'prepare',
  group: 'Updates:',
  summary: 'get an update ready and wait in the state prepared',
  operands: '<name...>',
  command: 'optional',
  options: [
    { flags: '--gap <gap>', help: 'the gap to be crossed', choices: GAPS },
    { flags: '--prepared-max <ms>', help: 'how long prepared may last before it is cancelled', parse: milliseconds },
    ...LIMIT_OPTIONS,
    { flags: '--env <name=value>', help: 'change a variable of the new version’s environment', parse: variable },
    { flags: '--cwd <folder>', help: 'another working directory for the new version' },
  ],
  notes: 'The services go on serving. luoctl update NAME continues from here, luoctl cancel goes back.',
  example: {
    line: 'luoctl prepare cache -- node server-v2.js',
    says: 'starts server-v2.js beside the running cache, up to the point where the switch is a matter of milliseconds',
  },
  async run({ context, args, command, options }) {
    const progress = new ProgressView(context, `prepare of ${args.join(', ')}`);
    return context.withLuod(async (luod) => {
      try {
        const work = luod.request(
          'prepare',
          {
            scope: [...args],
            ...(options.gap === undefined ? {} : { gap: options.gap }),
            ...(command === undefined ? {} : { argv: resolveCommand(command, context.io.cwd, context.io.env.PATH) }),
            ...(options.env === undefined ? {} : { env: options.env }),
            ...(options.cwd === undefined ? {} : { cwd: resolve(context.io.cwd, options.cwd) }),
            ...limitsParam(options),
          },
          { onProgress: progress.show },
        );
        const reply = await interruptible(context, luod, work);
        progress.clear();
        if (reply === LEFT) return EXIT.failed;
        const { attempt } = reply.result;
        context.report(
          { attempt },
          `prepared: ${args.join(', ')} in attempt ${attempt}; continue with luoctl update, go back with luoctl cancel\n`,
        );
        return EXIT.done;
      } finally {
        progress.clear();
      }
    });
  },
});
