/** Commands about values: GET, SET and their kin. */
import { type Command, type CommandContext, NOT_INTEGER, OOM, SYNTAX, word } from './command.js';
import { NO_EXPIRY } from './entries.js';
import type { Arguments } from './resp-parser.js';
import { parseInteger } from './integer.js';
import { KEY_BYTES_MAX, type Pair } from './store.js';

/** Latest time that an expiry can name: 48 bits of ms. */
export const EXPIRY_MAX = 2 ** 48 - 1;

function pair(args: Arguments, key: number, value: number): Pair {
  return {
    key: args.bytes,
    keyStart: args.start(key),
    keyLength: args.length(key),
    value: args.bytes,
    valueStart: args.start(value),
    valueLength: args.length(value),
  };
}

/** Reply with the value of an entry, or nil for none. */
function replyValue({ store, out }: CommandContext, address: number): void {
  if (address === 0) out.nil();
  else
    out.bulk(
      store.entries.region(address).bytes,
      store.entries.valueStart(address),
      store.entries.valueLength(address),
    );
}

function lookup({ args, store }: CommandContext, index: number): number {
  return store.lookup(args.bytes, args.start(index), args.length(index));
}

interface SetOptions {
  expiry: number | 'keep';
  condition: 'nx' | 'xx' | undefined;
  get: boolean;
}

const EXPIRY_UNITS: Readonly<Record<string, { readonly unitMs: number; readonly absolute: boolean }>> = {
  EX: { unitMs: 1000, absolute: false },
  PX: { unitMs: 1, absolute: false },
  EXAT: { unitMs: 1000, absolute: true },
  PXAT: { unitMs: 1, absolute: true },
};

/** The options of SET, or the error that they are. */
function setOptions(args: Arguments): SetOptions | string {
  const options: SetOptions = { expiry: NO_EXPIRY, condition: undefined, get: false };
  let hasExpiry = false;
  for (let i = 3; i < args.count; i += 1) {
    const name = word(args, i);
    const unit = EXPIRY_UNITS[name];
    if ((name === 'NX' || name === 'XX') && options.condition === undefined) {
      options.condition = name === 'NX' ? 'nx' : 'xx';
    } else if (name === 'GET') {
      options.get = true;
    } else if (name === 'KEEPTTL' && !hasExpiry) {
      options.expiry = 'keep';
      hasExpiry = true;
    } else if (unit && !hasExpiry && i + 1 < args.count) {
      i += 1;
      const amount = parseInteger(args.bytes, args.start(i), args.length(i));
      if (amount === undefined) return NOT_INTEGER;
      const expiry = Number(amount) * unit.unitMs + (unit.absolute ? 0 : Date.now());
      if (amount <= 0 || expiry > EXPIRY_MAX) return "ERR invalid expire time in 'set' command";
      options.expiry = expiry;
      hasExpiry = true;
    } else {
      return SYNTAX;
    }
  }
  return options;
}

function runSet(context: CommandContext): void {
  const { args, out, store } = context;
  if (args.length(1) > KEY_BYTES_MAX) return out.error('ERR the key is longer than 65535 bytes');
  if (args.count === 3) {
    if (store.set(pair(args, 1, 2), NO_EXPIRY)) out.ok();
    else out.error(OOM);
    return;
  }
  const options = setOptions(args);
  if (typeof options === 'string') return out.error(options);
  const old = lookup(context, 1);
  if (options.condition !== undefined && (old === 0) !== (options.condition === 'nx')) {
    if (options.get) replyValue(context, old);
    else out.nil();
    return;
  }
  const kept = old === 0 ? NO_EXPIRY : store.expiry(old);
  // The reply may not be written before it is clear that the set succeeds, and the old value is gone after it.
  const bytes = old !== 0 && options.get ? store.entries.region(old).bytes : undefined;
  const start = bytes ? store.entries.valueStart(old) : 0;
  const before = bytes ? Buffer.from(bytes.subarray(start, start + store.entries.valueLength(old))) : undefined;
  if (!store.set(pair(args, 1, 2), options.expiry === 'keep' ? kept : options.expiry)) return out.error(OOM);
  if (!options.get) out.ok();
  else if (before) out.bulk(before, 0, before.length);
  else out.nil();
}

function runMget(context: CommandContext): void {
  context.out.array(context.args.count - 1);
  for (let i = 1; i < context.args.count; i += 1) replyValue(context, lookup(context, i));
}

function runMset({ args, out, store }: CommandContext): void {
  if (args.count % 2 === 0) return out.error("ERR wrong number of arguments for 'mset' command");
  const pairs: Pair[] = [];
  for (let i = 1; i < args.count; i += 2) {
    if (args.length(i) > KEY_BYTES_MAX) return out.error('ERR the key is longer than 65535 bytes');
    pairs.push(pair(args, i, i + 1));
  }
  if (store.setMany(pairs)) out.ok();
  else out.error(OOM);
}

function increment({ args, out, store }: CommandContext, by: number | bigint): void {
  if (args.length(1) > KEY_BYTES_MAX) return out.error('ERR the key is longer than 65535 bytes');
  const result = store.increment(args.bytes, args.start(1), args.length(1), by);
  if (result === 'full') out.error(OOM);
  else if (result === 'not-integer') out.error(NOT_INTEGER);
  else if (result === 'overflow') out.error('ERR increment or decrement would overflow');
  else out.integer(result);
}

function incrementByArgument(context: CommandContext, sign: 1 | -1): void {
  const { args, out } = context;
  const by = parseInteger(args.bytes, args.start(2), args.length(2));
  if (by === undefined) return out.error(NOT_INTEGER);
  if (sign === 1) return increment(context, by);
  if (by === -(2n ** 63n)) return out.error('ERR decrement would overflow');
  increment(context, -by);
}

const WRITE = ['write', 'denyoom'] as const;
const READ = ['readonly'] as const;

export const STRING_COMMANDS: readonly Command[] = [
  {
    name: 'get',
    arity: 2,
    flags: [...READ, 'fast'],
    keys: [1, 1, 1],
    group: 'string',
    summary: 'Returns the value of a key.',
    run: (context) => replyValue(context, lookup(context, 1)),
  },
  {
    name: 'set',
    arity: -3,
    flags: WRITE,
    keys: [1, 1, 1],
    group: 'string',
    summary: 'Sets the value of a key, with EX, PX, EXAT, PXAT, KEEPTTL, NX, XX and GET.',
    run: runSet,
  },
  {
    name: 'mget',
    arity: -2,
    flags: [...READ, 'fast'],
    keys: [1, -1, 1],
    group: 'string',
    summary: 'Returns the values of several keys.',
    run: runMget,
  },
  {
    name: 'mset',
    arity: -3,
    flags: WRITE,
    keys: [1, -1, 2],
    group: 'string',
    summary: 'Sets several keys, all or none.',
    run: runMset,
  },
  {
    name: 'incr',
    arity: 2,
    flags: [...WRITE, 'fast'],
    keys: [1, 1, 1],
    group: 'string',
    summary: 'Adds one to the integer of a key.',
    run: (context) => increment(context, 1),
  },
  {
    name: 'decr',
    arity: 2,
    flags: [...WRITE, 'fast'],
    keys: [1, 1, 1],
    group: 'string',
    summary: 'Subtracts one from the integer of a key.',
    run: (context) => increment(context, -1),
  },
  {
    name: 'incrby',
    arity: 3,
    flags: [...WRITE, 'fast'],
    keys: [1, 1, 1],
    group: 'string',
    summary: 'Adds to the integer of a key.',
    run: (context) => incrementByArgument(context, 1),
  },
  {
    name: 'decrby',
    arity: 3,
    flags: [...WRITE, 'fast'],
    keys: [1, 1, 1],
    group: 'string',
    summary: 'Subtracts from the integer of a key.',
    run: (context) => incrementByArgument(context, -1),
  },
];
