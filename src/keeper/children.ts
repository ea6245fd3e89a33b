/**
 * The processes that the keeper starts, and those that it inherits: it is a subreaper, so that whatever its descendants
 * leave behind becomes its child and is reaped here. Node reaps the ones that it started; the rest are looked for after
 * each SIGCHLD. Each started child leads a session of its own, so that a signal for one reaches what it started.
 * Unhappy: a command that cannot be started is SERVICE_START_FAILED; nothing is remembered of it.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';
import { LuoError } from '../base/errors.js';
import type { KeeperChild } from '../protocol/spec.js';
import type { OwnedFd } from '../sys/index.js';
import { endedChild, isSysError, kill, pidfdOpen, waitPid } from '../sys/index.js';

/** How to start a child. */
export interface ChildCommand {
  readonly name: string;
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  /** Become fds 0, 1, 2, …; borrowed. `null` and missing ones of the first three are /dev/null. */
  readonly fds: readonly (number | null)[];
  /** Set LISTEN_PID to the child's own pid. */
  readonly listenFds?: boolean;
  /** Soft limit of open files. */
  readonly nofile?: number;
  /** The keeper's own business: not among those that are listed, and forgotten when it ends. */
  readonly isInternal?: boolean;
}

/** A child that runs. */
export interface RunningChild {
  readonly pid: number;
  /** Borrowed; open until the child has ended. */
  readonly pidfd: OwnedFd;
}

interface Child extends RunningChild {
  readonly name: string;
  readonly isInternal: boolean;
  exit: { code: number | null; signal: string | null } | undefined;
}

/** Ended children whose status nobody asked for are forgotten beyond this many, oldest first. */
const endedMax = 1024;

/** The children of this process. */
export class Children {
  readonly #children = new Map<number, Child>();
  readonly #onSigchld = (): void => this.#reapSoon();
  #reaping = false;

  constructor() {
    process.on('SIGCHLD', this.#onSigchld);
  }

  /**
   * Start a child. `onExit` is called once, after the child was reaped.
   * @throws LuoError SERVICE_START_FAILED no such program or folder, not executable, too many processes
   */
  async start(command: ChildCommand, onExit: (child: KeeperChild) => void): Promise<RunningChild> {
    const [file, ...args] = wrapped(command);
    const stdio = [0, 1, 2].map((index) => command.fds[index] ?? ('ignore' as const));
    let running: ChildProcess;
    try {
      running = spawn(file!, args, {
        cwd: command.cwd,
        env: { ...command.env },
        stdio: [...stdio, ...command.fds.slice(3).map((fd) => fd ?? ('ignore' as const))],
        detached: true,
      });
    } catch (error) {
      throw startFailed(command, error);
    }
    const pid = running.pid;
    if (pid === undefined) {
      throw startFailed(command, await new Promise((resolve) => running.once('error', resolve)));
    }
    // Node reaps in a later turn, so that the pid is still this child's.
    const isInternal = command.isInternal === true;
    const child: Child = { name: command.name, isInternal, pid, pidfd: pidfdOpen(pid), exit: undefined };
    this.#children.set(pid, child);
    running.on('error', () => {});
    running.once('exit', (code, signal) => {
      child.exit = { code, signal };
      child.pidfd.close();
      if (isInternal) this.#children.delete(pid);
      this.#trim();
      onExit(describe(child));
      this.#reapSoon();
    });
    return child;
  }

  /** The children that were not forgotten, oldest first, and the pidfds (borrowed) of the living. */
  list(): { children: KeeperChild[]; pidfds: number[] } {
    const all = [...this.#children.values()].filter((child) => !child.isInternal);
    return {
      children: all.map(describe),
      pidfds: all.filter((child) => child.exit === undefined).map((child) => child.pidfd.fd),
    };
  }

  /** Forget the status of an ended child; a living or unknown one is left alone. */
  forget(pid: number): void {
    if (this.#children.get(pid)?.exit !== undefined) this.#children.delete(pid);
  }

  /** SIGKILL for everything that was started and, again and again until none is left, for what was inherited. */
  async killAll(deadlineMs: number): Promise<void> {
    const end = performance.now() + deadlineMs;
    for (;;) {
      for (const child of this.#children.values()) if (child.exit === undefined) killQuietly(-child.pid);
      for (const pid of childPids()) killQuietly(pid);
      this.#reap();
      if (childPids().length === 0 || performance.now() >= end) return;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  close(): void {
    process.off('SIGCHLD', this.#onSigchld);
    for (const child of this.#children.values()) child.pidfd.close();
  }

  /** After Node had its turn to reap its own. */
  #reapSoon(): void {
    if (this.#reaping) return;
    this.#reaping = true;
    setImmediate(() => {
      this.#reaping = false;
      this.#reap();
    });
  }

  /** Reap what has ended and was not started through Node. */
  #reap(): void {
    for (;;) {
      const ended = endedChild();
      if (ended === undefined || ended === 0) return;
      if (this.#isNodes(ended)) break;
      waitPid(ended);
    }
    // One of Node's is first in line and hides the others: look at each child.
    for (const pid of childPids()) if (!this.#isNodes(pid)) reapQuietly(pid);
  }

  #isNodes(pid: number): boolean {
    const child = this.#children.get(pid);
    return child !== undefined && child.exit === undefined;
  }

  #trim(): void {
    const ended = [...this.#children.values()].filter((child) => child.exit !== undefined);
    for (const child of ended.slice(0, Math.max(0, ended.length - endedMax))) this.#children.delete(child.pid);
  }
}

/** The command, through a shell where something must be set by the process that becomes the child. */
function wrapped(command: ChildCommand): string[] {
  const steps: string[] = [];
  if (command.nofile !== undefined) steps.push(`ulimit -S -n ${command.nofile}`);
  if (command.listenFds === true) steps.push('LISTEN_PID=$$; export LISTEN_PID');
  if (steps.length === 0) return [...command.argv];
  return ['/bin/sh', '-c', `${steps.join('; ')}; exec "$@"`, 'sh', ...command.argv];
}

/** Every child of this process, zombies too. @source proc(5), /proc/PID/task/TID/children */
function childPids(): number[] {
  const pids: number[] = [];
  for (const thread of readdirSync('/proc/self/task')) {
    try {
      const text = readFileSync(`/proc/self/task/${thread}/children`, 'latin1');
      for (const word of text.split(' ')) if (word !== '') pids.push(Number(word));
    } catch (error) {
      // The thread has ended meanwhile; its children are another thread's.
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT' && (error as NodeJS.ErrnoException).code !== 'ESRCH')
        throw error;
    }
  }
  return pids;
}

function reapQuietly(pid: number): void {
  try {
    waitPid(pid);
  } catch (error) {
    if (!isSysError(error, 'ECHILD')) throw error;
  }
}

function killQuietly(pid: number): void {
  try {
    kill(pid, 'SIGKILL');
  } catch (error) {
    if (!isSysError(error, 'ESRCH') && !isSysError(error, 'EPERM')) throw error;
  }
}

function describe(child: Child): KeeperChild {
  return {
    name: child.name,
    pid: child.pid,
    exited: child.exit !== undefined,
    code: child.exit?.code ?? null,
    signal: child.exit?.signal ?? null,
  };
}

function startFailed(command: ChildCommand, error: unknown): LuoError {
  const code = (error as NodeJS.ErrnoException).code;
  const what = code === 'ENOENT' ? 'no such program or folder' : (code ?? String(error));
  return new LuoError('SERVICE_START_FAILED', `'${command.argv[0]}' cannot be started in '${command.cwd}': ${what}`, {
    cause: error,
    ...(code === undefined ? {} : { errno: code }),
  });
}
