/** Connecting to a luod or a keeper by the path of its socket. */
import { LuoError } from '../base/errors.js';
import { isSysError, unixConnect } from '../sys/index.js';
import { Peer, type PeerOptions } from './peer.js';
import { sleep } from './sleep.js';

export interface ConnectOptions extends PeerOptions {
  /** Try again while nobody is there, for so long; default 0: one try. */
  readonly waitMs?: number;
  readonly signal?: AbortSignal;
}

/** A peer at `path`. @throws LuoError LUOD_UNREACHABLE nobody answers there; AUTH_DENIED; SysError; or the reason of `signal` */
export async function connectPeer(path: string, options: ConnectOptions = {}): Promise<Peer> {
  const end = performance.now() + (options.waitMs ?? 0);
  for (let pauseMs = 1; ; pauseMs = Math.min(50, pauseMs * 2)) {
    options.signal?.throwIfAborted();
    try {
      return new Peer(unixConnect(path), options);
    } catch (error) {
      if (isSysError(error, 'EACCES') || isSysError(error, 'EPERM')) {
        throw new LuoError('AUTH_DENIED', `no right to connect to '${path}'`, { cause: error });
      }
      const absent = ['ENOENT', 'ECONNREFUSED', 'EAGAIN'].some((name) => isSysError(error, name));
      if (!absent) throw error;
      if (performance.now() >= end) {
        throw new LuoError('LUOD_UNREACHABLE', `nobody answers at '${path}'`, { cause: error });
      }
    }
    await sleep(pauseMs, options.signal);
  }
}
