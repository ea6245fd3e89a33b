/** `luoctl preflight`: would a kexec bring everything over? */
import { resolve } from 'node:path';
import { EXIT, UsageError } from '../exit-codes.js';
import { IMAGE_OPTIONS, imageParams, type ImageOptions } from '../image-options.js';
import { preflightText } from '../preflight-table.js';
import { verb } from '../verb.js';

export const preflight = verb<ImageOptions>({
  name: 'preflight',
  group: 'Kernels:',
  summary: 'check whether a kexec would bring everything over; changes nothing',
  operands: '[kernel]',
  options: IMAGE_OPTIONS,
  notes:
    'Without KERNEL the loaded one is checked, as it was loaded. Failed checks come first, each with what to do about it; -v shows every finding of a kind. Exit code 1: a check failed, and luoctl kexec would refuse; warnings are no failure.',
  example: {
    line: 'luoctl preflight /boot/vmlinuz-7.3.4',
    says: 'compares that kernel with the running one, and looks at every handle that would cross',
  },
  async run({ context, args, options }) {
    const image = imageParams(options, context.io.cwd);
    if (args[0] === undefined && Object.keys(image).length > 0) {
      throw new UsageError('the loaded kernel is checked as it was loaded: these options need a KERNEL');
    }
    const kernel = args[0] === undefined ? {} : { kernel: resolve(context.io.cwd, args[0]) };
    const report = await context.ask('preflight', { ...kernel, ...image });
    context.report(report, preflightText(report, context.paint, context));
    return report.ok ? EXIT.done : EXIT.failed;
  },
});
