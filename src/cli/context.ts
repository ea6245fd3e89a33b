/**
 * What a verb works with: the connection to luod, the terminal, the caller's environment. The one file of the command
 * line that knows the client library. Everything that needs more than cli may import arrives in `CliPorts`, from bin.
 */
import { dirname } from 'node:path';
import type { Readable } from 'node:stream';
import { connectLuod, luodSocketPath } from '../client/control.js';
import type { WireError } from '../base/errors.js';
import type { Conformance } from '../ports/conformance.js';
import type { Doctor } from '../ports/doctor.js';
import type { EmulatorPort } from '../ports/emulator.js';
import type { LuodMethod, LuodParams, LuodResult } from '../protocol/spec.js';
import { makePaint, type Paint } from './format.js';

/** The part of a stream that luoctl writes to. */
export interface Output {
  write(chunk: string | Uint8Array, done?: (error?: Error | null) => void): unknown;
  readonly isTTY?: boolean;
}

/** The process around luoctl; tests give their own. */
export interface CliIo {
  readonly stdin: Readable & { readonly isTTY?: boolean };
  readonly stdout: Output;
  readonly stderr: Output;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Calls back at every Ctrl-C instead of ending; the result gives Ctrl-C its own meaning back. */
  onInterrupt(callback: () => void): () => void;
}

/** An fd that the one who got it must close. */
export interface HeldFd {
  readonly fd: number;
  close(): void;
}

/** What bin gives: parts of luo that cli may not import. */
export interface CliPorts {
  readonly doctor: Doctor;
  readonly emulator: EmulatorPort;
  readonly conformance: Conformance;
  /** A new empty memfd, for `put` from standard input. */
  createMemfd(name: string): HeldFd;
  /** Start luod in `dir`, in the background. @throws LuoError LUOD_UNREACHABLE it does not answer; what it said */
  startLuod(dir: string): Promise<void>;
  /** Version of this luoctl. */
  readonly version: string;
}

/** As UpdateProgress of the protocol. */
export interface ProgressData {
  readonly what: string;
  readonly participant?: string;
  readonly phase?: string;
  readonly detail?: unknown;
}

export interface RequestOptions {
  readonly onProgress?: (data: ProgressData) => void;
  /** Borrowed. */
  readonly fds?: readonly number[];
  readonly signal?: AbortSignal;
}

/** A connection to luod that has said hello. */
export interface Luod {
  /** @throws LuoError as luod said it; PROTO_CLOSED when the connection ended first */
  request<M extends LuodMethod>(
    method: M,
    params: LuodParams<M>,
    options?: RequestOptions,
  ): Promise<{ result: LuodResult<M>; fds: HeldFd[] }>;
  onEvent(callback: (event: string, data: unknown) => void): void;
  /** Resolves when the connection has ended, for whatever reason. */
  readonly closed: Promise<void>;
  close(): void;
}

/** Options that every verb has. */
export interface GlobalOptions {
  readonly dir?: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
}

export class Context {
  readonly io: CliIo;
  readonly ports: CliPorts;
  readonly options: GlobalOptions;
  /** Colour for standard output, and for standard error: only on a terminal and without NO_COLOR. */
  readonly paint: Paint;
  readonly paintError: Paint;

  constructor(io: CliIo, ports: CliPorts, options: GlobalOptions) {
    this.io = io;
    this.ports = ports;
    this.options = options;
    const colour = !io.env.NO_COLOR && io.env.TERM !== 'dumb';
    this.paint = makePaint(colour && io.stdout.isTTY === true);
    this.paintError = makePaint(colour && io.stderr.isTTY === true);
  }

  get json(): boolean {
    return this.options.json === true;
  }

  get verbose(): boolean {
    return this.options.verbose === true;
  }

  /**
   * A connection to luod, as a client that does not join.
   * @throws LuoError LUOD_UNREACHABLE nobody answers at the socket
   */
  async connect(): Promise<Luod> {
    const connection = await connectLuod({ ...this.#place(), client: `luoctl ${this.ports.version}` });
    const closed = new Promise<void>((resolve) => connection.onClose(() => resolve()));
    return {
      closed,
      request: (method, params, { onProgress, ...options } = {}) =>
        connection.request(method, params, {
          ...options,
          // The spec gives progress one shape; what does not have it is a newer luod's and is shown as far as it goes.
          ...(onProgress === undefined ? {} : { onProgress: (data) => onProgress(data as ProgressData) }),
        }),
      onEvent: (callback) => connection.onEvent(callback),
      close: () => connection.close(),
    };
  }

  /**
   * The directory of luod's sockets that is meant, whether or not a luod is there.
   * @throws LuoError LUOD_UNREACHABLE nothing says which
   */
  dir(): string {
    return dirname(luodSocketPath(this.#place()));
  }

  #place(): { dir?: string; env: NodeJS.ProcessEnv } {
    return { env: this.io.env, ...(this.options.dir === undefined ? {} : { dir: this.options.dir }) };
  }

  /** Runs `work` on a connection of its own, which is closed afterwards. */
  async withLuod<T>(work: (luod: Luod) => Promise<T>): Promise<T> {
    const luod = await this.connect();
    try {
      return await work(luod);
    } finally {
      luod.close();
    }
  }

  /** One request whose reply carries no fds. */
  async ask<M extends LuodMethod>(method: M, params: LuodParams<M>): Promise<LuodResult<M>> {
    return this.withLuod(async (luod) => (await luod.request(method, params)).result);
  }

  /** Text for people; left out with --json. */
  say(text: string): void {
    if (!this.json) this.io.stdout.write(text);
  }

  /** One JSON object on its own line, only with --json. */
  sayJson(value: object): void {
    if (this.json) this.io.stdout.write(`${JSON.stringify(value)}\n`);
  }

  /** The same result for people and for programs. */
  report(value: object, text: string): void {
    this.sayJson(value);
    this.say(text);
  }

  /** A line on standard error. */
  tell(text: string): void {
    this.io.stderr.write(`${text}\n`);
  }

  /** An error as JSON, only with --json. */
  sayErrorJson(error: WireError, exitCode: number): void {
    this.sayJson({ error, exitCode });
  }
}
