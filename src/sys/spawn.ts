/**
 * posix_spawn(3): a program as a child of this process, with exactly the signals, files, arguments and environment that the
 * request names. Unlike Node's own spawn it takes bytes, passes descriptors on at their own numbers, and can be called by
 * any thread: the child carries the calling thread's seccomp filter. Never forks by itself, which V8 does not survive.
 *
 * Happy path: the program runs when the call returns. Unhappy: the error that execve(2) gave in the child.
 * Descriptors that are close-on-exec are closed; all others of this process go to the child.
 */
import { POSIX_SPAWN, SIGSET } from '../abi/structs.js';
import * as libc from './libc.js';
import { NativeMemory } from './native-memory.js';
import { SysError } from './sys-error.js';

/** What happens to descriptors in the child, in order, before the program starts. `dup` onto its own number keeps a descriptor. */
export type FileAction =
  | { readonly kind: 'close'; readonly fd: number }
  | { readonly kind: 'dup'; readonly fd: number; readonly to: number }
  | { readonly kind: 'chdir'; readonly path: Uint8Array };

export interface SpawnRequest {
  /** Path of the program, without a search. */
  readonly path: Uint8Array;
  readonly argv: readonly Uint8Array[];
  readonly env: readonly Uint8Array[];
  readonly actions: readonly FileAction[];
  /** Signals (bit n - 1) that the program finds blocked. */
  readonly blocked: bigint;
  /** Signals that the program finds with their default action; others keep being ignored if they are ignored here. */
  readonly defaults: bigint;
}

/**
 * Start the program; returns its pid. It is a child of this process, to be reaped by it.
 * @throws SysError ENOENT, EACCES, ENOEXEC, E2BIG, ELOOP… as execve(2); EAGAIN too many processes; EBADF an action names no
 *   open descriptor
 */
export function posixSpawn(request: SpawnRequest): number {
  const attributes = new NativeMemory(POSIX_SPAWN.attributesBytes);
  const actions = new NativeMemory(POSIX_SPAWN.actionsBytes);
  const path = new TextList([request.path]);
  const argv = new TextList(request.argv);
  const env = new TextList(request.env);
  const pid = Buffer.alloc(4);
  try {
    must(libc.posix_spawnattr_init(attributes.address));
    must(libc.posix_spawn_file_actions_init(actions.address));
    must(libc.posix_spawnattr_setsigdefault(attributes.address, signalSet(request.defaults)));
    must(libc.posix_spawnattr_setsigmask(attributes.address, signalSet(request.blocked)));
    must(libc.posix_spawnattr_setflags(attributes.address, POSIX_SPAWN.SETSIGDEF | POSIX_SPAWN.SETSIGMASK));
    for (const action of request.actions) must(addAction(actions.address, action));
    must(
      libc.posix_spawn(pid, path.first, actions.address, attributes.address, argv.address, env.address),
      Buffer.from(request.path).toString(),
    );
    return pid.readInt32LE(0);
  } finally {
    libc.posix_spawn_file_actions_destroy(actions.address);
    libc.posix_spawnattr_destroy(attributes.address);
    for (const memory of [attributes, actions, path, argv, env]) memory.free();
  }
}

function addAction(actions: bigint, action: FileAction): number {
  switch (action.kind) {
    case 'close':
      return libc.posix_spawn_file_actions_addclose(actions, action.fd);
    case 'dup':
      return libc.posix_spawn_file_actions_adddup2(actions, action.fd, action.to);
    case 'chdir':
      return libc.posix_spawn_file_actions_addchdir_np(actions, Buffer.concat([action.path, Buffer.alloc(1)]));
  }
}

function signalSet(signals: bigint): Buffer {
  const set = Buffer.alloc(SIGSET.sizeBytes);
  set.writeBigUInt64LE(signals, 0);
  return set;
}

/** These functions return the error number. */
function must(errno: number, about?: string): void {
  if (errno !== 0) throw new SysError('posix_spawn', errno, about);
}

/** Texts with their closing zeros, and the list of pointers to them that ends in null. */
class TextList {
  readonly address: bigint;
  /** Of the first text. */
  readonly first: bigint;
  readonly #memory: NativeMemory;

  constructor(texts: readonly Uint8Array[]) {
    const pointersBytes = 8 * (texts.length + 1);
    const textsBytes = texts.reduce((sum, text) => sum + text.length + 1, 0);
    this.#memory = new NativeMemory(pointersBytes + textsBytes);
    const { view, buffer, address } = this.#memory;
    let at = pointersBytes;
    texts.forEach((text, index) => {
      view.setBigUint64(8 * index, address + BigInt(at), true);
      buffer.set(text, at);
      at += text.length + 1;
    });
    this.address = address;
    this.first = address + BigInt(pointersBytes);
  }

  free(): void {
    this.#memory.free();
  }
}
