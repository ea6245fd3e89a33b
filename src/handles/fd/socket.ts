/** Sockets: `listener` accepts connections, `socket` is any other. */
import { SO, SOL } from '../../abi/linux.js';
import type { FdDescription } from '../../ports/index.js';
import { getSocketOption, getsockname, SysError, type SocketName } from '../../sys/index.js';
import { GOES_OVER, isType, noHandler, type FdFacts } from './facts.js';

export function describeSocket(facts: FdFacts): FdDescription | null {
  if (!isType(facts, 'socket')) return null;
  const listening = option(facts.fd, SO.ACCEPTCONN) === 1;
  const kexec = noHandler(
    'sockets',
    listening
      ? 'the next kernel has to listen anew; what waits to be accepted is lost'
      : 'its peer sees the connection end',
  );
  return {
    type: listening ? 'listener' : 'socket',
    sizeBytes: null,
    label: label(facts),
    viable: { handover: GOES_OVER, kexec },
  };
}

function label(facts: FdFacts): string {
  let name: SocketName;
  try {
    name = getsockname(facts.fd);
  } catch (error) {
    if (error instanceof SysError) return facts.link;
    throw error;
  }
  switch (name.family) {
    case 'ipv4':
      return `${name.address}:${name.port}`;
    case 'ipv6':
      return `[${name.address}]:${name.port}`;
    case 'unix':
      return name.path === '' ? 'unix socket without a name' : `unix socket ${name.path}`;
    case 'other':
      return `socket of family ${name.number}`;
  }
}

/** null: this kind of socket has no such option. */
function option(fd: number, name: number): number | null {
  try {
    return getSocketOption(fd, SOL.SOCKET, name);
  } catch (error) {
    if (error instanceof SysError) return null;
    throw error;
  }
}
