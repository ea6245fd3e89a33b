/** `luoctl kill`: send a signal to the main process of a service. */
import { signalName } from '../arguments.js';
import { EXIT } from '../exit-codes.js';
import { verb } from '../verb.js';

export const kill = verb<{ signal: string }>({
  name: 'kill',
  group: 'Services:',
  summary: 'send a signal to the main process of a service',
  operands: '<name>',
  options: [
    { flags: '-s, --signal <signal>', help: 'its name, as TERM or SIGTERM', parse: signalName, required: true },
  ],
  notes: 'To end a service use luoctl stop: one that ends by a signal is started again if its restart policy says so.',
  example: { line: 'luoctl kill cache --signal HUP', says: 'sends SIGHUP to the process that runs as cache' },
  async run({ context, args, options }) {
    await context.ask('kill', { name: args[0]!, signal: options.signal });
    context.report({ name: args[0], signal: options.signal }, `${args[0]}: ${options.signal} sent\n`);
    return EXIT.done;
  },
});
