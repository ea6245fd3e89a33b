/**
 * stat(2), statx(2), access(2), readlink(2) and their kin, of the device and of the files that programs have of it: what
 * strict mode makes the path look like. The node is the kernel's, a character device of root with mode 0600, but for the
 * right to use it: whoever is under the emulator may.
 *
 * Unhappy path: what names another file goes on to the real kernel, as does a call that it would refuse for itself.
 * @source fs/stat.c, fs/open.c, fs/anon_inodes.c; include/uapi/linux/stat.h, arch headers of struct stat (Linux 7.3)
 */
import { statSync } from 'node:fs';
import { AT } from '../../abi/linux.js';
import { epollCreate, fstat } from '../../sys/index.js';
import { DONE, NATIVE, NONE, errno, value, type Answer, type Call } from './call.js';
import { objectOf } from './ioctl.js';
import type { Machine } from './machine.js';
import type { EmulatedObject } from './objects.js';
import { DEVICE_PATH, lookUp } from './path.js';

const AT_FDCWD = -100;
const AT_SYMLINK_NOFOLLOW = 0x100;
const ACCESS = { EXECUTE: 1, WRITE: 2, READ: 4 } as const;
const TYPE_CHARACTER = 0o020000;
const MISC_MAJOR = 10;
/** Numbers of devices that ask for any are given out from 255 on downwards. @source drivers/char/misc.c */
const DEVICE_MINOR = 261;
const BLOCK_BYTES = 4096;

/** As `stat` shows it. */
interface Attributes {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly mode: number;
  readonly rdev: number;
  readonly seconds: bigint;
}

/** Of struct stat: where a field lies. The two architectures differ in the order of mode and count of links. */
const LAYOUTS = {
  x64: { sizeBytes: 144, nlink: 16, nlinkBytes: 8, mode: 24, rdev: 40, blksize: 56, times: 72 },
  arm64: { sizeBytes: 128, nlink: 20, nlinkBytes: 4, mode: 16, rdev: 32, blksize: 56, times: 72 },
} as const;

const STATX = {
  sizeBytes: 256,
  mask: 0,
  blksize: 4,
  nlink: 16,
  mode: 28,
  ino: 32,
  times: [64, 80, 96, 112],
  rdevMajor: 128,
  rdevMinor: 132,
  devMajor: 136,
  devMinor: 140,
} as const;
/** Type, mode, links, owner, times, inode, size, blocks; no time of birth. */
const STATX_BASIC = 0x7ff;

const node = statSync('/dev', { bigint: true });

/** All anonymous files are one inode, of no type. */
const anonymous = ((): { dev: bigint; ino: bigint } => {
  using file = epollCreate();
  return fstat(file.fd);
})();

/** What a call is about. */
type Subject = 'device' | EmulatedObject;
/** A path that goes on behind the device. */
type Folder = 'folder';

export function answerAttributes(machine: Machine, call: Call): Answer {
  const request = requestOf(call);
  if (request === undefined) return NATIVE;
  const subject = subjectOf(machine, call, request);
  if (subject === undefined) return NATIVE;
  if (!call.isValid) return NONE;
  if (subject === 'folder') return errno('ENOTDIR');
  if (request.kind === 'access') return access(request.mode);
  if (request.kind === 'readlink') return readlink(machine, call, request, subject);
  const bytes = request.kind === 'statx' ? statx(attributesOf(subject)) : stat(attributesOf(subject));
  return call.target.poke(request.address, bytes) ? DONE : errno('EFAULT');
}

interface Request {
  readonly kind: 'stat' | 'statx' | 'access' | 'readlink';
  readonly dirfd: number;
  /** null: the descriptor itself. */
  readonly path: bigint | null;
  readonly follow: boolean;
  /** Of the answer. */
  readonly address: bigint;
  /** Asked for by access(2), or the room for a link's text. */
  readonly mode: number;
}

function requestOf(call: Call): Request | undefined {
  const at = { dirfd: AT_FDCWD, path: call.long(0), follow: true, mode: call.int(1), address: call.long(1) };
  switch (call.name) {
    case 'stat':
      return { ...at, kind: 'stat' };
    case 'lstat':
      return { ...at, kind: 'stat', follow: false };
    case 'fstat':
      return { ...at, kind: 'stat', dirfd: call.int(0), path: null };
    case 'newfstatat':
      return withFlags(call, { kind: 'stat', flags: call.int(3), address: call.long(2), mode: 0 });
    case 'statx':
      return withFlags(call, { kind: 'statx', flags: call.int(2), address: call.long(4), mode: 0 });
    case 'access':
      return { ...at, kind: 'access' };
    case 'faccessat':
      return withFlags(call, { kind: 'access', flags: 0, address: 0n, mode: call.int(2) });
    case 'faccessat2':
      return withFlags(call, { kind: 'access', flags: call.int(3), address: 0n, mode: call.int(2) });
    case 'readlink':
      return { ...at, kind: 'readlink', follow: false, mode: call.int(2) };
    case 'readlinkat':
      return {
        ...at,
        kind: 'readlink',
        dirfd: call.int(0),
        path: call.long(1),
        follow: false,
        address: call.long(2),
        mode: call.int(3),
      };
    default:
      return undefined;
  }
}

function withFlags(
  call: Call,
  asked: { kind: Request['kind']; flags: number; address: bigint; mode: number },
): Request | undefined {
  const { kind, flags, address, mode } = asked;
  const dirfd = call.int(0);
  const path = call.long(1);
  const follow = (flags & AT_SYMLINK_NOFOLLOW) === 0;
  if ((flags & AT.EMPTY_PATH) === 0) return { kind, dirfd, path, follow, address, mode };
  // Since Linux 6.11 a null pointer is an empty path too.
  const text = path === 0n ? { text: '' } : call.target.text(path);
  if (!('text' in text)) return undefined;
  return { kind, dirfd, path: text.text === '' ? null : path, follow, address, mode };
}

function subjectOf(machine: Machine, call: Call, request: Request): Subject | Folder | undefined {
  if (request.path === null) return objectOf(machine, call, request.dirfd);
  const path = call.target.text(request.path);
  if (!('text' in path)) return undefined;
  const named = lookUp(call.target, {
    dirfd: request.dirfd,
    path: path.text,
    follow: request.follow,
    openLinks: request.kind === 'readlink',
  });
  if (named.kind === 'device') return named.asFolder ? 'folder' : 'device';
  return named.kind === 'open' ? machine.objects.find(named.link) : undefined;
}

function access(mode: number): Answer {
  if ((mode & ~(ACCESS.EXECUTE | ACCESS.WRITE | ACCESS.READ)) !== 0) return NATIVE;
  return (mode & ACCESS.EXECUTE) === 0 ? DONE : errno('EACCES');
}

function readlink(machine: Machine, call: Call, request: Request, subject: Subject): Answer {
  if (subject === 'device' || request.path === null) return errno('EINVAL');
  if (request.mode <= 0) return errno('EINVAL');
  const session = subject.session === null ? null : machine.sessions.session(subject.session);
  const text = session === null || session === undefined ? DEVICE_PATH : `anon_inode:[luo_session] ${session.name}`;
  const bytes = Buffer.from(text, 'latin1').subarray(0, request.mode);
  return call.target.poke(request.address, bytes) ? value(bytes.length) : errno('EFAULT');
}

function attributesOf(subject: Subject): Attributes {
  const seconds = node.ctimeMs / 1000n;
  if (subject === 'device' || subject.session === null) {
    const rdev = MISC_MAJOR * 256 + (DEVICE_MINOR & 0xff) + ((DEVICE_MINOR & ~0xff) << 12);
    return { dev: node.dev, ino: node.ino + 1n, mode: TYPE_CHARACTER | 0o600, rdev, seconds };
  }
  return { ...anonymous, mode: 0o600, rdev: 0, seconds };
}

function stat({ dev, ino, mode, rdev, seconds }: Attributes): Uint8Array {
  const layout = LAYOUTS[process.arch as keyof typeof LAYOUTS];
  const bytes = Buffer.alloc(layout.sizeBytes);
  bytes.writeBigUInt64LE(dev, 0);
  bytes.writeBigUInt64LE(ino, 8);
  bytes.writeUInt32LE(1, layout.nlink);
  bytes.writeUInt32LE(mode, layout.mode);
  bytes.writeBigUInt64LE(BigInt(rdev), layout.rdev);
  bytes.writeUInt32LE(BLOCK_BYTES, layout.blksize);
  for (let time = 0; time < 3; time += 1) bytes.writeBigInt64LE(seconds, layout.times + 16 * time);
  return bytes;
}

function statx({ dev, ino, mode, rdev, seconds }: Attributes): Uint8Array {
  const bytes = Buffer.alloc(STATX.sizeBytes);
  bytes.writeUInt32LE(STATX_BASIC, STATX.mask);
  bytes.writeUInt32LE(BLOCK_BYTES, STATX.blksize);
  bytes.writeUInt32LE(1, STATX.nlink);
  bytes.writeUInt16LE(mode, STATX.mode);
  bytes.writeBigUInt64LE(ino, STATX.ino);
  for (const at of STATX.times) if (at !== STATX.times[1]) bytes.writeBigInt64LE(seconds, at);
  bytes.writeUInt32LE((rdev >> 8) & 0xfff, STATX.rdevMajor);
  bytes.writeUInt32LE((rdev & 0xff) | ((rdev >>> 12) & 0xfff00), STATX.rdevMinor);
  bytes.writeUInt32LE(Number((dev >> 8n) & 0xfffn), STATX.devMajor);
  bytes.writeUInt32LE(Number(dev & 0xffn), STATX.devMinor);
  return bytes;
}
