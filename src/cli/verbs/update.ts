/** `luoctl update`: hand a service over to a new version of its program, or replace luod itself. */
import { setTimeout as delay } from 'node:timers/promises';
import { resolve } from 'node:path';
import { LuoError } from '../../base/errors.js';
import { LIMIT_OPTIONS, limitsParam, variable, type LimitOptions } from '../arguments.js';
import type { Context } from '../context.js';
import { EXIT, UsageError, type ExitCode } from '../exit-codes.js';
import { handover } from '../handover.js';
import { reconnect, RECONNECT_MS } from '../reconnect.js';
import { resolveCommand } from '../resolve-command.js';
import { verb } from '../verb.js';

interface Options extends LimitOptions {
  env?: Record<string, string>;
  cwd?: string;
}

export const update = verb<Options>({
  name: 'update',
  group: 'Updates:',
  summary: 'hand a service over to a new version, without losing its state',
  operands: '<name>',
  command: 'optional',
  options: [
    ...LIMIT_OPTIONS,
    { flags: '--env <name=value>', help: 'change a variable of its environment (again for more)', parse: variable },
    { flags: '--cwd <folder>', help: 'another working directory; by default it keeps its own' },
  ],
  notes:
    'Without a command after -- the service’s own is started again. Until the commit everything can be undone: a new version that fails, and Ctrl-C, leave the old one running (exit code 3). The name luod replaces luod itself; services run on meanwhile.',
  example: {
    line: 'luoctl update cache --blackout-max 500ms -- node server-v2.js',
    says: 'replaces the running cache by server-v2.js; rolls back if the switch takes over half a second',
  },
  async run({ context, args, command, options }) {
    const name = args[0]!;
    const argv = command === undefined ? {} : { argv: resolveCommand(command, context.io.cwd, context.io.env.PATH) };
    if (name === 'luod') {
      if (Object.keys(options).some((key) => key in { env: 1, cwd: 1, ...limitNames(options) })) {
        throw new UsageError('update luod takes no options of a service’s update');
      }
      return updateLuod(context, argv);
    }
    return handover(context, {
      method: 'update',
      params: {
        name,
        ...argv,
        ...(options.env === undefined ? {} : { env: options.env }),
        ...(options.cwd === undefined ? {} : { cwd: resolve(context.io.cwd, options.cwd) }),
        ...limitsParam(options),
      },
    });
  },
});

function limitNames(options: LimitOptions): Record<string, unknown> {
  const { blackoutMax, standbyMax, prepareMax, finishMax } = options;
  return { blackoutMax, standbyMax, prepareMax, finishMax };
}

/** Replace luod and wait until another process answers in its place. */
async function updateLuod(context: Context, argv: { argv?: string[] }): Promise<ExitCode> {
  const { pidBefore } = await context.ask('updateLuod', argv);
  const end = performance.now() + RECONNECT_MS;
  for (;;) {
    const luod = await reconnect(context);
    try {
      const status = (await luod.request('status', {})).result;
      if (status.luod.pid !== pidBefore) {
        const { version, pid } = status.luod;
        context.report(
          { pidBefore, pidAfter: pid, version },
          `luod: replaced, version ${version}; pid ${pidBefore} -> ${pid}\n`,
        );
        return EXIT.done;
      }
    } catch (error) {
      // The old luod may answer the connect and end before the status.
      if (!(error instanceof LuoError) || error.code !== 'PROTO_CLOSED') throw error;
    } finally {
      luod.close();
    }
    if (performance.now() >= end) {
      throw new LuoError('UPDATE_FAILED', `luod (pid ${pidBefore}) did not end within ${RECONNECT_MS} ms`, {
        remedy: 'Read luoctl logs; the services are not concerned.',
      });
    }
    await delay(50);
  }
}
