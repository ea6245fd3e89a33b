/**
 * Bytes with descriptors over a unix socket (SCM_RIGHTS), without allocation per message. One message carries at most 253
 * fds. Sent fds are borrowed: the kernel holds the files while they travel. Received ones are plain numbers that the
 * caller owns and must wrap or close; they are close-on-exec.
 *
 * On a stream the kernel attaches fds to the first bytes of one send. A receive ends after the bytes of such a send (or
 * earlier), but it may begin with bytes of earlier sends: fds never come later than the first byte of their send.
 * Nothing here blocks, and EAGAIN is a value (-1): it is the ordinary case.
 * @source net/core/scm.c, net/unix/af_unix.c (unix_stream_sendmsg, unix_stream_read_generic)
 */
import { CMSGHDR, IOVEC, MSGHDR } from '../abi/structs.js';
import { MSG, SCM, SCM_MAX_FD, SOL } from '../abi/linux.js';
import { ERRNO } from '../abi/errno.js';
import { readErrno, recvmsg, send, sendmsg } from './libc.js';
import { NativeMemory } from './native-memory.js';
import { SysError } from './sys-error.js';

/** The socket would have to wait. */
export const WOULD_BLOCK = -1;

const noFds: readonly number[] = [];
const controlBytes = CMSGHDR.sizeBytes + 4 * SCM_MAX_FD + 4;
// A second header's worth of room, so that an unexpected credentials message does not look like lost fds.
const controlRoom = controlBytes + 64;

/** A message header with one piece of data and a control buffer, laid out once. */
class MessageHeader {
  readonly memory = new NativeMemory(MSGHDR.sizeBytes + IOVEC.sizeBytes);
  readonly control = new NativeMemory(controlRoom);
  readonly address = this.memory.address;

  constructor(data: bigint) {
    const view = this.memory.view;
    view.setBigUint64(MSGHDR.iov, this.memory.address + BigInt(MSGHDR.sizeBytes), true);
    view.setUint32(MSGHDR.iovlen, 1, true);
    view.setBigUint64(MSGHDR.sizeBytes + IOVEC.base, data, true);
    view.setBigUint64(MSGHDR.control, this.control.address, true);
  }
}

/** Sends from one fixed buffer; one per process is enough, since nothing waits between filling and sending. */
export class MessageSender {
  readonly capacity: number;
  /** Fill this, then `send`. */
  readonly buffer: Buffer;
  readonly #data: NativeMemory;
  readonly #header: MessageHeader;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#data = new NativeMemory(capacity);
    this.buffer = this.#data.buffer;
    this.#header = new MessageHeader(this.#data.address);
    const control = this.#header.control.view;
    control.setInt32(CMSGHDR.level, SOL.SOCKET, true);
    control.setInt32(CMSGHDR.type, SCM.RIGHTS, true);
  }

  /**
   * Send the first `sizeBytes` of the buffer with `fds`; returns how many bytes went, or WOULD_BLOCK. If any went, so
   * did the fds.
   * @throws SysError EPIPE, ECONNRESET the other end is gone; EBADF one of `fds` is not open; ETOOMANYREFS too many fds
   *   are travelling unread; EINVAL more than 253
   */
  send(socketFd: number, sizeBytes: number, fds: readonly number[]): number {
    const view = this.#header.memory.view;
    const count = fds.length;
    if (count > SCM_MAX_FD) throw new SysError('sendmsg', ERRNO.EINVAL);
    view.setUint32(MSGHDR.sizeBytes + IOVEC.len, sizeBytes, true);
    if (count > 0) {
      const control = this.#header.control.view;
      control.setUint32(CMSGHDR.len, CMSGHDR.data + 4 * count, true);
      for (let index = 0; index < count; index += 1) control.setInt32(CMSGHDR.data + 4 * index, fds[index]!, true);
    }
    const length = count === 0 ? 0 : (CMSGHDR.data + 4 * count + CMSGHDR.align - 1) & -CMSGHDR.align;
    view.setUint32(MSGHDR.controllen, length, true);
    for (;;) {
      const sent = sendmsg(socketFd, this.#header.address, MSG.NOSIGNAL | MSG.DONTWAIT);
      if (sent >= 0) return sent;
      const errno = readErrno();
      if (errno === ERRNO.EAGAIN) return WOULD_BLOCK;
      if (errno !== ERRNO.EINTR) throw new SysError('sendmsg', errno);
    }
  }
}

/** Receives into one fixed buffer; its content is valid until the next receive. */
export class MessageReceiver {
  readonly capacity: number;
  readonly buffer: Buffer;
  /** The fds of the last receive, owned by the caller. The array stays as it is: the next receive has another. */
  fds: readonly number[] = noFds;
  /** Fds of the last receive were lost: this process is out of descriptors, or the message had more than fit. */
  truncated = false;
  readonly #data: NativeMemory;
  readonly #header: MessageHeader;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.#data = new NativeMemory(capacity);
    this.buffer = this.#data.buffer;
    this.#header = new MessageHeader(this.#data.address);
    this.#header.memory.view.setUint32(MSGHDR.sizeBytes + IOVEC.len, capacity, true);
  }

  /** Receive what is there; returns the count of bytes, 0 at the end of the stream, or WOULD_BLOCK. @throws SysError ECONNRESET */
  receive(socketFd: number): number {
    const view = this.#header.memory.view;
    this.fds = noFds;
    this.truncated = false;
    for (;;) {
      view.setUint32(MSGHDR.controllen, controlRoom, true);
      const received = recvmsg(socketFd, this.#header.address, MSG.CMSG_CLOEXEC | MSG.DONTWAIT);
      if (received >= 0) {
        if (view.getUint32(MSGHDR.controllen, true) > 0) this.#takeFds(view.getUint32(MSGHDR.controllen, true));
        this.truncated = (view.getInt32(MSGHDR.flags, true) & MSG.CTRUNC) !== 0;
        return received;
      }
      const errno = readErrno();
      if (errno === ERRNO.EAGAIN) return WOULD_BLOCK;
      if (errno !== ERRNO.EINTR) throw new SysError('recvmsg', errno);
    }
  }

  #takeFds(length: number): void {
    const control = this.#header.control.view;
    for (let offset = 0; offset + CMSGHDR.sizeBytes <= length;) {
      const size = control.getUint32(offset + CMSGHDR.len, true);
      if (size < CMSGHDR.sizeBytes) return;
      const isRights =
        control.getInt32(offset + CMSGHDR.level, true) === SOL.SOCKET &&
        control.getInt32(offset + CMSGHDR.type, true) === SCM.RIGHTS;
      if (isRights) {
        // Of the size that it will have: one that grows is copied again and again.
        const fds = new Array<number>(Math.max(0, (size - CMSGHDR.data) >> 2));
        for (let index = 0; index < fds.length; index += 1) {
          fds[index] = control.getInt32(offset + CMSGHDR.data + 4 * index, true);
        }
        this.fds = this.fds.length === 0 ? fds : [...this.fds, ...fds];
      }
      offset += (size + CMSGHDR.align - 1) & -CMSGHDR.align;
    }
  }
}

/** Send bytes without fds; returns how many went, or WOULD_BLOCK. @throws SysError EPIPE, ECONNRESET, EBADF */
export function sendBytes(socketFd: number, data: Uint8Array, sizeBytes: number = data.byteLength): number {
  for (;;) {
    const sent = send(socketFd, data, sizeBytes, MSG.NOSIGNAL | MSG.DONTWAIT);
    if (sent >= 0) return sent;
    const errno = readErrno();
    if (errno === ERRNO.EAGAIN) return WOULD_BLOCK;
    if (errno !== ERRNO.EINTR) throw new SysError('send', errno);
  }
}
