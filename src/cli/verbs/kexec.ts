/**
 * `luoctl kexec`: replace the kernel under everything.
 *
 * Happy path: there is no answer. This process ends with its kernel, so what to look at afterwards is said before, when the
 * decision is asked for: reboot(2) comes so soon after it that nothing later is sure to reach us. Unhappy: a refusal, with
 * the checks that failed; a kernel that came back, or an update that was undone (exit code 3); a luod that was killed
 * meanwhile. Since we are still here then, so is this kernel: the next luod says what became of it.
 */
import { LuoError } from '../../base/errors.js';
import type { PreflightReport, UpdateResult } from '../../protocol/spec.js';
import { LIMIT_OPTIONS, limitsParam, milliseconds, type LimitOptions } from '../arguments.js';
import type { Context, ProgressData } from '../context.js';
import { EXIT, type ExitCode } from '../exit-codes.js';
import { printable } from '../format.js';
import { longestMs, newestEnded } from '../handover.js';
import { interruptible, LEFT } from '../interruptible.js';
import { checkTable } from '../preflight-table.js';
import { ProgressView } from '../progress.js';
import { followUpdate, isConnectionLoss, KEXEC } from '../reconnect.js';
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
    'Preflight, prepare, freeze, jump. Until the decision everything can be undone, by Ctrl-C too. If it succeeds there is no answer: this kernel is gone, and luoctl with it; afterwards look at luoctl status and luoctl timeline. Exit code 1: it was refused, and nothing was touched; 3: it was undone or came back, and everything serves again.',
  example: {
    line: 'luoctl kexec',
    says: 'starts the kernel that luoctl load has loaded, with everything that is preserved',
  },
  async run({ context, options }) {
    const progress = new ProgressView(context, 'kexec');
    const params = {
      ...(options.force === undefined ? {} : { force: options.force }),
      ...(options.direct ? { direct: true } : {}),
      ...limitsParam(options),
    };
    const luod = await context.connect();
    const left = new AbortController();
    let isDecided = false;
    const onProgress = (data: ProgressData): void => {
      progress.show(data);
      if (isDecided || !isPointOfNoReturn(data)) return;
      isDecided = true;
      progress.clear();
      context.tell(
        'luoctl: all have stopped, this kernel is being replaced; afterwards: luoctl status, luoctl timeline',
      );
    };
    try {
      const before = await newestEnded(luod);
      const work = luod.request('kexec', params, { onProgress }).then(
        ({ result }) => result,
        (error: unknown) => {
          if (left.signal.aborted || !isConnectionLoss(error)) throw error;
          progress.clear();
          context.tell(
            'luoctl: luod is gone and this kernel is not; waiting for the next luod to say what became of it',
          );
          return followUpdate(context, KEXEC, before, { deadlineMs: longestMs(params.limits), signal: left.signal });
        },
      );
      const result = await interruptible(context, luod, work);
      progress.clear();
      return result === LEFT ? EXIT.failed : await tellUndone(context, result);
    } catch (error) {
      progress.clear();
      tellChecks(context, error);
      throw error;
    } finally {
      left.abort();
      luod.close();
    }
  },
});

function isPointOfNoReturn({ what, detail }: ProgressData): boolean {
  return what === 'jump' || (what === 'decide.sent' && (detail as { want?: string } | undefined)?.want === 'committed');
}

/** There is a result, so there was no jump. */
async function tellUndone(context: Context, result: UpdateResult): Promise<ExitCode> {
  const status = await context.ask('status', {});
  context.sayJson({ ...result, stuck: status.stuck });
  const error = result.error ?? {
    code: 'KEXEC_RETURNED',
    message: 'the kernel was not replaced, and luod gives no reason',
  };
  context.tell(renderError(LuoError.fromWire(error), 'kexec', context.paintError));
  if (status.stuck.length > 0) {
    context.tell(
      `  stuck: ${status.stuck.map(printable).join(', ')}; all others serve as before (luoctl help recover)`,
    );
    return EXIT.stuck;
  }
  context.tell(`  undone in attempt ${result.attempt}: everything serves again under Linux ${status.kexec.release}`);
  return EXIT.rolledBack;
}

/** What stood in the way, before the error itself. */
function tellChecks(context: Context, error: unknown): void {
  if (!(error instanceof LuoError) || error.code !== 'PREFLIGHT_FAILED' || !Array.isArray(error.data?.['checks']))
    return;
  const checks = error.data['checks'] as PreflightReport['checks'];
  context.io.stderr.write(checkTable(checks, context.paintError, context));
}
