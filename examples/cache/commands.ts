/**
 * The table of all commands, how one is found by its name, and what every command shares: the check of its number of
 * arguments, and COMMAND, which describes the table itself.
 */
import { type Command, type CommandContext, text, word } from './command.js';
import { KEY_COMMANDS } from './commands-keys.js';
import { SERVER_COMMANDS } from './commands-server.js';
import { STRING_COMMANDS } from './commands-strings.js';
import type { Arguments } from './resp-parser.js';

const COMMAND_COMMAND: Command = {
  name: 'command',
  arity: -1,
  flags: [],
  keys: [0, 0, 0],
  group: 'server',
  summary: 'Describes the commands: bare, COUNT, LIST, INFO, DOCS.',
  run: runCommand,
};

export const COMMANDS: ReadonlyMap<string, Command> = new Map(
  [...STRING_COMMANDS, ...KEY_COMMANDS, ...SERVER_COMMANDS, COMMAND_COMMAND].map((command) => [command.name, command]),
);

/** Letters as numbers, so that finding a command makes no string. Exact for up to ten bytes. */
function packName(bytes: Uint8Array, start: number, length: number): number {
  let packed = length;
  for (let i = start; i < start + length; i += 1) packed = packed * 32 + (bytes[i]! & 31);
  return packed;
}
const PACKED_BYTES_MAX = 9;
const PACKED = new Map<number, Command>();
for (const command of COMMANDS.values()) {
  if (command.name.length <= PACKED_BYTES_MAX) {
    PACKED.set(packName(Buffer.from(command.name), 0, command.name.length), command);
  }
}

/** The command that the first argument names, in any case. */
export function findCommand(args: Arguments): Command | undefined {
  const start = args.start(0);
  const length = args.length(0);
  if (length > PACKED_BYTES_MAX) return length > 64 ? undefined : COMMANDS.get(text(args, 0).toLowerCase());
  const command = PACKED.get(packName(args.bytes, start, length));
  if (command === undefined) return undefined;
  for (let i = 0; i < length; i += 1) {
    const byte = args.bytes[start + i]!;
    if ((byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte) !== command.name.charCodeAt(i)) return undefined;
  }
  return command;
}

/** Run one command: there is exactly one reply to it, whatever it is. */
export function runOne(context: CommandContext): void {
  const { args, out, session } = context;
  const command = findCommand(args);
  if (command === undefined) {
    out.error(`ERR unknown command '${text(args, 0).slice(0, 128)}'`);
    return;
  }
  session.lastCommand = command.name;
  const { arity } = command;
  if (arity > 0 ? args.count !== arity : args.count < -arity) {
    out.error(`ERR wrong number of arguments for '${command.name}' command`);
    return;
  }
  command.run(context);
}

function runCommand({ args, out }: CommandContext): void {
  const all = [...COMMANDS.values()];
  const subcommand = args.count > 1 ? word(args, 1) : 'INFO';
  const names = Array.from({ length: Math.max(0, args.count - 2) }, (_, i) => text(args, i + 2).toLowerCase());
  if (subcommand === 'COUNT' && args.count === 2) {
    out.integer(all.length);
  } else if (subcommand === 'LIST' && args.count === 2) {
    out.array(all.length);
    for (const command of all) out.text(command.name);
  } else if (subcommand === 'INFO') {
    const wanted = names.length === 0 ? all : names.map((name) => COMMANDS.get(name));
    out.array(wanted.length);
    for (const command of wanted) {
      if (command) describe(command, out);
      else out.nil();
    }
  } else if (subcommand === 'DOCS') {
    const wanted = all.filter((command) => names.length === 0 || names.includes(command.name));
    out.map(wanted.length);
    for (const command of wanted) {
      out.text(command.name);
      out.map(2);
      out.text('summary');
      out.text(command.summary);
      out.text('group');
      out.text(command.group);
    }
  } else {
    out.error(`ERR unknown subcommand '${text(args, 1)}'. Try COMMAND HELP.`);
  }
}

function describe(command: Command, out: CommandContext['out']): void {
  out.array(6);
  out.text(command.name);
  out.integer(command.arity);
  out.array(command.flags.length);
  for (const flag of command.flags) out.simple(flag);
  for (const number of command.keys) out.integer(number);
}
