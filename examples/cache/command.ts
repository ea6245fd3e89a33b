/**
 * What a command is, and what it works with. The commands themselves are in commands-*.ts, by what they are about; the
 * table of all is in commands.ts.
 */
import type { Arguments } from './resp-parser.js';
import type { ReplyWriter } from './resp-writer.js';
import type { Store } from './store.js';

/** What the server keeps of one connection, as commands see it. */
export interface Session {
  readonly id: number;
  protocol: 2 | 3;
  name: string;
  libraryName: string;
  libraryVersion: string;
  /** Peer and own address, `host:port`. */
  readonly address: string;
  readonly localAddress: string;
  readonly connectedAtMs: number;
  lastCommand: string;
  /** Set by QUIT: end when the replies are sent. */
  closing: boolean;
}

/** What commands may know of the program and its server. */
export interface ServerView {
  readonly store: Store;
  readonly startedAtMs: number;
  /** The label of this version of the program. */
  readonly versionLabel: string;
  /** How often the state was handed on. */
  readonly generation: number;
  readonly commandCount: number;
  readonly acceptedCount: number;
  readonly maxMemoryBytes: number;
  sessions(): Iterable<Session>;
}

export interface CommandContext {
  readonly args: Arguments;
  readonly out: ReplyWriter;
  readonly store: Store;
  readonly session: Session;
  readonly server: ServerView;
}

export interface Command {
  /** Lower case. */
  readonly name: string;
  /** Arguments, the name included; negative: at least so many. */
  readonly arity: number;
  readonly flags: readonly string[];
  /** Position of the first and the last key, and the step between keys; 0, 0, 0: no keys. */
  readonly keys: readonly [first: number, last: number, step: number];
  readonly group: 'connection' | 'generic' | 'server' | 'string';
  readonly summary: string;
  run(context: CommandContext): void;
}

export const OOM = "OOM command not allowed when used memory > 'maxmemory'.";
export const SYNTAX = 'ERR syntax error';
export const NOT_INTEGER = 'ERR value is not an integer or out of range';

/** An argument as text; bytes one to one. */
export function text(args: Arguments, index: number): string {
  const start = args.start(index);
  return args.bytes.toString('latin1', start, start + args.length(index));
}

/** An argument as an upper-case word, for options. */
export function word(args: Arguments, index: number): string {
  return text(args, index).toUpperCase();
}

/** An argument as a view of its bytes; valid until the next command. */
export function view(args: Arguments, index: number): Buffer {
  const start = args.start(index);
  return args.bytes.subarray(start, start + args.length(index));
}
