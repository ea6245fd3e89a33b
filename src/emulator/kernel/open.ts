/**
 * open(2), openat(2), openat2(2) and creat(2) of the device and of machine-files.ts. Everything that names another file goes on to the real kernel.
 *
 * In the kernel's order: a free descriptor, the flags that no device can have, EBUSY, EIO, and after that what open(2) finds
 * out about the opened file.
 * Unhappy path: O_PATH cannot be emulated (an fd that opens nothing cannot be handed over), and is told in the notes.
 * @source fs/open.c, fs/namei.c; kernel/liveupdate/luo_core.c, luo_open (Linux 7.3)
 */
import { O, O_DIRECTORY } from '../../abi/linux.js';
import { isSysError, type OwnedFd } from '../../sys/index.js';
import { NATIVE, NONE, errno, type Answer, type Call } from './call.js';
import { answerMachineFile } from './machine-files.js';
import type { Machine } from './machine.js';
import type { EmulatedObject } from './objects.js';
import { lookUp, type Lookup } from './path.js';

const AT_FDCWD = -100;
const O_APPEND = 0o2000;
const O_DIRECT: Readonly<Record<string, number>> = { x64: 0o40000, arm64: 0o200000 };
const O_NOFOLLOW: Readonly<Record<string, number>> = { x64: 0o400000, arm64: 0o100000 };
/** The bit that O_TMPFILE has beyond O_DIRECTORY. */
const O_TMPFILE = 0o20000000;
const RESOLVE = { NO_XDEV: 1, NO_MAGICLINKS: 2, NO_SYMLINKS: 4, BENEATH: 8, IN_ROOT: 16, CACHED: 32 } as const;
const OPEN_HOW_BYTES = 24;

interface OpenRequest {
  readonly lookup: Lookup;
  readonly flags: number;
}

/** True if the device is what is to be opened, or a file of it that a program has. */
export function opensDevice(machine: Machine, call: Call): boolean {
  const request = requestOf(call);
  const named = request === undefined ? undefined : lookUp(call.target, request.lookup);
  return named?.kind === 'device' || (named?.kind === 'open' && machine.objects.find(named.link) !== undefined);
}

export function answerOpen(machine: Machine, call: Call): Answer {
  const request = requestOf(call);
  if (request === undefined) return NATIVE;
  const { lookup, flags } = request;
  const machineFile = answerMachineFile(machine, call, lookup.path, flags);
  if (machineFile !== undefined) return machineFile;
  const named = lookUp(call.target, lookup);
  if (named.kind === 'other') return NATIVE;
  const object = named.kind === 'open' ? machine.objects.find(named.link) : undefined;
  if (named.kind === 'open' && object === undefined) return NATIVE;
  if (!call.isValid) return NONE;
  Object.assign(call.details, { path: Buffer.from(lookup.path, 'latin1').toString('utf8'), detail: flagsText(flags) });
  // Whatever is open can be named by its link once more, and the real kernel does that.
  if (object !== undefined && (flags & O.PATH) !== 0) return NATIVE;
  // By /proc/PID/fd a session cannot be opened again, the device can.
  if (object !== undefined && object.session !== null) return refused(call, 'ENXIO');
  if (named.kind === 'device' && named.asFolder) return refused(call, (flags & O.CREAT) !== 0 ? 'EISDIR' : 'ENOTDIR');
  return openDevice(machine, call, flags);
}

function openDevice(machine: Machine, call: Call, flags: number): Answer {
  const directory = O_DIRECTORY[process.arch] ?? 0;
  if ((flags & O.PATH) !== 0) {
    machine.options.note('O_PATH of the device cannot be emulated: the program is told that it does not exist', call);
    return refused(call, 'ENOENT');
  }
  if ((flags & O.CREAT) !== 0 && (flags & directory) !== 0) return refused(call, 'EINVAL');
  if ((flags & O.CREAT) !== 0 && (flags & O.EXCL) !== 0) return refused(call, 'EEXIST');
  if ((flags & (directory | O_TMPFILE)) !== 0) return refused(call, 'ENOTDIR');
  const would = machine.sessions.wouldAnswer({ op: 'openDevice' });
  if (!would.ok) return refused(call, would.errno);
  const fault = machine.fault(call, 'open');
  if (fault?.kind === 'errno' && fault.errno === 'EIO') machine.sessions.breakDown();
  if (fault !== undefined) return fault;
  // A character device that knows nothing of direct I/O: found out after its own open, which is undone.
  if ((flags & (O_DIRECT[process.arch] ?? 0)) !== 0) return refused(call, 'EINVAL');
  return giveDevice(machine, call, flags);
}

function giveDevice(machine: Machine, call: Call, flags: number): Answer {
  let made: { readonly object: EmulatedObject; readonly end: OwnedFd };
  try {
    made = machine.objects.make(null, flags & (O_APPEND | O.NONBLOCK));
  } catch (error) {
    if (isSysError(error, 'EMFILE') || isSysError(error, 'ENFILE')) return errno('ENFILE');
    throw error;
  }
  using end = made.end;
  machine.sessions.step({ op: 'openDevice' });
  try {
    const fd = call.reader.sendFd(call.id, end.fd, flags & O.CLOEXEC);
    if (fd !== undefined) return { kind: 'sent', fd };
    takeBack(machine, made.object);
    return NONE;
  } catch (error) {
    takeBack(machine, made.object);
    if (isSysError(error, 'EMFILE')) return errno('EMFILE');
    throw error;
  }
}

function takeBack(machine: Machine, object: EmulatedObject): void {
  machine.objects.forget(object);
  machine.sessions.step({ op: 'closeDevice' });
}

/** The kernel looks for a free descriptor before it looks for the file. */
function refused(call: Call, name: string): Answer {
  return errno(call.target.hasNoFreeFd() ? 'EMFILE' : name);
}

/** undefined: not to be understood here, so that the real kernel says what is wrong with it. */
function requestOf(call: Call): OpenRequest | undefined {
  switch (call.name) {
    case 'open':
      return plain(call, AT_FDCWD, 0, call.word(1));
    case 'creat':
      return plain(call, AT_FDCWD, 0, O.WRONLY | O.CREAT | O.TRUNC);
    case 'openat':
      return plain(call, call.int(0), 1, call.word(2));
    case 'openat2':
      return extended(call);
    default:
      return undefined;
  }
}

function plain(call: Call, dirfd: number, pathArgument: number, flags: number): OpenRequest | undefined {
  const path = call.target.text(call.long(pathArgument));
  if (!('text' in path)) return undefined;
  return { lookup: { dirfd, path: path.text, follow: follows(flags) }, flags };
}

function extended(call: Call): OpenRequest | undefined {
  if (call.long(3) < BigInt(OPEN_HOW_BYTES) || call.long(3) > 4096n) return undefined;
  const how = call.target.peek(call.long(2), Number(call.long(3)));
  if (how.length < Number(call.long(3)) || how.subarray(OPEN_HOW_BYTES).some((byte) => byte !== 0)) return undefined;
  const wide = how.readBigUInt64LE(0);
  const resolve = Number(how.readBigUInt64LE(16));
  if (wide >= 1n << 32n) return undefined;
  // Looked up under conditions that end before the device, which lies in a file system of its own and by an absolute path.
  if ((resolve & (RESOLVE.NO_XDEV | RESOLVE.BENEATH)) !== 0 || resolve >= 2 * RESOLVE.CACHED) return undefined;
  const path = call.target.text(call.long(1));
  if (!('text' in path)) return undefined;
  const flags = Number(wide);
  const lookup = {
    dirfd: call.int(0),
    path: path.text,
    follow: follows(flags),
    noLinks: (resolve & RESOLVE.NO_SYMLINKS) !== 0,
    noMagicLinks: (resolve & (RESOLVE.NO_SYMLINKS | RESOLVE.NO_MAGICLINKS)) !== 0,
    inRoot: (resolve & RESOLVE.IN_ROOT) !== 0,
  };
  return { lookup, flags };
}

/** With O_NOFOLLOW, and when the file has to be new, a link at the end is not followed. */
function follows(flags: number): boolean {
  const exclusive = (flags & O.CREAT) !== 0 && (flags & O.EXCL) !== 0;
  return (flags & (O_NOFOLLOW[process.arch] ?? 0)) === 0 && !exclusive;
}

function flagsText(flags: number): string {
  const access = ['O_RDONLY', 'O_WRONLY', 'O_RDWR', 'O_ACCMODE'][flags & O.ACCMODE]!;
  return `${access}|0x${(flags & ~O.ACCMODE).toString(16)}`;
}
