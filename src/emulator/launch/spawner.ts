/**
 * The one thread that carries the filter, and starts the programs: what it starts inherits the filter, and all of it waits at
 * one listener. A worker of the launcher process, whose main thread stays free to end the tree when the emulator has
 * died. It waits for orders and does one at a time; it opens no file, since its own opens stop at the emulator too.
 *
 * Happy path: `listening`, then per order `spawned`. Unhappy: `unable` (this machine or this process may not), and per order
 * `not-spawned` with the error of execve(2).
 */
import { MessageChannel, parentPort, receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads';
import {
  SysError,
  getFileLimit,
  ignoringSignals,
  isSysError,
  posixSpawn,
  seccompListen,
  setFileLimit,
  setNoNewPrivileges,
  type FileAction,
} from '../../sys/index.js';
import { launchFilter } from './filter.js';
import { restoreBlocking, type Inheritance } from './inheritance.js';
import type { FromSpawner, ProgramText, SpawnOrder } from './messages.js';
import { programPaths } from './program-paths.js';

/** What the thread is started with. */
export interface SpawnerData {
  readonly strict: boolean;
  readonly inheritance: Inheritance;
  /** Orders come here. */
  readonly orders: MessagePort;
  /** Counts orders; the thread sleeps on it. */
  readonly bell: Int32Array;
}

const allSignals = (1n << 64n) - 1n;
const { strict, inheritance, orders, bell } = workerData as SpawnerData;
const tell = (message: FromSpawner): void => parentPort!.postMessage(message);

try {
  // What this thread will need is loaded and compiled before its opens stop at the emulator.
  warmUp();
  tell({ kind: 'listening', listenerFd: listen() });
  for (let seen = 0; ; seen += 1) {
    Atomics.wait(bell, 0, seen);
    tell(carryOut((receiveMessageOnPort(orders) as { message: SpawnOrder }).message));
  }
} catch (error) {
  if (!(error instanceof SysError)) throw error;
  tell({ kind: 'unable', errno: error.errno, syscall: error.syscall });
}

function warmUp(): void {
  const { port1, port2 } = new MessageChannel();
  receiveMessageOnPort(port1);
  port1.close();
  port2.close();
  carryOut({ id: 0, text: { argv: ['/'], env: [], cwd: '/', searchPath: '/' }, stdio: [] });
}

/** Rights are given up only where the kernel insists: without no_new_privs sudo goes on to work. */
function listen(): number {
  const filter = launchFilter({ strict, machine: process.arch });
  try {
    return seccompListen(filter).take();
  } catch (error) {
    if (!isSysError(error, 'EACCES')) throw error;
    setNoNewPrivileges();
    return seccompListen(filter).take();
  }
}

function carryOut({ id, text, stdio }: SpawnOrder): FromSpawner {
  const limit = getFileLimit();
  setFileLimit({ soft: Math.min(inheritance.fileLimit ?? limit.hard, limit.hard), hard: limit.hard });
  try {
    return start(id, text, stdio);
  } finally {
    setFileLimit(limit);
  }
}

function start(id: number, text: ProgramText, stdio: readonly number[]): FromSpawner {
  const name = text.argv[0]!;
  let denied: string | undefined;
  for (const path of programPaths(name, text.searchPath)) {
    try {
      return { kind: 'spawned', id, pid: spawnAt(path, text, stdio) };
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      // As execvp(3): what is not there, or may not be used, is passed over; the latter is remembered.
      if (error.errnoName === 'EACCES') denied = path;
      else if (error.errnoName !== 'ENOENT' && error.errnoName !== 'ENOTDIR') {
        return { kind: 'not-spawned', id, errno: error.errno, path };
      }
    }
  }
  return { kind: 'not-spawned', id, errno: denied === undefined ? 2 : 13, path: denied ?? name };
}

function spawnAt(path: string, text: ProgramText, stdio: readonly number[]): number {
  try {
    return spawnOnce(path, text.argv, text, stdio);
  } catch (error) {
    // A script without `#!`: the shell runs it, as every shell and execvp(3) do.
    if (!isSysError(error, 'ENOEXEC')) throw error;
    return spawnOnce('/bin/sh', ['/bin/sh', path, ...text.argv.slice(1)], text, stdio);
  }
}

function spawnOnce(path: string, argv: readonly string[], text: ProgramText, stdio: readonly number[]): number {
  restoreBlocking(inheritance);
  return ignoringSignals(inheritance.ignored, () =>
    posixSpawn({
      path: bytes(path),
      argv: argv.map(bytes),
      env: text.env.map(bytes),
      actions: fileActions(text, stdio),
      blocked: inheritance.blocked,
      defaults: allSignals & ~inheritance.ignored,
    }),
  );
}

function fileActions(text: ProgramText, stdio: readonly number[]): FileAction[] {
  const actions: FileAction[] = [];
  if (stdio.length > 0) stdio.forEach((fd, to) => actions.push({ kind: 'dup', fd, to }));
  else {
    // Node has opened /dev/null in the place of every one of the first three that was closed.
    for (const fd of [0, 1, 2]) if (!inheritance.fds.includes(fd)) actions.push({ kind: 'close', fd });
    for (const fd of inheritance.fds) actions.push({ kind: 'dup', fd, to: fd });
  }
  if (text.cwd !== null) actions.push({ kind: 'chdir', path: bytes(text.cwd) });
  return actions;
}

function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}
