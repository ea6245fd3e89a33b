/** Commands about keys, whatever they hold: deletion, expiry, scans, the digest. */
import { type Command, type CommandContext, NOT_INTEGER, SYNTAX, text, view, word } from './command.js';
import { EXPIRY_MAX } from './commands-strings.js';
import { NO_EXPIRY } from './entries.js';
import { matches } from './glob.js';
import { Digest } from './hash.js';
import type { Arguments } from './resp-parser.js';
import { parseInteger } from './integer.js';

/** Keys that one call of SCAN or LUO.DIGEST visits at most, so that a call never takes long. */
const SCAN_COUNT_MAX = 100_000;

function lookup({ args, store }: CommandContext, index: number): number {
  return store.lookup(args.bytes, args.start(index), args.length(index));
}

function runDelete({ args, out, store }: CommandContext): void {
  let deleted = 0;
  for (let i = 1; i < args.count; i += 1) if (store.delete(args.bytes, args.start(i), args.length(i))) deleted += 1;
  out.integer(deleted);
}

function runExpire(context: CommandContext, name: string, unitMs: number, base: number): void {
  const { args, out, store } = context;
  const amount = parseInteger(args.bytes, args.start(2), args.length(2));
  if (amount === undefined) return out.error(NOT_INTEGER);
  const expiry = Number(amount) * unitMs + base;
  if (expiry > EXPIRY_MAX || expiry < -EXPIRY_MAX) return out.error(`ERR invalid expire time in '${name}' command`);
  const condition = args.count > 3 ? word(args, 3) : '';
  if (args.count > 4 || !['', 'NX', 'XX', 'GT', 'LT'].includes(condition)) {
    return out.error(`ERR Unsupported option ${text(args, args.count - 1)}`);
  }
  const address = lookup(context, 1);
  if (address === 0) return out.integer(0);
  const old = store.expiry(address);
  // As in Redis: a key without expiry counts as one that lives for ever.
  const refused =
    (condition === 'NX' && old !== NO_EXPIRY) ||
    (condition === 'XX' && old === NO_EXPIRY) ||
    (condition === 'GT' && (old === NO_EXPIRY || expiry <= old)) ||
    (condition === 'LT' && old !== NO_EXPIRY && expiry >= old);
  if (refused) return out.integer(0);
  if (expiry <= Date.now()) store.delete(args.bytes, args.start(1), args.length(1));
  else store.setExpiry(address, expiry);
  out.integer(1);
}

function replyTimeLeft(context: CommandContext, unitMs: number): void {
  const address = lookup(context, 1);
  const expiry = address === 0 ? NO_EXPIRY : context.store.expiry(address);
  if (address === 0) context.out.integer(-2);
  else if (expiry === NO_EXPIRY) context.out.integer(-1);
  else context.out.integer(Math.round(Math.max(0, expiry - Date.now()) / unitMs));
}

interface ScanOptions {
  cursor: number;
  match: Buffer | undefined;
  count: number;
}

/** A cursor with MATCH, COUNT and TYPE; or the error that it is. */
function scanOptions(args: Arguments, defaultCount: number): ScanOptions | string {
  const cursor = parseInteger(args.bytes, args.start(1), args.length(1));
  if (cursor === undefined || cursor < 0 || cursor > 0xffffffff) return 'ERR invalid cursor';
  const options: ScanOptions = { cursor: Number(cursor), match: undefined, count: defaultCount };
  for (let i = 2; i < args.count; i += 2) {
    if (i + 1 === args.count) return SYNTAX;
    const name = word(args, i);
    if (name === 'MATCH') {
      options.match = view(args, i + 1);
    } else if (name === 'COUNT') {
      const count = parseInteger(args.bytes, args.start(i + 1), args.length(i + 1));
      if (count === undefined) return NOT_INTEGER;
      if (count < 1) return SYNTAX;
      options.count = Math.min(Number(count), SCAN_COUNT_MAX);
    } else if (name !== 'TYPE' || word(args, i + 1) !== 'STRING') {
      return SYNTAX;
    }
  }
  return options;
}

/** Visit what the options ask for. @returns the next cursor */
function scan({ store }: CommandContext, options: ScanOptions, visit: (address: number) => void): number {
  const { entries } = store;
  return store.scan(options.cursor, options.count, (address) => {
    const isWanted =
      options.match === undefined ||
      matches(options.match, entries.region(address).bytes, entries.keyStart(address), entries.keyLength(address));
    if (isWanted) visit(address);
  });
}

function runScan(context: CommandContext): void {
  const { args, out, store } = context;
  const options = scanOptions(args, 10);
  if (typeof options === 'string') return out.error(options);
  const found: number[] = [];
  const next = scan(context, options, (address) => found.push(address));
  out.array(2);
  out.text(String(next));
  out.array(found.length);
  const { entries } = store;
  for (const address of found) {
    out.bulk(entries.region(address).bytes, entries.keyStart(address), entries.keyLength(address));
  }
}

/** `LUO.DIGEST` of everything, or `LUO.DIGEST cursor [MATCH p] [COUNT n]`: next cursor, keys, digest of this part. */
function runDigest(context: CommandContext): void {
  const { args, out, store } = context;
  const { entries } = store;
  const digest = new Digest();
  const isWhole = args.count === 1;
  const options = isWhole ? { cursor: 0, match: undefined, count: SCAN_COUNT_MAX } : scanOptions(args, 1000);
  if (typeof options === 'string') return out.error(options);
  do {
    options.cursor = scan(context, options, (address) => {
      const bytes = entries.region(address).bytes;
      const keyLength = entries.keyLength(address);
      const valueStart = entries.valueStart(address);
      digest.add(bytes, entries.keyStart(address), keyLength, bytes, valueStart, entries.valueLength(address));
    });
  } while (isWhole && options.cursor !== 0);
  out.array(3);
  out.text(String(options.cursor));
  out.integer(digest.count);
  out.text(digest.hex);
}

const KEY = [1, 1, 1] as const;
const KEYS = [1, -1, 1] as const;
const NO_KEYS = [0, 0, 0] as const;

/** A command of this file; what most of them share is left out. */
function command(
  name: string,
  arity: number,
  flags: readonly string[],
  keys: Command['keys'],
  summary: string,
  run: Command['run'],
): Command {
  return { name, arity, flags, keys, group: name === 'luo.digest' ? 'server' : 'generic', summary, run };
}

export const KEY_COMMANDS: readonly Command[] = [
  command('del', -2, ['write'], KEYS, 'Deletes keys.', runDelete),
  command('unlink', -2, ['write', 'fast'], KEYS, 'Deletes keys; the same as DEL here.', runDelete),
  command('exists', -2, ['readonly', 'fast'], KEYS, 'Counts how many of the keys are there.', (context) => {
    let count = 0;
    for (let i = 1; i < context.args.count; i += 1) if (lookup(context, i) !== 0) count += 1;
    context.out.integer(count);
  }),
  command('type', 2, ['readonly', 'fast'], KEY, 'Says what a key holds: string or none.', (context) =>
    context.out.simple(lookup(context, 1) === 0 ? 'none' : 'string'),
  ),
  command('expire', -3, ['write', 'fast'], KEY, 'Lets a key end after seconds.', (context) =>
    runExpire(context, 'expire', 1000, Date.now()),
  ),
  command('pexpire', -3, ['write', 'fast'], KEY, 'Lets a key end after milliseconds.', (context) =>
    runExpire(context, 'pexpire', 1, Date.now()),
  ),
  command('expireat', -3, ['write', 'fast'], KEY, 'Lets a key end at a time in seconds.', (context) =>
    runExpire(context, 'expireat', 1000, 0),
  ),
  command('pexpireat', -3, ['write', 'fast'], KEY, 'Lets a key end at a time in milliseconds.', (context) =>
    runExpire(context, 'pexpireat', 1, 0),
  ),
  command('ttl', 2, ['readonly', 'fast'], KEY, 'Seconds that a key has left.', (context) =>
    replyTimeLeft(context, 1000),
  ),
  command('pttl', 2, ['readonly', 'fast'], KEY, 'Milliseconds that a key has left.', (context) =>
    replyTimeLeft(context, 1),
  ),
  command('persist', 2, ['write', 'fast'], KEY, 'Takes the expiry of a key away.', (context) => {
    const address = lookup(context, 1);
    const hasExpiry = address !== 0 && context.store.expiry(address) !== NO_EXPIRY;
    if (hasExpiry) context.store.setExpiry(address, NO_EXPIRY);
    context.out.integer(hasExpiry ? 1 : 0);
  }),
  command('scan', -2, ['readonly'], NO_KEYS, 'Goes through the keys in steps.', runScan),
  command('luo.digest', -1, ['readonly'], NO_KEYS, 'Digest of keys and values, in steps or of all.', runDigest),
];
