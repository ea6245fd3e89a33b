/** `luoctl unload`: let go of the loaded kernel. */
import { EXIT } from '../exit-codes.js';
import { verb } from '../verb.js';

export const unload = verb({
  name: 'unload',
  group: 'Kernels:',
  summary: 'unload the kernel that was loaded',
  example: { line: 'luoctl unload', says: 'makes sure that no kexec can happen' },
  async run({ context }) {
    await context.ask('unload', {});
    context.report({ unloaded: true }, 'no kernel is loaded\n');
    return EXIT.done;
  },
});
