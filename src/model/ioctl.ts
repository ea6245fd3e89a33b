/**
 * The checks that every ioctl of the device and of a session goes through before its handler runs, in the kernel's
 * order: number, size word readable, command word, direction, size too small, tail not zero. And the table they use.
 *
 * Never here: memory of a process. `read` is asked for bytes and says undefined where the process has none.
 * @source kernel/liveupdate/luo_core.c and luo_session.c, IOCTL_OP tables; copy_struct_from_user of Linux 7.3
 */
import { NAME_FIELD_BYTES, nameFromField, nameToField } from './names.js';
import type { Direction, Errno } from './state.js';

/** _IOC_TYPE of all of them. Commands are _IO(0xBA, nr): no size and no direction in the word. */
export const LUO_IOCTL_TYPE = 0xba;

export type IoctlNode = 'device' | 'session';
export type IoctlName = 'createSession' | 'retrieveSession' | 'preserveFd' | 'retrieveFd' | 'finish' | 'getName';

export interface IoctlRow {
  readonly name: IoctlName;
  readonly node: IoctlNode;
  readonly nr: number;
  /** Bytes of the struct that this version knows. */
  readonly sizeBytes: number;
  /** Bytes below which it is refused. */
  readonly minBytes: number;
  /** Of the session; null: both. */
  readonly direction: Direction | null;
}

export const IOCTLS: readonly IoctlRow[] = [
  { name: 'createSession', node: 'device', nr: 0x00, sizeBytes: 72, minBytes: 72, direction: null },
  { name: 'retrieveSession', node: 'device', nr: 0x01, sizeBytes: 72, minBytes: 72, direction: null },
  { name: 'preserveFd', node: 'session', nr: 0x40, sizeBytes: 16, minBytes: 16, direction: 'outgoing' },
  { name: 'retrieveFd', node: 'session', nr: 0x41, sizeBytes: 16, minBytes: 16, direction: 'incoming' },
  { name: 'finish', node: 'session', nr: 0x42, sizeBytes: 8, minBytes: 8, direction: 'incoming' },
  { name: 'getName', node: 'session', nr: 0x43, sizeBytes: 72, minBytes: 72, direction: null },
];

/** The command word of `name`. */
export function ioctlCommand(name: IoctlName): number {
  return (LUO_IOCTL_TYPE << 8) | IOCTLS.find((row) => row.name === name)!.nr;
}

/** Bytes of the caller's struct at `offset`; undefined: not mapped there. */
export type ReadUser = (offset: number, length: number) => Uint8Array | undefined;

export type Checked =
  | { readonly ok: false; readonly errno: Errno }
  | {
      readonly ok: true;
      readonly row: IoctlRow;
      /** The struct as this version knows it; what the caller did not give is not here, `minBytes` are. */
      readonly bytes: Uint8Array;
      /** How many bytes of the answer are written back: the smaller of the two sizes. */
      readonly replyBytes: number;
    };

/** @param direction of the session; null for the device */
export function checkIoctl(node: IoctlNode, command: number, direction: Direction | null, read: ReadUser): Checked {
  // The number alone finds the row: a foreign type with a known number is told ENOTTY further down, not EINVAL.
  const row = IOCTLS.find((each) => each.node === node && each.nr === (command & 0xff));
  if (row === undefined) return { ok: false, errno: 'EINVAL' };
  const sizeWord = read(0, 4);
  if (sizeWord === undefined) return { ok: false, errno: 'EFAULT' };
  const userBytes = view(sizeWord).getUint32(0, true);
  if (command >>> 0 !== ioctlCommand(row.name)) return { ok: false, errno: 'ENOTTY' };
  if (row.direction !== null && row.direction !== direction) return { ok: false, errno: 'EINVAL' };
  if (userBytes < row.minBytes) return { ok: false, errno: 'EINVAL' };
  if (userBytes > row.sizeBytes) {
    const errno = tailErrno(row.sizeBytes, userBytes, read);
    if (errno !== null) return { ok: false, errno };
  }
  const known = Math.min(userBytes, row.sizeBytes);
  const bytes = read(0, known);
  if (bytes === undefined) return { ok: false, errno: 'EFAULT' };
  return { ok: true, row, bytes, replyBytes: known };
}

/**
 * In pieces, so that a caller who claims 4 GiB costs no more than what it has before its first byte that is not zero. A piece
 * that is not all there is looked at by the byte: whatever comes first, a byte that is not zero or none at all, decides.
 */
function tailErrno(from: number, to: number, read: ReadUser): Errno | null {
  const pieceBytes = 4096;
  for (let offset = from; offset < to; offset += pieceBytes) {
    const end = Math.min(offset + pieceBytes, to);
    const piece = read(offset, end - offset);
    if (piece === undefined) return tornErrno(offset, end, read);
    if (piece.some((byte) => byte !== 0)) return 'E2BIG';
  }
  return null;
}

function tornErrno(from: number, to: number, read: ReadUser): Errno {
  for (let offset = from; offset < to; offset += 1) {
    const byte = read(offset, 1);
    if (byte === undefined) return 'EFAULT';
    if (byte[0] !== 0) return 'E2BIG';
  }
  return 'EFAULT';
}

/** `struct liveupdate_ioctl_{create,retrieve}_session` { u32 size; s32 fd; u8 name[64] }: the name. */
export function decodeSessionName(bytes: Uint8Array): string {
  return nameFromField(bytes.subarray(8, 8 + NAME_FIELD_BYTES));
}

/** `struct liveupdate_session_{preserve,retrieve}_fd` { u32 size; s32 fd; u64 token }. */
export function decodeFdToken(bytes: Uint8Array): { fd: number; token: bigint } {
  return { fd: view(bytes).getInt32(4, true), token: view(bytes).getBigUint64(8, true) };
}

/** `reserved` of `struct liveupdate_session_finish` and `_get_name` { u32 size; u32 reserved; … }; must be 0. */
export function decodeReserved(bytes: Uint8Array): number {
  return view(bytes).getUint32(4, true);
}

/** The caller's struct with the fd of the answer in it. */
export function encodeFd(bytes: Uint8Array, fd: number): Uint8Array {
  const answer = bytes.slice();
  view(answer).setInt32(4, fd, true);
  return answer;
}

/**
 * The caller's struct with the name of the session in it. The kernel copies by words of 8 bytes up to the one with the NUL;
 * what the caller had in the field behind that stays.
 * @source lib/string.c, sized_strscpy; run on 7.3.4
 */
export function encodeName(bytes: Uint8Array, name: string): Uint8Array {
  const answer = bytes.slice();
  const wordBytes = 8;
  const copied = Math.min(NAME_FIELD_BYTES, (Math.floor(name.length / wordBytes) + 1) * wordBytes);
  answer.set(nameToField(name).subarray(0, copied), 8);
  return answer;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
