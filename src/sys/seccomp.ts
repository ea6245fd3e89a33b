/**
 * seccomp(2): a filter for the calling thread and its descendants, and the listener at which their calls wait for an
 * answer. A filter can never be taken off again. Where a call's sender may have died or been interrupted meanwhile, ENOENT is
 * an ordinary answer and comes as a value, never as an exception.
 *
 * Happy path: `seccompListen` in the thread that will start the programs; in another process a `NotificationReader` per listener:
 * `receive`, look, `isValid` again after looking, then exactly one of `answer`, `proceed`, `sendFd`.
 * Unhappy: EBUSY a filter of this thread has a listener already (an emulator inside an emulator); EACCES neither
 * no_new_privs nor CAP_SYS_ADMIN.
 * @source kernel/seccomp.c (seccomp_set_mode_filter, seccomp_notify_ioctl)
 */
import { SOCK_FPROG, encodeBpf, type BpfInstruction } from '../abi/bpf.js';
import { ERRNO } from '../abi/errno.js';
import { PR } from '../abi/linux.js';
import {
  SECCOMP,
  SECCOMP_ADDFD_FLAG,
  SECCOMP_DATA,
  SECCOMP_FILTER_FLAG,
  SECCOMP_IOCTL_NOTIF,
  SECCOMP_NOTIF,
  SECCOMP_NOTIF_ADDFD,
  SECCOMP_NOTIF_RESP,
  SECCOMP_NOTIF_SIZES,
  SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP,
  SECCOMP_USER_NOTIF_FLAG_CONTINUE,
} from '../abi/seccomp.js';
import * as libc from './libc.js';
import { NativeMemory } from './native-memory.js';
import { OwnedFd } from './owned-fd.js';
import { SysError, check } from './sys-error.js';

const NUMBERS: Readonly<Record<string, number>> = { x64: 317, arm64: 277 };

function seccomp(operation: number, flags: number, argument: bigint): number {
  const number = NUMBERS[process.arch];
  if (number === undefined) throw new SysError('seccomp', ERRNO.ENOSYS);
  return libc.syscall(number, operation, flags, Number(argument), 0, 0);
}

/**
 * Put `filter` on the calling thread, and on all that it starts from now on.
 * @returns the listener, close-on-exec
 * @throws SysError EBUSY there is a listener already; EACCES no right to; EINVAL the kernel does not know the flags
 */
export function seccompListen(
  filter: readonly BpfInstruction[],
  flags: number = SECCOMP_FILTER_FLAG.NEW_LISTENER | SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV,
): OwnedFd {
  const code = new NativeMemory(filter.length * 8);
  const program = new NativeMemory(SOCK_FPROG.sizeBytes);
  try {
    code.buffer.set(encodeBpf(filter));
    program.view.setUint16(SOCK_FPROG.length, filter.length, true);
    program.view.setBigUint64(SOCK_FPROG.filter, code.address, true);
    return new OwnedFd(check(seccomp(SECCOMP.SET_MODE_FILTER, flags, program.address), 'seccomp(SET_MODE_FILTER)'));
  } finally {
    code.free();
    program.free();
  }
}

/** True if this kernel knows the action `action` (SECCOMP_RET). */
export function seccompKnowsAction(action: number): boolean {
  const word = new NativeMemory(4);
  try {
    word.view.setUint32(0, action, true);
    return seccomp(SECCOMP.GET_ACTION_AVAIL, 0, word.address) === 0;
  } finally {
    word.free();
  }
}

/** True if this kernel knows `flag` of SET_MODE_FILTER: it looks at the flags before it looks at the filter, which is missing here. */
export function seccompKnowsFlags(flags: number): boolean {
  return seccomp(SECCOMP.SET_MODE_FILTER, flags, 0n) < 0 && libc.readErrno() === ERRNO.EFAULT;
}

/** Sizes of the kernel's structs; larger than ours in a kernel to come. @throws SysError ENOSYS, EINVAL */
export function seccompNotificationSizes(): { notification: number; response: number; data: number } {
  const sizes = new NativeMemory(SECCOMP_NOTIF_SIZES.sizeBytes);
  try {
    check(seccomp(SECCOMP.GET_NOTIF_SIZES, 0, sizes.address), 'seccomp(GET_NOTIF_SIZES)');
    return {
      notification: sizes.view.getUint16(SECCOMP_NOTIF_SIZES.notif, true),
      response: sizes.view.getUint16(SECCOMP_NOTIF_SIZES.response, true),
      data: sizes.view.getUint16(SECCOMP_NOTIF_SIZES.data, true),
    };
  } finally {
    sizes.free();
  }
}

/** The calling thread and all that it starts can gain no rights by executing a program (setuid is ignored). Cannot be undone. */
export function setNoNewPrivileges(): void {
  check(libc.prctl(PR.SET_NO_NEW_PRIVS, 1n, 0, 0, 0), 'prctl(PR_SET_NO_NEW_PRIVS)');
}

/** Reads the calls that wait at one listener, one at a time, without allocation, and answers them. */
export class NotificationReader {
  /** Borrowed. */
  readonly #listenerFd: number;
  readonly #notification: NativeMemory;
  readonly #response: NativeMemory;
  readonly #addFd = new NativeMemory(SECCOMP_NOTIF_ADDFD.sizeBytes);
  readonly #idOnly = new NativeMemory(8);

  /** `listenerFd` is borrowed and must outlive this. @throws SysError ENOSYS */
  constructor(listenerFd: number) {
    this.#listenerFd = listenerFd;
    const sizes = seccompNotificationSizes();
    this.#notification = new NativeMemory(Math.max(sizes.notification, SECCOMP_NOTIF.sizeBytes));
    this.#response = new NativeMemory(Math.max(sizes.response, SECCOMP_NOTIF_RESP.sizeBytes));
  }

  free(): void {
    for (const memory of [this.#notification, this.#response, this.#addFd, this.#idOnly]) memory.free();
  }

  /** Faster where both sides share a processor: the waiting side is woken at once. False: this kernel does not know it. */
  wakeInTurn(): boolean {
    const flags = BigInt(SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
    return libc.ioctl(this.#listenerFd, SECCOMP_IOCTL_NOTIF.SET_FLAGS, flags) >= 0;
  }

  /**
   * Take the next call. It blocks where none waits: ask poll(2) first.
   * @returns false when the caller died or was interrupted before (ENOENT), or a signal came (EINTR)
   */
  receive(): boolean {
    this.#notification.buffer.fill(0);
    const memory = this.#notification.address;
    if (libc.ioctl(this.#listenerFd, SECCOMP_IOCTL_NOTIF.RECV, memory) >= 0) return true;
    return this.#gone('RECV');
  }

  /** Cookie of the call that was taken last. */
  get id(): bigint {
    return this.#notification.view.getBigUint64(SECCOMP_NOTIF.id, true);
  }

  /** The thread that made it, as this process's pid namespace numbers it; 0 when it has none there. */
  get threadId(): number {
    return this.#notification.view.getUint32(SECCOMP_NOTIF.pid, true);
  }

  get callNumber(): number {
    return this.#notification.view.getInt32(SECCOMP_NOTIF.data + SECCOMP_DATA.nr, true);
  }

  /** AUDIT_ARCH of the caller. */
  get arch(): number {
    return this.#notification.view.getUint32(SECCOMP_NOTIF.data + SECCOMP_DATA.arch, true);
  }

  argument(index: number): bigint {
    return this.#notification.view.getBigUint64(SECCOMP_NOTIF.data + SECCOMP_DATA.arguments + 8 * index, true);
  }

  /** The low half of an argument, for the 32-bit ones. */
  argumentWord(index: number): number {
    return this.#notification.view.getUint32(SECCOMP_NOTIF.data + SECCOMP_DATA.arguments + 8 * index, true);
  }

  /** Does the call `id` still wait? After looking at its process this says that one looked at the right one. */
  isValid(id: bigint): boolean {
    this.#idOnly.view.setBigUint64(0, id, true);
    const memory = this.#idOnly.address;
    if (libc.ioctl(this.#listenerFd, SECCOMP_IOCTL_NOTIF.ID_VALID, memory) >= 0) return true;
    return this.#gone('ID_VALID');
  }

  /** The call `id` returns `value`, or fails with `errno`. False: nobody waits for it any more. */
  answer(id: bigint, value: number, errno = 0): boolean {
    return this.#respond(id, value, errno, 0);
  }

  /** The call `id` runs in the kernel after all, with whatever its arguments point to by then. */
  proceed(id: bigint): boolean {
    return this.#respond(id, 0, 0, SECCOMP_USER_NOTIF_FLAG_CONTINUE);
  }

  /**
   * Give the caller a duplicate of `fd` (borrowed); the call itself is not answered yet.
   * @returns its number there; undefined: the caller is gone
   * @throws SysError EMFILE the caller has too many; EBADF
   */
  addFd(id: bigint, fd: number, newFdFlags: number): number | undefined {
    return this.#add(id, fd, newFdFlags, 0);
  }

  /** The same, and the call returns that number: the caller has the fd if and only if it sees the answer. */
  sendFd(id: bigint, fd: number, newFdFlags: number): number | undefined {
    return this.#add(id, fd, newFdFlags, SECCOMP_ADDFD_FLAG.SEND);
  }

  #add(id: bigint, fd: number, newFdFlags: number, flags: number): number | undefined {
    const { view, address } = this.#addFd;
    view.setBigUint64(SECCOMP_NOTIF_ADDFD.id, id, true);
    view.setUint32(SECCOMP_NOTIF_ADDFD.flags, flags, true);
    view.setUint32(SECCOMP_NOTIF_ADDFD.sourceFd, fd, true);
    view.setUint32(SECCOMP_NOTIF_ADDFD.newFd, 0, true);
    view.setUint32(SECCOMP_NOTIF_ADDFD.newFdFlags, newFdFlags, true);
    const number = libc.ioctl(this.#listenerFd, SECCOMP_IOCTL_NOTIF.ADDFD, address);
    if (number >= 0) return number;
    this.#gone('ADDFD');
    return undefined;
  }

  #respond(id: bigint, value: number, errno: number, flags: number): boolean {
    const { view, address } = this.#response;
    view.setBigUint64(SECCOMP_NOTIF_RESP.id, id, true);
    view.setBigInt64(SECCOMP_NOTIF_RESP.value, BigInt(value), true);
    view.setInt32(SECCOMP_NOTIF_RESP.error, -errno, true);
    view.setUint32(SECCOMP_NOTIF_RESP.flags, flags, true);
    if (libc.ioctl(this.#listenerFd, SECCOMP_IOCTL_NOTIF.SEND, address) >= 0) return true;
    return this.#gone('SEND');
  }

  /** @throws SysError anything else than that the caller is not there any more */
  #gone(what: string): false {
    const errno = libc.readErrno();
    // EINPROGRESS: it was answered already, or an fd of it is being added: both mean that this answer is one too many.
    if (errno === ERRNO.ENOENT || errno === ERRNO.EINTR) return false;
    throw new SysError(`ioctl(SECCOMP_IOCTL_NOTIF_${what})`, errno);
  }
}
