/** `luoctl load`: load the kernel that `luoctl kexec` will start. */
import { resolve } from 'node:path';
import { EXIT } from '../exit-codes.js';
import { fields, printable } from '../format.js';
import { IMAGE_OPTIONS, imageParams, type ImageOptions } from '../image-options.js';
import { verb } from '../verb.js';

export const load = verb<ImageOptions>({
  name: 'load',
  group: 'Kernels:',
  summary: 'load the kernel that luoctl kexec starts',
  operands: '<kernel>',
  options: IMAGE_OPTIONS,
  notes:
    'KERNEL is a bzImage. It is loaded by kexec_file_load(2): the other call would lose everything silently. Loading changes nothing else, and takes the place of what was loaded before; luoctl preflight then says whether it would do.',
  example: {
    line: 'luoctl load /boot/vmlinuz-7.3.4 --initrd /boot/initrd.img-7.3.4',
    says: 'loads that kernel with the running kernel’s command line',
  },
  async run({ context, args, options }) {
    const kernel = resolve(context.io.cwd, args[0]!);
    const { image } = await context.ask('load', { kernel, ...imageParams(options, context.io.cwd) });
    context.report(
      image,
      fields([
        ['loaded', `${printable(image.kernel)}, Linux ${image.release ?? '(unknown)'}`],
        ['initrd', image.initrd === null ? '-' : printable(image.initrd)],
        ['command line', printable(image.cmdline)],
      ]),
    );
    return EXIT.done;
  },
});
