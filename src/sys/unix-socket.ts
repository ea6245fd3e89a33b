/**
 * Unix sockets by path: listen, connect, accept. Everything is close-on-exec and non-blocking. A path longer than the
 * 107 bytes of a socket address is reached through a descriptor of its folder. A path that begins with a zero byte is an
 * abstract name: no file, gone with its listener, reachable for everybody in this network namespace.
 * @source include/uapi/linux/un.h, net/unix/af_unix.c
 */
import { basename, dirname } from 'node:path';
import { AF, O, SOCK } from '../abi/linux.js';
import { ERRNO } from '../abi/errno.js';
import { SOCKADDR_UN } from '../abi/structs.js';
import { openFile } from './file.js';
import * as libc from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { socket } from './socket.js';
import { SysError, check } from './sys-error.js';

/**
 * Listen at `path`, which must not exist.
 * @param type SOCK.STREAM (default) or SOCK.SEQPACKET
 * @throws SysError EADDRINUSE something is there; ENOENT no such folder; EACCES
 */
export function unixListen(path: string, backlog = 1024, type: number = SOCK.STREAM): OwnedFd {
  return withAddress(path, (address) => {
    const fd = socket(AF.UNIX, type);
    try {
      check(libc.bindSocket(fd.fd, address, address.length), 'bind', path);
      check(libc.listen(fd.fd, backlog), 'listen', path);
      return fd;
    } catch (error) {
      fd.close();
      throw error;
    }
  });
}

/**
 * Connect to the listener at `path`.
 * @throws SysError ECONNREFUSED nobody listens; ENOENT; EACCES; EAGAIN its backlog is full; EPROTOTYPE other type
 */
export function unixConnect(path: string, type: number = SOCK.STREAM): OwnedFd {
  return withAddress(path, (address) => {
    const fd = socket(AF.UNIX, type);
    try {
      check(libc.connect(fd.fd, address, address.length), 'connect', path);
      return fd;
    } catch (error) {
      fd.close();
      throw error;
    }
  });
}

/**
 * The next connection of listening socket `fd`, or undefined if none waits.
 * @throws SysError EMFILE, ENFILE, ENOBUFS, ENOMEM out of descriptors or memory: it stays in the backlog; EINVAL not listening
 */
export function accept(fd: number): OwnedFd | undefined {
  for (;;) {
    const accepted = libc.accept4(fd, null, null, SOCK.CLOEXEC | SOCK.NONBLOCK);
    if (accepted >= 0) return new OwnedFd(accepted);
    const errno = libc.readErrno();
    if (errno === ERRNO.EAGAIN) return undefined;
    // A connection that ended while it waited is no error of the listener.
    if (errno !== ERRNO.EINTR && errno !== ERRNO.ECONNABORTED) throw new SysError('accept4', errno);
  }
}

/** Call `use` with a socket address for `path`, however long the path is. */
export function withAddress<T>(path: string, use: (address: Buffer) => T): T {
  if (Buffer.byteLength(path) <= SOCKADDR_UN.pathBytesMax) return use(unixAddress(path));
  const name = basename(path);
  const folder = openFile(dirname(path), O.PATH | O.CLOEXEC);
  try {
    const short = `/proc/self/fd/${folder.fd}/${name}`;
    if (Buffer.byteLength(short) > SOCKADDR_UN.pathBytesMax) throw new SysError('bind', ERRNO.ENAMETOOLONG, path);
    return use(unixAddress(short));
  } finally {
    folder.close();
  }
}

function unixAddress(path: string): Buffer {
  const bytes = Buffer.from(path);
  const address = Buffer.alloc(SOCKADDR_UN.path + bytes.length + (path.startsWith('\0') ? 0 : 1));
  address.writeUInt16LE(AF.UNIX, SOCKADDR_UN.family);
  bytes.copy(address, SOCKADDR_UN.path);
  return address;
}
