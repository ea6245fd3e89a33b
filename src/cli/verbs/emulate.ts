/**
 * `luoctl emulate`: a program with a /dev/liveupdate of its own, on any machine; a simulated kexec of it; what a machine
 * lacks for it. Happy path: this process ends as the program did. Unhappy: 125 the emulator could not run or was lost, 126 the
 * program cannot be executed, 127 there is no such program, as env(1) and nohup(1) have it.
 */
import { InvalidArgumentError } from 'commander';
import { LuoError } from '../../base/errors.js';
import type { EmulatorCheck } from '../../ports/emulator.js';
import type { Context } from '../context.js';
import { EXIT, UsageError, type ExitCode } from '../exit-codes.js';
import { printable, table, type Paint } from '../format.js';
import { renderError } from '../render-error.js';
import { verb } from '../verb.js';

interface Options {
  init?: string;
  strict?: boolean;
  trace?: 'text' | 'json';
  fault?: string[];
  check?: boolean;
}

/** Exit codes of programs that run programs. */
const PROGRAM_EXIT = { emulator: 125, notExecutable: 126, notFound: 127 } as const;

export const emulate = verb<Options>({
  name: 'emulate',
  group: 'Kernels:',
  summary: 'run a program under an emulated /dev/liveupdate',
  operands: '[kexec] [pid]',
  command: 'optional',
  options: [
    {
      flags: '--init <command>',
      help: 'shell command to start after each simulated kexec (default: the same program)',
    },
    { flags: '--strict', help: 'the path looks like a device to stat, access and every kind of open too; slower' },
    {
      flags: '--trace [format]',
      help: 'print each emulated call on standard error: text (default) or json',
      parse: (text) => {
        if (text !== 'text' && text !== 'json') throw new InvalidArgumentError('text or json.');
        return text;
      },
    },
    {
      flags: '--fault <fault>',
      help: 'let a call fail, for example preserve:3:ENOMEM (again for more; see docs/emulator.md)',
      parse: (text, previous) => [...((previous as string[] | undefined) ?? []), text],
    },
    { flags: '--check', help: 'say whether this machine allows it, and what to do if not' },
  ],
  notes:
    'Works with unmodified programs, static or dynamic, in any language, without root where the machine allows it, and needs no luod. When the program ends, whatever it left running is ended too, and luoctl ends as the program did, by the same signal if it was one. A program that calls reboot(2) for a kexec, or luoctl emulate kexec [PID] from outside, ends all programs and starts the init command with the preserved sessions. It is no security boundary. Exit code 125: the emulator could not run; 126: the program cannot be executed; 127: there is no such program.',
  example: {
    line: 'luoctl emulate --trace -- ./my-agent --state /tmp/agent',
    says: 'runs my-agent with a /dev/liveupdate of its own and prints what it does with it',
  },
  async run({ context, args, command, options }) {
    if (options.check === true) return check(context);
    if (args.length > 0) return kexec(context, args, command);
    if (command === undefined) throw new UsageError('the program is missing: luoctl emulate ... -- PROGRAM ARGS...');
    return run(context, command, options);
  },
});

async function run(context: Context, argv: readonly string[], options: Options): Promise<number> {
  const { emulator } = context.ports;
  try {
    const end = await emulator.run({
      argv,
      init: options.init ?? null,
      strict: options.strict === true,
      // Commander gives `true` for an option whose value was left out.
      trace: (options.trace as unknown) === true ? 'text' : (options.trace ?? null),
      faults: options.fault ?? [],
      tell: (line) => context.tell(line),
    });
    return emulator.endLike(end);
  } catch (error) {
    if (!(error instanceof LuoError)) throw error;
    context.sayErrorJson(error.toWire(), exitCodeOf(error));
    context.tell(renderError(error, 'emulate', context.paintError));
    return exitCodeOf(error);
  }
}

function exitCodeOf({ code, errno }: LuoError): number {
  if (code !== 'EMULATOR_PROGRAM') return PROGRAM_EXIT.emulator;
  return errno === 'ENOENT' ? PROGRAM_EXIT.notFound : PROGRAM_EXIT.notExecutable;
}

async function kexec(
  context: Context,
  args: readonly string[],
  command: readonly string[] | undefined,
): Promise<ExitCode> {
  const [word, text] = args;
  if (word !== 'kexec') throw new UsageError(`'${word}' is nothing to emulate: luoctl emulate kexec [PID]`);
  if (command !== undefined) throw new UsageError('luoctl emulate kexec takes no program after --');
  if (text !== undefined && !/^[1-9]\d*$/.test(text)) throw new UsageError(`'${text}' is no pid`);
  const pid = await context.ports.emulator.kexec(text === undefined ? undefined : Number(text));
  context.report({ pid }, `the emulator ${pid} has started its next kernel\n`);
  return EXIT.done;
}

async function check(context: Context): Promise<ExitCode> {
  const checks = await context.ports.emulator.check();
  context.report({ checks }, textOf(checks, context.paint));
  return checks.some(({ result }) => result === 'fail') ? EXIT.failed : EXIT.done;
}

function textOf(checks: readonly EmulatorCheck[], paint: Paint): string {
  const word = { pass: paint.good('pass'), warn: paint.warn('warn'), fail: paint.bad('fail') };
  const remedies = checks
    .filter(({ result, remedy }) => result !== 'pass' && remedy !== null)
    .map(({ check: name, remedy }) => `${name}: ${printable(remedy!)}\n`);
  return (
    table(
      ['RESULT', 'CHECK', 'FOUND'],
      checks.map(({ result, check: name, reason }) => [word[result], name, printable(reason)]),
    ) + (remedies.length === 0 ? '' : `\nto do\n${remedies.join('')}`)
  );
}
