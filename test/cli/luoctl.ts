/** Runs luoctl in this process, against a directory, with everything that it writes gathered. */
import { Readable } from 'node:stream';
import type { CliIo, CliPorts } from '../../src/cli/context.js';
import { runLuoctl } from '../../src/cli/program.js';
import type { Conformance } from '../../src/ports/conformance.js';
import type { DoctorCheck } from '../../src/ports/doctor.js';
import type { EmulatorPort } from '../../src/ports/emulator.js';
import { memfdCreate } from '../../src/sys/index.js';

export interface RunOptions {
  readonly stdin?: string | Readable;
  /** Standard error (and output) is a terminal. */
  readonly tty?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly cwd?: string;
  readonly doctor?: readonly DoctorCheck[];
  readonly emulator?: Partial<EmulatorPort>;
  readonly conformance?: Conformance;
  readonly startLuod?: (dir: string) => Promise<void>;
  /** Called with what was written so far to standard error or output, at every piece. */
  readonly onText?: (all: string, run: Running) => void;
}
export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Each line of `out` as JSON. */
  json(): unknown[];
}
export interface Running {
  /** Ctrl-C. */
  interrupt(): void;
  readonly ended: Promise<Ran>;
}

/** An emulator whose programs all end well at once. */
const fakeEmulator: EmulatorPort = {
  check: async () => [],
  run: async () => ({ code: 0, signal: null }),
  kexec: async (pid) => pid ?? 1,
  endLike: ({ code, signal }) => code ?? 128 + signal!,
};

const NO_CONFORMANCE: Conformance = {
  groups: () => [],
  list: () => [],
  run: async () => ({ holder: null }),
};

/** Start luoctl with `args`; `dir` becomes its LUO_DIR. */
export function startLuoctl(dir: string, args: readonly string[], options: RunOptions = {}): Running {
  const pieces = { out: [] as Buffer[], err: '' };
  const interrupts = new Set<() => void>();
  const stdin =
    options.stdin instanceof Readable
      ? options.stdin
      : Readable.from(options.stdin === undefined ? [] : [options.stdin]);
  const told = (): void => options.onText?.(Buffer.concat(pieces.out).toString() + pieces.err, running);
  const io: CliIo = {
    stdin,
    stdout: {
      isTTY: options.tty ?? false,
      write(chunk, done) {
        pieces.out.push(Buffer.from(chunk));
        done?.();
        told();
      },
    },
    stderr: {
      isTTY: options.tty ?? false,
      write(chunk) {
        pieces.err += String(chunk);
        told();
      },
    },
    env: { PATH: process.env.PATH, LUO_DIR: dir, ...options.env },
    cwd: options.cwd ?? process.cwd(),
    onInterrupt(callback) {
      interrupts.add(callback);
      return () => interrupts.delete(callback);
    },
  };
  const ports: CliPorts = {
    version: '9.9.9',
    createMemfd: (name) => memfdCreate(name),
    startLuod: options.startLuod ?? (() => Promise.reject(new Error('no luod is to be started here'))),
    doctor: { examine: async () => options.doctor ?? [] },
    emulator: { ...fakeEmulator, ...options.emulator },
    conformance: options.conformance ?? NO_CONFORMANCE,
  };
  const running: Running = {
    interrupt: () => interrupts.forEach((callback) => callback()),
    ended: runLuoctl(args, io, ports).then((code) => {
      const out = Buffer.concat(pieces.out).toString();
      const json = (): unknown[] =>
        out
          .split('\n')
          .filter(Boolean)
          .map((line): unknown => JSON.parse(line));
      return { code, out, err: pieces.err, json };
    }),
  };
  return running;
}

/** Run luoctl to its end. */
export function luoctl(dir: string, args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  return startLuoctl(dir, args, options).ended;
}
