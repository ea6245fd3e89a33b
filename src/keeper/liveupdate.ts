/**
 * The keeper at the device: it opens /dev/liveupdate, makes or takes a session, keeps it, and closes the device at once, since
 * another agent may need it. At its own start in a new kernel it takes everything that the manifest names before luod is
 * started (`arrive`); nothing is parsed before the session is safe, and of the manifest only the head.
 *
 * The one loss that no program can prevent is the end of everybody who holds the sessions: the keeper's own death before luod runs (or
 * between the return of the call and its table), and later the death of keeper and luod together. Then the kernel finishes the sessions,
 * and nobody could tell that from a cold boot. So the keeper writes down that it takes something before it does (`DIR/arriving`, of
 * this boot), and the next one that finds nothing says what is lost (`ended`). luod removes the file when all is finished. Unhappy: a device that somebody else holds is tried again until the deadline; a table without
 * room refuses before the call, since what is taken from the kernel and not kept is lost.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { LuoError } from '../base/errors.js';
import type { ErrorCode } from '../base/errors.js';
import {
  ARRIVAL_ENTRY,
  ARRIVED_MANIFEST_ENTRY,
  ARRIVING_FILE,
  MANIFEST_SESSION,
  MANIFEST_TOKEN,
  readHead,
} from '../protocol/manifest.js';
import type { KeeperArrival } from '../protocol/manifest.js';
import {
  SysError,
  faultPoint,
  fstat,
  liveupdateCreateSession,
  liveupdateRetrieveSession,
  openLiveupdate,
  preadFully,
  sessionRetrieveFdNow,
} from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import type { Store } from './store.js';

/** The device, or what stands for it in tests. Each call is one system call. @throws SysError */
export interface LiveupdateDevice {
  open(): OwnedFd;
  create(device: number, name: string): OwnedFd;
  retrieve(device: number, name: string): OwnedFd;
  retrieveFd(session: number, token: bigint): OwnedFd;
}

export const kernelDevice: LiveupdateDevice = {
  open: () => openLiveupdate(),
  create: liveupdateCreateSession,
  retrieve: liveupdateRetrieveSession,
  retrieveFd: sessionRetrieveFdNow,
};

/** Owner of session fds in the table. */
const OWNER = 'luod';
export const OUTGOING_ENTRY = 'session/';
export const INCOMING_ENTRY = 'incoming/';
const OPEN_MS = 5_000;
const AGAIN_MS = 20;

/** Create a session, and keep it. @returns its fd, borrowed @throws LuoError */
export function createSession(
  store: Store,
  device: LiveupdateDevice,
  name: string,
  deadlineMs = OPEN_MS,
): Promise<number> {
  return withDevice(device, deadlineMs, (held) => {
    store.checkRoom(OWNER);
    const fd = called('create', name, () => device.create(held.fd, name));
    store.put(OWNER, [{ name: OUTGOING_ENTRY + name, fds: [fd] }], false);
    faultPoint('keeper.session.created');
    return fd.fd;
  });
}

/** Take a session of the last kernel, and keep it. @returns its fd, borrowed @throws LuoError */
export function retrieveSession(
  store: Store,
  device: LiveupdateDevice,
  name: string,
  deadlineMs = OPEN_MS,
): Promise<number> {
  return withDevice(device, deadlineMs, (held) => take(store, device, held, name).fd);
}

/** What a keeper has written down of what it takes. */
interface Arriving {
  readonly bootId: string;
  /** Names of sessions; null: it had not read them. */
  readonly sessions: readonly string[] | null;
}

/**
 * Everything that the last kernel left for luod. Never throws: what it found is in the entry `luod/arrival`.
 * @param dir luo's folder
 */
export async function arrive(
  store: Store,
  device: LiveupdateDevice,
  dir: string,
  deadlineMs = OPEN_MS,
): Promise<KeeperArrival> {
  const path = join(dir, ARRIVING_FILE);
  const bootId = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const earlier = readArriving(path, bootId);
  const write = (sessions: Arriving['sessions']): void =>
    writeFileSync(path, JSON.stringify({ bootId, sessions } satisfies Arriving), { mode: 0o600 });
  if (earlier === undefined) write(null);
  let found = await lookForArrival(store, device, deadlineMs);
  if (found.state === 'arrived') write(found.sessions.map(({ name }) => name));
  else if (found.state === 'cold' && earlier !== undefined) found = ended(earlier);
  else if (earlier === undefined) rmSync(path, { force: true });
  store.put(OWNER, [{ name: ARRIVAL_ENTRY, meta: found, fds: [] }], true);
  faultPoint('keeper.arrived');
  return found;
}

/** @returns what an earlier keeper of this boot has written down */
function readArriving(path: string, bootId: string): Arriving | undefined {
  try {
    const arriving = JSON.parse(readFileSync(path, 'utf8')) as Arriving;
    return arriving.bootId === bootId ? arriving : undefined;
  } catch {
    // There is none, or it was being written: then nothing had been taken.
    return undefined;
  }
}

/** It was here, and whoever held it has ended. */
function ended({ sessions }: Arriving): KeeperArrival {
  const message =
    sessions === null
      ? 'an earlier keeper of this kernel ended while it took what the last one left: if there was anything, it is gone'
      : `keeper and luod of this kernel ended while they held ${sessions.length + 1} sessions of the last one: what nobody had claimed by then is gone`;
  return { ...nothing('ended'), error: { code: 'ARRIVAL_LOST', message } };
}

async function lookForArrival(store: Store, device: LiveupdateDevice, deadlineMs: number): Promise<KeeperArrival> {
  try {
    return await withDevice(device, deadlineMs, (held) => takeAll(store, device, held));
  } catch (error) {
    const wire = LuoError.from(error);
    const states: Partial<Record<ErrorCode, KeeperArrival['state']>> = {
      LIVEUPDATE_MISSING: 'missing',
      LIVEUPDATE_HELD: 'held',
      LIVEUPDATE_BROKEN: 'broken',
    };
    return { ...nothing(states[wire.code] ?? 'broken'), error: brief(wire) };
  }
}

function takeAll(store: Store, device: LiveupdateDevice, held: OwnedFd): KeeperArrival {
  let luod: OwnedFd;
  try {
    luod = take(store, device, held, MANIFEST_SESSION);
  } catch (error) {
    const wire = LuoError.from(error);
    return wire.code === 'SESSION_MISSING' ? nothing('cold') : { ...nothing('broken'), error: brief(wire) };
  }
  let names: readonly string[];
  try {
    const manifest = device.retrieveFd(luod.fd, MANIFEST_TOKEN);
    store.put(OWNER, [{ name: ARRIVED_MANIFEST_ENTRY, fds: [manifest] }], true);
    faultPoint('keeper.manifest.retrieved');
    names = readHead(fstat(manifest.fd).sizeBytes, (offset, length) => {
      const bytes = new Uint8Array(length);
      preadFully(manifest.fd, bytes, offset);
      return bytes;
    }).names;
  } catch (error) {
    return { ...nothing('arrived'), headDamaged: true, error: brief(LuoError.from(error, 'MANIFEST_DAMAGED')) };
  }
  const sessions = names
    .filter((name) => name !== MANIFEST_SESSION)
    .map((name) => {
      try {
        take(store, device, held, name);
        return { name, ok: true };
      } catch (error) {
        const { code, errno } = LuoError.from(error);
        return { name, ok: false, code, ...(errno === undefined ? {} : { errno }) };
      }
    });
  return { state: 'arrived', sessions, headDamaged: false };
}

function take(store: Store, device: LiveupdateDevice, held: OwnedFd, name: string): OwnedFd {
  store.checkRoom(OWNER);
  const fd = called('retrieve', name, () => device.retrieve(held.fd, name));
  store.put(OWNER, [{ name: INCOMING_ENTRY + name, fds: [fd] }], false);
  faultPoint('keeper.session.retrieved');
  return fd;
}

/** Hold the device for as long as `work` takes, and no longer. @throws LuoError as {@link open} */
async function withDevice<T>(device: LiveupdateDevice, deadlineMs: number, work: (held: OwnedFd) => T): Promise<T> {
  const held = await open(device, deadlineMs);
  try {
    return work(held);
  } finally {
    held.close();
  }
}

/** @throws LuoError LIVEUPDATE_MISSING, LIVEUPDATE_HELD, LIVEUPDATE_BROKEN, SYS */
async function open(device: LiveupdateDevice, deadlineMs: number): Promise<OwnedFd> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    try {
      return device.open();
    } catch (error) {
      const errno = error instanceof SysError ? error.errnoName : '';
      if (errno === 'EBUSY' && performance.now() < end) {
        await sleep(AGAIN_MS);
        continue;
      }
      throw openError(error, errno, deadlineMs);
    }
  }
}

function openError(error: unknown, errno: string, deadlineMs: number): LuoError {
  switch (errno) {
    case 'EBUSY':
      return new LuoError('LIVEUPDATE_HELD', `somebody held /dev/liveupdate open for ${deadlineMs} ms`, {
        cause: error,
        remedy: 'end that program: fuser /dev/liveupdate names it',
      });
    case 'EIO':
      return new LuoError('LIVEUPDATE_BROKEN', 'the kernel cannot read what the last one left for it', {
        cause: error,
        remedy: 'only a reboot helps: every open of /dev/liveupdate fails until then',
      });
    case 'ENOENT':
    case 'ENXIO':
    case 'ENODEV':
      return new LuoError('LIVEUPDATE_MISSING', 'this kernel has no /dev/liveupdate', {
        cause: error,
        remedy: 'boot one with CONFIG_LIVEUPDATE, and liveupdate=on on its command line',
      });
    default:
      return LuoError.from(error, 'SYS');
  }
}

function called(what: 'create' | 'retrieve', name: string, call: () => OwnedFd): OwnedFd {
  try {
    return call();
  } catch (error) {
    const errno = error instanceof SysError ? error.errnoName : 'EINVAL';
    if (what === 'retrieve' && errno === 'ENOENT') {
      throw new LuoError('SESSION_MISSING', `the last kernel left no session '${name}'`, {
        cause: error,
        remedy:
          'it was not preserved, this kernel was booted cold, or the name is another one: the kernel does not tell',
      });
    }
    if (what === 'retrieve' && errno === 'EINVAL') {
      throw new LuoError('SESSION_TAKEN', `the session '${name}' of the last kernel was taken by somebody else`, {
        cause: error,
        remedy: 'only one program can take it, once: find out which one did',
      });
    }
    throw new LuoError('SYS', `the session '${name}' cannot be ${what}d: ${errno}`, { cause: error, errno });
  }
}

function nothing(state: KeeperArrival['state']): KeeperArrival {
  return { state, sessions: [], headDamaged: false };
}

function brief({ code, message, errno }: LuoError): NonNullable<KeeperArrival['error']> {
  return { code, message, ...(errno === undefined ? {} : { errno }) };
}
