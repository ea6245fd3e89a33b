/**
 * Listening TCP sockets made by hand, so that their descriptor can be kept, duplicated and handed over. Node's own servers
 * can listen on a duplicate.
 * @source include/uapi/linux/in.h, in6.h
 */
import { isIP } from 'node:net';
import { AF, IPV6, SO, SOCK, SOL } from '../abi/linux.js';
import { SOCKADDR_IN, SOCKADDR_IN6, SOCKADDR_UN } from '../abi/structs.js';
import * as libc from './libc.js';
import type { OwnedFd } from './owned-fd.js';
import { setSocketOption, socket } from './socket.js';
import { SysError, check } from './sys-error.js';
import { ERRNO } from '../abi/errno.js';

export interface TcpListenOptions {
  /** 0: the kernel chooses. */
  readonly port: number;
  /** An IP address, no name. */
  readonly address: string;
  readonly backlog?: number;
  readonly reusePort?: boolean;
  /** An IPv6 socket that takes no IPv4. */
  readonly ipv6Only?: boolean;
}

/** A socket's own address: IP address and port, or a path (empty: unnamed) of a unix socket. */
export type SocketName =
  | { readonly family: 'ipv4' | 'ipv6'; readonly address: string; readonly port: number }
  | { readonly family: 'unix'; readonly path: string }
  | { readonly family: 'other'; readonly number: number };

/** Listen on an IP address, with SO_REUSEADDR. @throws SysError EADDRINUSE, EACCES, EADDRNOTAVAIL; EINVAL no IP address */
export function tcpListen(options: TcpListenOptions): OwnedFd {
  const version = isIP(options.address);
  if (version === 0) throw new SysError('bind', ERRNO.EINVAL, options.address);
  const fd = socket(version === 4 ? AF.INET : AF.INET6, SOCK.STREAM);
  try {
    setSocketOption(fd.fd, SOL.SOCKET, SO.REUSEADDR, 1);
    if (options.reusePort === true) setSocketOption(fd.fd, SOL.SOCKET, SO.REUSEPORT, 1);
    if (version === 6) setSocketOption(fd.fd, SOL.IPV6, IPV6.V6ONLY, options.ipv6Only === true ? 1 : 0);
    const address = version === 4 ? ipv4Address(options) : ipv6Address(options);
    check(libc.bindSocket(fd.fd, address, address.length), 'bind', `${options.address} port ${options.port}`);
    check(libc.listen(fd.fd, options.backlog ?? 511), 'listen');
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** The address that `fd` (borrowed) is bound to. @throws SysError ENOTSOCK, EBADF */
export function getsockname(fd: number): SocketName {
  const address = Buffer.alloc(128);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(address.length, 0);
  check(libc.getsockname(fd, address, size), 'getsockname');
  const family = address.readUInt16LE(0);
  const length = size.readUInt32LE(0);
  if (family === AF.INET) {
    const bytes = address.subarray(SOCKADDR_IN.address, SOCKADDR_IN.address + 4);
    return { family: 'ipv4', address: bytes.join('.'), port: address.readUInt16BE(SOCKADDR_IN.port) };
  }
  if (family === AF.INET6) {
    const port = address.readUInt16BE(SOCKADDR_IN6.port);
    return {
      family: 'ipv6',
      address: ipv6Text(address.subarray(SOCKADDR_IN6.address, SOCKADDR_IN6.address + 16)),
      port,
    };
  }
  if (family === AF.UNIX) {
    const path = address.subarray(SOCKADDR_UN.path, Math.max(SOCKADDR_UN.path, length)).toString();
    // An abstract name begins with a zero byte and is shown with @; a path ends with one.
    return { family: 'unix', path: path.startsWith('\0') ? `@${path.slice(1)}` : path.replace(/\0+$/, '') };
  }
  return { family: 'other', number: family };
}

function ipv4Address(options: TcpListenOptions): Buffer {
  const address = Buffer.alloc(SOCKADDR_IN.sizeBytes);
  address.writeUInt16LE(AF.INET, SOCKADDR_IN.family);
  address.writeUInt16BE(options.port, SOCKADDR_IN.port);
  options.address.split('.').forEach((part, index) => address.writeUInt8(Number(part), SOCKADDR_IN.address + index));
  return address;
}

function ipv6Address(options: TcpListenOptions): Buffer {
  const address = Buffer.alloc(SOCKADDR_IN6.sizeBytes);
  address.writeUInt16LE(AF.INET6, SOCKADDR_IN6.family);
  address.writeUInt16BE(options.port, SOCKADDR_IN6.port);
  ipv6Words(options.address).forEach((word, index) => address.writeUInt16BE(word, SOCKADDR_IN6.address + 2 * index));
  return address;
}

/** The eight words of a valid IPv6 address, `::` and a dotted tail spelled out. The URL parser normalises both. */
function ipv6Words(text: string): number[] {
  const normal = new URL(`http://[${text.split('%')[0]}]/`).hostname.slice(1, -1);
  const [head = '', tail] = normal.split('::');
  const words = (part: string): number[] => (part === '' ? [] : part.split(':').map((word) => parseInt(word, 16)));
  const before = words(head);
  const after = tail === undefined ? [] : words(tail);
  return [...before, ...new Array<number>(8 - before.length - after.length).fill(0), ...after];
}

function ipv6Text(bytes: Buffer): string {
  const words = Array.from({ length: 8 }, (_, index) => bytes.readUInt16BE(2 * index).toString(16));
  return new URL(`http://[${words.join(':')}]/`).hostname.slice(1, -1);
}
