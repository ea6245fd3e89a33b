/**
 * Run a hook once, to its end: `PATH CALL`, the earlier state on its stdin, the new one from its stdout. It has a process group of
 * its own, so that whatever it started ends with it.
 *
 * Happy path: exit code 0, and what it had written by then. Unhappy path, all of it HOOK_FAILED: another code, a signal, a
 * program that cannot be started, more output than a state may have, a deadline that passed (SIGTERM, after `graceMs` SIGKILL,
 * both to the group; one that does not even end then is not waited for). A process that it left behind in its group and that keeps
 * its output open is ended, one in a session of its own is left alone; what was written by then counts.
 * Never here: what follows from a failure.
 */
import { spawn, type ChildProcessByStdio } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { LuoError } from '../../base/errors.js';

export const HOOK_CALLS = ['prepare', 'freeze', 'restore', 'finish', 'cancel'] as const;
export type HookCall = (typeof HOOK_CALLS)[number];

export interface HookRun {
  readonly name: string;
  readonly path: string;
  readonly call: HookCall;
  /** Its stdin. */
  readonly state: Uint8Array;
  /** Added to the environment, which has nothing of luo's or systemd's. */
  readonly env?: Readonly<Record<string, string>>;
  /** From the start to SIGTERM, ms. */
  readonly deadlineMs: number;
  /** From SIGTERM to SIGKILL, ms. */
  readonly graceMs: number;
  /** Nobody wants its answer any more: like a deadline that has passed. */
  readonly signal?: AbortSignal;
  /** Each line that it says on stderr, and what is to be said of it. */
  readonly log: (line: string) => void;
  /** Told when it runs, and when it has ended. */
  readonly onProcess?: (pid: number, running: boolean) => void;
}

/** Bytes that a state may have. */
export const HOOK_STATE_BYTES_MAX = 64 * 1024;
/** Of what one call says on stderr, this much is logged. */
const LOG_LINES_MAX = 200;
const LOG_LINE_CHARACTERS_MAX = 1000;
/** How long output may stay open in other hands after the hook's end, ms. */
const DRAIN_MS = 200;
/** Only for what a hook inherits: its identity is nobody's but the one of the process that runs it. */
const NOT_PASSED_ON = /^(LUO_|LISTEN_|NOTIFY_SOCKET$)/;

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

/**
 * @returns what it wrote to stdout; of calls other than prepare and freeze nothing
 * @throws LuoError HOOK_FAILED
 */
export function runHook(run: HookRun): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const child = start(run);
    const output: Buffer[] = [];
    let bytes = 0;
    let why: 'late' | 'given-up' | 'too-much' | undefined;
    const timers: NodeJS.Timeout[] = [];

    const end = (reason: NonNullable<typeof why>): void => {
      if (why !== undefined) return;
      why = reason;
      signalGroup(child.pid, 'SIGTERM');
      timers.push(
        setTimeout(() => {
          signalGroup(child.pid, 'SIGKILL');
          // It may hang inside of the kernel, where no signal reaches it.
          timers.push(setTimeout(() => settle(() => reject(failed(run, 'cannot be ended', {}))), DRAIN_MS * 2));
        }, run.graceMs),
      );
    };
    const onAbort = (): void => end('given-up');
    let settled = false;
    const settle = (work: () => void): void => {
      if (settled) return;
      settled = true;
      for (const timer of timers) clearTimeout(timer);
      run.signal?.removeEventListener('abort', onAbort);
      if (child.pid !== undefined) run.onProcess?.(child.pid, false);
      work();
    };

    child.on('error', (error) => {
      if (child.pid !== undefined) return;
      settle(() => reject(failed(run, `cannot be started: ${error.message}`, { cause: error })));
    });
    child.on('spawn', () => run.onProcess?.(child.pid!, true));
    const hasState = run.call === 'prepare' || run.call === 'freeze';
    child.stdout.on('data', (chunk: Buffer) => {
      if (!hasState) return;
      bytes += chunk.length;
      if (bytes > HOOK_STATE_BYTES_MAX) end('too-much');
      else output.push(chunk);
    });
    logLines(child.stderr, run.log);
    child.on('exit', () => {
      timers.push(
        setTimeout(() => {
          run.log(
            'a process that it left behind keeps its output open: it is ended, unless it has a session of its own',
          );
          signalGroup(child.pid, 'SIGKILL');
          child.stdout.destroy();
          child.stderr.destroy();
        }, DRAIN_MS),
      );
    });
    child.on('close', (code, signal) => {
      settle(() => {
        const how = failureOf(run, why, code, signal);
        if (how === undefined) resolve(Buffer.concat(output));
        else reject(failed(run, how, { code, signal }));
      });
    });
    // It need not read what it is given.
    child.stdin.on('error', () => undefined);
    child.stdin.end(run.state);

    timers.push(setTimeout(() => end('late'), run.deadlineMs));
    if (run.signal?.aborted === true) onAbort();
    else run.signal?.addEventListener('abort', onAbort, { once: true });
  });
}

function start(run: HookRun): Child {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) if (!NOT_PASSED_ON.test(name)) env[name] = value;
  return spawn(run.path, [run.call], {
    cwd: '/',
    env: { ...env, ...run.env },
    stdio: ['pipe', 'pipe', 'pipe'],
    // A session, and so a process group, of its own.
    detached: true,
  });
}

function failureOf(
  run: HookRun,
  why: 'late' | 'given-up' | 'too-much' | undefined,
  code: number | null,
  signal: NodeJS.Signals | null,
): string | undefined {
  switch (why) {
    case 'late':
      return `did not end within ${run.deadlineMs} ms`;
    case 'given-up':
      return 'was ended: nobody waits for it any more';
    case 'too-much':
      return `wrote more than ${HOOK_STATE_BYTES_MAX} bytes of state`;
    case undefined:
      if (signal !== null) return `was ended by ${signal}`;
      return code === 0 ? undefined : `ended with code ${code}`;
  }
}

function failed(
  run: HookRun,
  how: string,
  more: { code?: number | null; signal?: string | null; cause?: unknown },
): LuoError {
  const { cause, ...facts } = more;
  return new LuoError('HOOK_FAILED', `${run.call} of the hook '${run.name}' ${how}`, {
    handle: run.name,
    data: { hook: run.name, call: run.call, ...facts },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** To the leader of a group and to everything that it started and that did not leave it; ended ones are no error. */
export function signalGroup(leader: number | undefined, signal: NodeJS.Signals): void {
  if (leader === undefined) return;
  try {
    process.kill(-leader, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function logLines(from: Readable, log: (line: string) => void): void {
  let rest = '';
  let lines = 0;
  const say = (line: string): void => {
    lines += 1;
    if (lines <= LOG_LINES_MAX) log(line);
    else if (lines === LOG_LINES_MAX + 1) log('(it says more than is logged)');
  };
  from.setEncoding('utf8');
  from.on('data', (chunk: string) => {
    const parts = (rest + chunk).split('\n');
    rest = parts.pop()!.slice(0, LOG_LINE_CHARACTERS_MAX);
    for (const part of parts) say(part.slice(0, LOG_LINE_CHARACTERS_MAX));
  });
  from.on('close', () => {
    if (rest !== '') say(rest);
  });
}
