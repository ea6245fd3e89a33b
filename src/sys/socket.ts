/**
 * Calls on any socket: pairs, options, credentials, shutdown. Numbers are borrowed, results are owned.
 */
import { AF, SHUT, SO, SOCK, SOL } from '../abi/linux.js';
import { UCRED } from '../abi/structs.js';
import * as libc from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { check } from './sys-error.js';

/** Who made the other end of a unix socket, as the kernel saw it at that moment. */
export interface Credentials {
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

const value = Buffer.alloc(128);
const size = Buffer.alloc(4);

/**
 * Two connected unix sockets, close-on-exec and non-blocking.
 * @param type SOCK.STREAM (default) or SOCK.SEQPACKET
 * @throws SysError EMFILE, ENFILE, EPROTONOSUPPORT
 */
export function socketpair(type: number = SOCK.STREAM): [OwnedFd, OwnedFd] {
  check(libc.socketpair(AF.UNIX, type | SOCK.CLOEXEC | SOCK.NONBLOCK, 0, value), 'socketpair');
  return [new OwnedFd(value.readInt32LE(0)), new OwnedFd(value.readInt32LE(4))];
}

/** A socket of a family and type, close-on-exec and non-blocking. @throws SysError EAFNOSUPPORT, EMFILE */
export function socket(family: number, type: number): OwnedFd {
  return new OwnedFd(check(libc.socket(family, type | SOCK.CLOEXEC | SOCK.NONBLOCK, 0), 'socket'));
}

/** An option whose value is an int. @throws SysError ENOTSOCK, ENOPROTOOPT, EBADF */
export function getSocketOption(fd: number, level: number, option: number): number {
  size.writeInt32LE(4, 0);
  check(libc.getsockopt(fd, level, option, value, size), 'getsockopt');
  return value.readInt32LE(0);
}

/** Set an option whose value is an int. @throws SysError ENOTSOCK, ENOPROTOOPT, EINVAL, EBADF */
export function setSocketOption(fd: number, level: number, option: number, next: number): void {
  value.writeInt32LE(next, 0);
  check(libc.setsockopt(fd, level, option, value, 4), 'setsockopt');
}

/** Bytes that may wait in the kernel for the other end; the kernel doubles what is asked. @throws SysError ENOTSOCK */
export function setSendBuffer(fd: number, bytes: number): void {
  setSocketOption(fd, SOL.SOCKET, SO.SNDBUF, bytes);
}

/** Who connected, or made the pair. @throws SysError ENOTSOCK, ENOPROTOOPT not a unix socket */
export function getPeerCredentials(fd: number): Credentials {
  size.writeInt32LE(UCRED.sizeBytes, 0);
  check(libc.getsockopt(fd, SOL.SOCKET, SO.PEERCRED, value, size), 'getsockopt(SO_PEERCRED)');
  return {
    pid: value.readInt32LE(UCRED.pid),
    uid: value.readUInt32LE(UCRED.uid),
    gid: value.readUInt32LE(UCRED.gid),
  };
}

/** End one or both directions for every holder of the socket. @throws SysError ENOTCONN, ENOTSOCK */
export function shutdown(fd: number, how: number = SHUT.RDWR): void {
  check(libc.shutdown(fd, how), 'shutdown');
}
