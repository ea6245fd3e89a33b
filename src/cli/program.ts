/**
 * luoctl as a function: reads the command line by the list of verbs, runs one, renders what it throws. Never touches
 * the process itself; src/bin/luoctl.ts does that.
 */
import { Command, CommanderError, Option } from 'commander';
import { LuoError } from '../base/errors.js';
import { Context, type CliIo, type CliPorts, type GlobalOptions } from './context.js';
import { EXIT, UsageError } from './exit-codes.js';
import { exitCodeOf, renderError } from './render-error.js';
import { VERBS } from './verbs/index.js';
import type { OptionSpec, Verb } from './verb.js';

/** Verbs whose failure can mean: an update was begun and rolled back. */
const TRANSITIONS: ReadonlySet<string> = new Set(['update', 'rollback', 'prepare', 'kexec']);

const GLOBAL_OPTIONS: readonly OptionSpec[] = [
  { flags: '--dir <dir>', help: 'directory of luod’s sockets (default: LUO_DIR, or by user)' },
  { flags: '--json', help: 'print one JSON object per line, for programs' },
  { flags: '-v, --verbose', help: 'say more: details, and each step of long work' },
];

/**
 * Run one command line.
 * @param argv what follows the program's name
 * @returns the exit code; everything else went through `io`
 */
export async function runLuoctl(argv: readonly string[], io: CliIo, ports: CliPorts): Promise<number> {
  const { words, command } = splitCommand(argv);
  let code: number = EXIT.done;
  const program = buildProgram(io, ports, command, (value) => (code = value));
  try {
    await program.parseAsync(words, { from: 'user' });
    return code;
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // Help and version end commander's way, with 0; whatever else it throws is a mistake in the command line.
    return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  }
}

/** What stands before the first `--`, and what follows it. */
export function splitCommand(argv: readonly string[]): { words: string[]; command: string[] | undefined } {
  const at = argv.indexOf('--');
  return at < 0 ? { words: [...argv], command: undefined } : { words: argv.slice(0, at), command: argv.slice(at + 1) };
}

function buildProgram(
  io: CliIo,
  ports: CliPorts,
  command: string[] | undefined,
  ended: (code: number) => void,
): Command {
  const program = new Command('luoctl')
    .description('Replace running services without losing their memory, files and connections.')
    .version(ports.version, '--version', 'print the version')
    .usage('[options] VERB ...')
    .helpOption('-h, --help', 'print this help')
    .helpCommand('help [verb]', 'explain a verb, with an example')
    .addHelpText('after', '\nExit codes: 0 done, 1 failed, 2 usage, 3 rolled back, 4 no luod, 5 stuck members')
    .enablePositionalOptions()
    .exitOverride()
    .configureOutput({
      writeOut: (text) => io.stdout.write(text),
      writeErr: (text) => io.stderr.write(text),
      outputError: (text, write) => write(text.replace(/^error: /, 'luoctl: ')),
    });
  for (const option of GLOBAL_OPTIONS) program.addOption(makeOption(option));
  for (const verb of VERBS) addVerb(program, verb, io, ports, command, ended);
  return program;
}

function addVerb(
  program: Command,
  verb: Verb,
  io: CliIo,
  ports: CliPorts,
  command: string[] | undefined,
  ended: (code: number) => void,
): void {
  const usage = { optional: ' [-- COMMAND...]', required: ' -- COMMAND...', none: '' }[verb.command ?? 'none'];
  const operands = verb.operands ?? '';
  const sub = program
    .command(`${verb.name}${operands === '' ? '' : ` ${operands}`}`)
    .helpGroup(verb.group)
    .summary(verb.summary)
    .description(verb.notes === undefined ? `${verb.summary}.` : `${verb.summary}.\n\n${verb.notes}`)
    .usage(`[options]${operands === '' ? '' : ` ${operands}`}${usage}`)
    .helpOption('-h, --help', 'print this help')
    .addHelpText('after', `\nExample:\n  ${verb.example.line}\n    ${verb.example.says}`)
    .action(async () => {
      const context = new Context(io, ports, { ...program.opts(), ...sub.opts() } as GlobalOptions);
      ended(await runVerb(verb, context, sub, command));
    });
  for (const option of [...(verb.options ?? []), ...GLOBAL_OPTIONS]) sub.addOption(makeOption(option));
}

function makeOption({ flags, help, parse, choices, required }: OptionSpec): Option {
  const option = new Option(flags, help);
  if (parse) option.argParser(parse);
  if (choices) option.choices([...choices]);
  if (required) option.makeOptionMandatory();
  return option;
}

async function runVerb(verb: Verb, context: Context, sub: Command, command: string[] | undefined): Promise<number> {
  // The words of an error: what was asked for, as far as it names something.
  const what = [verb.name, ...sub.args].join(' ');
  try {
    if (command !== undefined && verb.command === undefined)
      throw new UsageError(`luoctl ${verb.name} takes no command after --`);
    if (command?.length === 0) throw new UsageError('there is no command after --');
    if (command === undefined && verb.command === 'required') {
      throw new UsageError(`the command is missing: luoctl ${verb.name} ... -- COMMAND...`);
    }
    const own = Object.fromEntries(
      Object.entries(sub.opts()).filter(([name]) => !['dir', 'json', 'verbose'].includes(name)),
    );
    return await verb.run({ context, args: sub.args, command, options: own });
  } catch (error) {
    if (error instanceof UsageError) {
      context.sayJson({ error: { code: 'USAGE', message: error.message }, exitCode: EXIT.usage });
      context.tell(
        `${context.paintError.bad(`luoctl ${what}:`)} ${error.message}\n  ${context.paintError.dim('to do:')} luoctl help ${verb.name}`,
      );
      return EXIT.usage;
    }
    const failure = LuoError.from(error);
    const code = exitCodeOf(failure, TRANSITIONS.has(verb.name));
    context.sayErrorJson(failure.toWire(), code);
    context.tell(renderError(failure, what, context.paintError));
    return code;
  }
}
