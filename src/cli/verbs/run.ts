/** `luoctl run`: start a service under supervision, in the caller's directory and environment. */
import { RESTARTS, type Restart } from '../../base/words.js';
import { milliseconds, variable } from '../arguments.js';
import { serviceLine } from '../describe.js';
import { EXIT, UsageError } from '../exit-codes.js';
import { ProgressView } from '../progress.js';
import { resolveCommand, serviceEnvironment } from '../resolve-command.js';
import { verb } from '../verb.js';

interface Options {
  name: string;
  env?: Record<string, string>;
  restart?: Restart;
  readyCheck?: string;
  readyTimeout?: number;
  stopTimeout?: number;
}

export const run = verb<Options>({
  name: 'run',
  group: 'Services:',
  summary: 'start a service under supervision',
  command: 'required',
  options: [
    { flags: '--name <name>', help: 'its name, for every later verb', required: true },
    { flags: '--env <name=value>', help: 'set a variable of its environment (again for more)', parse: variable },
    { flags: '--restart <when>', help: 'start it again when it ended by itself', choices: RESTARTS },
    { flags: '--ready-check <command>', help: 'shell command; the service is ready when it exits 0' },
    { flags: '--ready-timeout <ms>', help: 'longest start until it is ready', parse: milliseconds },
    { flags: '--stop-timeout <ms>', help: 'from SIGTERM to SIGKILL when it is stopped', parse: milliseconds },
  ],
  notes:
    'The service gets the directory and the environment of the caller, without the variables of luo and of systemd’s socket activation. Its output goes to its log (luoctl logs NAME). luoctl returns when the service is ready.',
  example: {
    line: "luoctl run --name cache --env PORT=7000 --ready-check 'redis-cli -p 7000 ping' -- node server.js",
    says: 'starts server.js as the service cache and returns when the check succeeds',
  },
  async run({ context, command, options }) {
    if (options.name === 'luod')
      throw new UsageError("a service cannot be called 'luod': luoctl update luod means luod itself");
    const argv = resolveCommand(command ?? [], context.io.cwd, context.io.env.PATH);
    const progress = new ProgressView(context, `start of '${options.name}'`);
    try {
      const { service } = await context.withLuod(
        async (luod) =>
          (
            await luod.request(
              'run',
              {
                name: options.name,
                argv,
                cwd: context.io.cwd,
                env: serviceEnvironment(context.io.env, options.env),
                ...(options.restart === undefined ? {} : { restart: options.restart }),
                ...(options.readyCheck === undefined ? {} : { readyCheck: options.readyCheck }),
                ...(options.readyTimeout === undefined ? {} : { readyMs: options.readyTimeout }),
                ...(options.stopTimeout === undefined ? {} : { stopMs: options.stopTimeout }),
              },
              { onProgress: progress.show },
            )
          ).result,
      );
      progress.clear();
      context.report({ service }, serviceLine(service, context.paint));
      return EXIT.done;
    } finally {
      progress.clear();
    }
  },
});
