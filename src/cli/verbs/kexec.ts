/** `luoctl kexec`: replace the kernel under everything. */
import { LuoError } from '../../base/errors.js';
import type { PreflightReport } from '../../protocol/spec.js';
import { LIMIT_OPTIONS, limitsParam, milliseconds, type LimitOptions } from '../arguments.js';
import { EXIT, type ExitCode } from '../exit-codes.js';
import { interruptible, LEFT } from '../interruptible.js';
import { checkTable } from '../preflight-table.js';
import { ProgressView } from '../progress.js';
import { isConnectionLoss } from '../reconnect.js';
import { renderError } from '../render-error.js';
import { verb } from '../verb.js';

interface Options extends LimitOptions {
  force?: string[];
  direct?: boolean;
}

export const kexec = verb<Options>({
  name: 'kexec',
  group: 'Kernels:',
  summary: 'replace the running kernel by the loaded one, without losing what is preserved',
  options: [
    {
      flags: '--force <check>',
      help: 'go although this check of the preflight fails (again for more)',
      parse: (text, previous) => [...((previous as string[] | undefined) ?? []), text],
    },
    { flags: '--direct', help: 'also where systemd runs the machine: its services are not stopped' },
    ...LIMIT_OPTIONS,
    { flags: '--claim-max <ms>', help: 'longest time for claims in the next kernel', parse: milliseconds },
  ],
  notes:
    'Preflight, prepare, freeze, jump. Until the jump everything can be undone, by Ctrl-C too. If it succeeds there is no answer: this kernel is gone, with luoctl. Exit code 3: it came back, and everything serves again.',
  example: { line: 'luoctl kexec', says: 'starts the kernel that luoctl load has loaded' },
  async run({ context, options }) {
    const progress = new ProgressView(context, 'kexec');
    return context.withLuod(async (luod) => {
      let isLeaving = false;
      try {
        const params = {
          ...(options.force === undefined ? {} : { force: options.force }),
          ...(options.direct ? { direct: true } : {}),
          ...limitsParam(options),
        };
        const work = luod.request('kexec', params, {
          onProgress: (data) => {
            progress.show(data);
            if (data.what === 'jump') isLeaving = true;
          },
        });
        const reply = await interruptible(context, luod, work);
        progress.clear();
        if (reply === LEFT) return EXIT.failed;
        const { result } = reply;
        context.sayJson(result);
        const error = result.error ?? { code: 'KEXEC_RETURNED', message: 'the kernel was not replaced' };
        context.tell(renderError(LuoError.fromWire(error), 'kexec', context.paintError));
        context.tell('  everything serves again in the old kernel');
        return EXIT.rolledBack;
      } catch (error) {
        progress.clear();
        if (isLeaving && isConnectionLoss(error)) {
          context.tell('luoctl: this kernel is being replaced; afterwards: luoctl status, luoctl timeline');
          return EXIT.done;
        }
        return refused(error, (checks) => context.tell(checkTable(checks, context.paintError)));
      }
    });
  },
});

/** What stood in the way, as a table before the error itself. */
function refused(error: unknown, tell: (checks: PreflightReport['checks']) => void): ExitCode {
  if (error instanceof LuoError && error.code === 'PREFLIGHT_FAILED' && Array.isArray(error.data?.['checks'])) {
    tell(error.data['checks'] as PreflightReport['checks']);
  }
  throw error;
}
