/**
 * Unix datagram sockets by path, as NOTIFY_SOCKET is one. Close-on-exec and non-blocking. Received with MessageReceiver.
 * @source include/uapi/linux/un.h, net/unix/af_unix.c
 */
import { AF, SOCK } from '../abi/linux.js';
import { bindSocket, connect } from './libc.js';
import type { OwnedFd } from './owned-fd.js';
import { socket } from './socket.js';
import { check } from './sys-error.js';
import { withAddress } from './unix-socket.js';

/** A socket that receives at `path`, which must not exist. @throws SysError EADDRINUSE, ENOENT, EACCES */
export function datagramListen(path: string): OwnedFd {
  return withAddress(path, (address) => {
    const fd = socket(AF.UNIX, SOCK.DGRAM);
    try {
      check(bindSocket(fd.fd, address, address.length), 'bind', path);
      return fd;
    } catch (error) {
      fd.close();
      throw error;
    }
  });
}

/** A socket that sends to `path`. @throws SysError ECONNREFUSED nobody receives there; ENOENT; EACCES; EPROTOTYPE */
export function datagramConnect(path: string): OwnedFd {
  return withAddress(path, (address) => {
    const fd = socket(AF.UNIX, SOCK.DGRAM);
    try {
      check(connect(fd.fd, address, address.length), 'connect', path);
      return fd;
    } catch (error) {
      fd.close();
      throw error;
    }
  });
}
