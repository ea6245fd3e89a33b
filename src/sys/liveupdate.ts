/**
 * The ioctls of /dev/liveupdate and its sessions. What the kernel answers goes into memory that is certainly writable and
 * is never moved: an answer that cannot be delivered (EFAULT) is the end of a retrieved session and of what is in it.
 * Preserve and retrieve take as long as the memory is large; they have forms that do not stop the event loop.
 * @source include/uapi/linux/liveupdate.h, kernel/liveupdate/luo_session.c (Linux 7.3)
 */
import {
  FD_ARGUMENT,
  LIVEUPDATE_IOCTL,
  LIVEUPDATE_SESSION,
  NAME_ARGUMENT,
  SESSION_ARGUMENT,
  decodeFd,
  decodeName,
  encodeFdArgument,
  encodeFinishArgument,
  encodeNameArgument,
  encodeSessionArgument,
} from '../abi/liveupdate.js';
import { O } from '../abi/linux.js';
import * as libc from './libc.js';
import { NativeMemory } from './native-memory.js';
import { OwnedFd } from './owned-fd.js';
import { SysError, check } from './sys-error.js';

/** One for all calls of this process that return at once. */
const shared = new NativeMemory(SESSION_ARGUMENT.sizeBytes);

/**
 * Open the device. Only one open file of it can exist; whoever has it can create and retrieve every session.
 * @throws SysError ENOENT, ENXIO, ENODEV no live update here; EBUSY somebody has it open; EIO what the last kernel left cannot be
 *   read, until the next boot; EACCES
 */
export function openLiveupdate(path = '/dev/liveupdate'): OwnedFd {
  return new OwnedFd(check(libc.open(path, O.RDWR | O.CLOEXEC, 0), 'open', path));
}

/** A new outgoing session. @throws SysError EINVAL bad name; EEXIST; ENOSPC, ENOMEM, EMFILE */
export function liveupdateCreateSession(device: number, name: string): OwnedFd {
  return session(device, LIVEUPDATE_IOCTL.CREATE_SESSION, name, 'LIVEUPDATE_IOCTL_CREATE_SESSION');
}

/** A session of the last kernel. @throws SysError ENOENT; EINVAL somebody has retrieved it; ENOMEM, EMFILE */
export function liveupdateRetrieveSession(device: number, name: string): OwnedFd {
  return session(device, LIVEUPDATE_IOCTL.RETRIEVE_SESSION, name, 'LIVEUPDATE_IOCTL_RETRIEVE_SESSION');
}

function session(device: number, request: number, name: string, call: string): OwnedFd {
  encodeSessionArgument(name, shared.buffer);
  check(libc.ioctl(device, request, shared.address), call, name);
  return new OwnedFd(decodeFd(shared.buffer));
}

/**
 * Preserve `fd` under `token`.
 * @throws SysError EINVAL not outgoing; EEXIST token; EBADF; ENOENT no handler; EBUSY preserved already; EOPNOTSUPP, EFBIG, ENOSPC, ENOMEM
 */
export async function sessionPreserveFd(session: number, fd: number, token: bigint): Promise<void> {
  const argument = new NativeMemory(FD_ARGUMENT.sizeBytes);
  try {
    encodeFdArgument(fd, token, argument.buffer);
    await ioctlApart(session, LIVEUPDATE_SESSION.PRESERVE_FD, argument, 'LIVEUPDATE_SESSION_PRESERVE_FD');
  } finally {
    argument.free();
  }
}

/** Take back what is under `token`. @throws SysError EINVAL not incoming; ENOENT; EMFILE; any other: for ever */
export async function sessionRetrieveFd(session: number, token: bigint): Promise<OwnedFd> {
  const argument = new NativeMemory(FD_ARGUMENT.sizeBytes);
  try {
    encodeFdArgument(-1, token, argument.buffer);
    await ioctlApart(session, LIVEUPDATE_SESSION.RETRIEVE_FD, argument, 'LIVEUPDATE_SESSION_RETRIEVE_FD');
    return new OwnedFd(decodeFd(argument.buffer));
  } finally {
    argument.free();
  }
}

/** The same, stopping the loop while it lasts: for what is small. */
export function sessionRetrieveFdNow(session: number, token: bigint): OwnedFd {
  encodeFdArgument(-1, token, shared.buffer);
  check(libc.ioctl(session, LIVEUPDATE_SESSION.RETRIEVE_FD, shared.address), 'LIVEUPDATE_SESSION_RETRIEVE_FD');
  return new OwnedFd(decodeFd(shared.buffer));
}

/** Let go of what was not retrieved. @throws SysError EINVAL not incoming; EBUSY a file vetoes */
export function sessionFinish(session: number): void {
  encodeFinishArgument(shared.buffer);
  check(libc.ioctl(session, LIVEUPDATE_SESSION.FINISH, shared.address), 'LIVEUPDATE_SESSION_FINISH');
}

/** @throws SysError ENOTTY, EINVAL: `fd` is no session */
export function sessionGetName(session: number): string {
  encodeNameArgument(shared.buffer.subarray(0, NAME_ARGUMENT.sizeBytes));
  check(libc.ioctl(session, LIVEUPDATE_SESSION.GET_NAME, shared.address), 'LIVEUPDATE_SESSION_GET_NAME');
  return decodeName(shared.buffer);
}

/** In a thread of the pool. errno is the thread's: it is right only inside of the callback. */
function ioctlApart(fd: number, request: number, argument: NativeMemory, call: string): Promise<void> {
  return new Promise((resolve, reject) => {
    libc.ioctl.async(fd, request, argument.address, (error, result) => {
      const errno = libc.readErrno();
      if (error) reject(error);
      else if (result < 0) reject(new SysError(call, errno));
      else resolve();
    });
  });
}
