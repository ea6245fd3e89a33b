/** Commands about the connection and about the server. */
import { type Command, type CommandContext, type Session, SYNTAX, text, view, word } from './command.js';
import { matches } from './glob.js';
import { infoText, serverVersion } from './info.js';
import { parseInteger } from './integer.js';
import { PARSER_LIMITS } from './resp-parser.js';

const PONG = Buffer.from('+PONG\r\n');

function unknownSubcommand({ args, out }: CommandContext, command: string): void {
  out.error(`ERR unknown subcommand '${text(args, 1)}'. Try ${command} HELP.`);
}

/** A name of a client or a library: printable, without blanks. */
function isName(name: string): boolean {
  return /^[\x21-\x7e]*$/.test(name);
}

function runHello({ args, out, session }: CommandContext): void {
  let protocol: number | bigint = session.protocol;
  let name = session.name;
  if (args.count > 1) {
    const wanted = parseInteger(args.bytes, args.start(1), args.length(1));
    if (wanted === undefined) return out.error('ERR Protocol version is not an integer or out of range');
    if (wanted !== 2 && wanted !== 3) return out.error('NOPROTO unsupported protocol version');
    protocol = wanted;
  }
  for (let i = 2; i < args.count; i += 1) {
    const option = word(args, i);
    if (option === 'SETNAME' && i + 1 < args.count) {
      i += 1;
      name = text(args, i);
      if (!isName(name)) return out.error('ERR Client names cannot contain spaces, newlines or special characters.');
    } else if (option === 'AUTH' && i + 2 < args.count) {
      return out.error('WRONGPASS no password is set; connect without AUTH');
    } else {
      return out.error(`ERR Syntax error in HELLO option '${text(args, i)}'`);
    }
  }
  session.protocol = protocol === 3 ? 3 : 2;
  session.name = name;
  out.protocol = session.protocol;
  out.map(7);
  out.text('server');
  out.text('luo-cache');
  out.text('version');
  out.text(serverVersion);
  out.text('proto');
  out.integer(session.protocol);
  out.text('id');
  out.integer(session.id);
  out.text('mode');
  out.text('standalone');
  out.text('role');
  out.text('master');
  out.text('modules');
  out.array(0);
}

/** One line of CLIENT LIST. */
function sessionLine(session: Session): string {
  const ageS = Math.floor((Date.now() - session.connectedAtMs) / 1000);
  return (
    `id=${session.id} addr=${session.address} laddr=${session.localAddress} name=${session.name} age=${ageS} ` +
    `db=0 cmd=${session.lastCommand || 'NULL'} resp=${session.protocol} ` +
    `lib-name=${session.libraryName} lib-ver=${session.libraryVersion}`
  );
}

function runClient(context: CommandContext): void {
  const { args, out, session, server } = context;
  const subcommand = word(args, 1);
  if (subcommand === 'ID' && args.count === 2) return out.integer(session.id);
  if (subcommand === 'GETNAME' && args.count === 2) return session.name === '' ? out.nil() : out.text(session.name);
  if (subcommand === 'INFO' && args.count === 2) return out.text(`${sessionLine(session)}\n`);
  if (subcommand === 'LIST') return out.text([...server.sessions()].map((s) => `${sessionLine(s)}\n`).join(''));
  if ((subcommand === 'NO-EVICT' || subcommand === 'NO-TOUCH') && args.count === 3) return out.ok();
  if (subcommand === 'SETNAME' && args.count === 3) {
    if (!isName(text(args, 2))) {
      return out.error('ERR Client names cannot contain spaces, newlines or special characters.');
    }
    session.name = text(args, 2);
    return out.ok();
  }
  if (subcommand === 'SETINFO' && args.count === 4) {
    const attribute = word(args, 2);
    const value = text(args, 3);
    if (!isName(value)) return out.error(`ERR ${text(args, 2)} cannot contain spaces, newlines or special characters.`);
    if (attribute === 'LIB-NAME') session.libraryName = value;
    else if (attribute === 'LIB-VER') session.libraryVersion = value;
    else return out.error(`ERR Unrecognized option '${text(args, 2)}'`);
    return out.ok();
  }
  unknownSubcommand(context, 'CLIENT');
}

function runConfig(context: CommandContext): void {
  const { args, out, server } = context;
  if (word(args, 1) !== 'GET' || args.count < 3) return unknownSubcommand(context, 'CONFIG');
  const settings: Readonly<Record<string, string>> = {
    appendonly: 'no',
    databases: '1',
    maxmemory: String(server.maxMemoryBytes),
    'maxmemory-policy': 'noeviction',
    'proto-max-bulk-len': String(PARSER_LIMITS.argumentBytesMax),
    save: '',
  };
  const found = new Set<string>();
  for (let i = 2; i < args.count; i += 1) {
    const pattern = Buffer.from(text(args, i).toLowerCase(), 'latin1');
    for (const name of Object.keys(settings)) if (matches(pattern, Buffer.from(name))) found.add(name);
  }
  out.map(found.size);
  for (const name of found) {
    out.text(name);
    out.text(settings[name]!);
  }
}

function runPing({ args, out }: CommandContext): void {
  if (args.count === 1) out.raw(PONG);
  else if (args.count === 2) out.bulk(args.bytes, args.start(1), args.length(1));
  else out.error("ERR wrong number of arguments for 'ping' command");
}

function runFlush({ args, out, store }: CommandContext): void {
  if (args.count > 2 || (args.count === 2 && !['ASYNC', 'SYNC'].includes(word(args, 1)))) return out.error(SYNTAX);
  store.clear();
  out.ok();
}

function runVersion({ out, server }: CommandContext): void {
  out.map(3);
  out.text('version');
  out.text(server.versionLabel);
  out.text('pid');
  out.integer(process.pid);
  out.text('generation');
  out.integer(server.generation);
}

function command(
  group: Command['group'],
  name: string,
  arity: number,
  flags: readonly string[],
  summary: string,
  run: Command['run'],
): Command {
  return { name, arity, flags, keys: [0, 0, 0], group, summary, run };
}

export const SERVER_COMMANDS: readonly Command[] = [
  command('connection', 'ping', -1, ['fast'], 'Answers PONG, or its argument.', runPing),
  command('connection', 'echo', 2, ['fast'], 'Answers its argument.', ({ args, out }) => {
    const message = view(args, 1);
    out.bulk(message, 0, message.length);
  }),
  command('connection', 'hello', -1, ['fast'], 'Says hello in RESP 2 or 3.', runHello),
  command('connection', 'client', -2, ['admin'], 'ID, INFO, LIST, GETNAME, SETNAME, SETINFO.', runClient),
  command('connection', 'select', 2, ['fast'], 'Chooses the database; there is only 0.', ({ args, out }) => {
    const index = parseInteger(args.bytes, args.start(1), args.length(1));
    if (index === undefined) out.error('ERR invalid DB index');
    else if (index === 0) out.ok();
    else out.error('ERR DB index is out of range');
  }),
  command('connection', 'reset', 1, ['fast'], 'Forgets what this connection was told.', ({ out, session }) => {
    session.protocol = 2;
    session.name = '';
    out.protocol = 2;
    out.simple('RESET');
  }),
  command('connection', 'quit', -1, ['fast'], 'Ends the connection.', ({ out, session }) => {
    session.closing = true;
    out.ok();
  }),
  command('server', 'dbsize', 1, ['readonly', 'fast'], 'Counts the keys.', ({ out, store }) =>
    out.integer(store.count),
  ),
  command('server', 'info', -1, [], 'Says how the server is.', ({ args, out, server }) => {
    const sections = Array.from({ length: args.count - 1 }, (_, i) => text(args, i + 1).toLowerCase());
    out.text(infoText(server, sections));
  }),
  command('server', 'config', -2, ['admin'], 'CONFIG GET: settings, which cannot be changed.', runConfig),
  command('server', 'flushall', -1, ['write'], 'Deletes everything.', runFlush),
  command('server', 'flushdb', -1, ['write'], 'Deletes everything.', runFlush),
  command('server', 'luo.version', 1, ['fast'], 'Version, pid and generation of the program.', runVersion),
];
