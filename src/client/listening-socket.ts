/**
 * Listening sockets made by hand, so that their descriptor can be given to luod and outlive the program. A server that
 * names no host listens on every address, IPv6 and IPv4, as Node's own servers do.
 */
import { lookup } from 'node:dns/promises';
import { unlinkSync } from 'node:fs';
import { isIP } from 'node:net';
import { SO, SOL } from '../abi/index.js';
import { getSocketOption, isSysError, tcpListen, unixConnect, unixListen, type OwnedFd } from '../sys/index.js';
import type { ListenOptions } from './types.js';

/** Connections that may wait to be accepted, as Node has it. */
export const DEFAULT_BACKLOG = 511;

/** Is it a listening socket? False for whatever is no socket at all. @throws SysError EBADF */
export function isListening(fd: number): boolean {
  try {
    return getSocketOption(fd, SOL.SOCKET, SO.ACCEPTCONN) === 1;
  } catch (error) {
    if (isSysError(error, 'ENOTSOCK')) return false;
    throw error;
  }
}

/** A listening socket of our own. @throws SysError EADDRINUSE, EACCES, EADDRNOTAVAIL */
export async function makeListening(options: ListenOptions): Promise<OwnedFd> {
  const backlog = options.backlog ?? DEFAULT_BACKLOG;
  if (options.path !== undefined) return listenAtPath(options.path, backlog);
  const port = options.port ?? 0;
  if (options.host !== undefined) {
    const address = isIP(options.host) === 0 ? (await lookup(options.host)).address : options.host;
    return tcpListen({ port, address, backlog });
  }
  try {
    return tcpListen({ port, address: '::', backlog });
  } catch (error) {
    // A machine without IPv6.
    if (!isSysError(error, 'EAFNOSUPPORT') && !isSysError(error, 'EADDRNOTAVAIL')) throw error;
    return tcpListen({ port, address: '0.0.0.0', backlog });
  }
}

/** A socket file that nobody listens at is what a crash left, and is replaced. */
function listenAtPath(path: string, backlog: number): OwnedFd {
  try {
    return unixListen(path, backlog);
  } catch (error) {
    if (!isSysError(error, 'EADDRINUSE')) throw error;
    try {
      unixConnect(path).close();
    } catch (refused) {
      if (!isSysError(refused, 'ECONNREFUSED')) throw error;
      unlinkSync(path);
      return unixListen(path, backlog);
    }
    throw error;
  }
}
