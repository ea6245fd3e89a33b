/**
 * The ioctls of /dev/liveupdate and of its sessions, Linux 7.3: numbers, sizes, offsets. All are _IO(0xBA, nr): the size
 * of a struct is its first field, not part of the number. Little endian, as both architectures with LUO are.
 * @source include/uapi/linux/liveupdate.h (Linux 7.3)
 */

const TYPE = 0xba;
const io = (nr: number): number => (TYPE << 8) | nr;

/** On the device. */
export const LIVEUPDATE_IOCTL = { CREATE_SESSION: io(0x00), RETRIEVE_SESSION: io(0x01) } as const;
/** On a session. */
export const LIVEUPDATE_SESSION = {
  PRESERVE_FD: io(0x40),
  RETRIEVE_FD: io(0x41),
  FINISH: io(0x42),
  GET_NAME: io(0x43),
} as const;

/** Bytes of a session's name, its closing zero included. */
export const SESSION_NAME_BYTES = 64;

/** struct liveupdate_ioctl_create_session, liveupdate_ioctl_retrieve_session */
export const SESSION_ARGUMENT = { sizeBytes: 72, size: 0, fd: 4, name: 8 } as const;
/** struct liveupdate_session_preserve_fd, liveupdate_session_retrieve_fd */
export const FD_ARGUMENT = { sizeBytes: 16, size: 0, fd: 4, token: 8 } as const;
/** struct liveupdate_session_finish */
export const FINISH_ARGUMENT = { sizeBytes: 8, size: 0, reserved: 4 } as const;
/** struct liveupdate_session_get_name */
export const NAME_ARGUMENT = { sizeBytes: 72, size: 0, reserved: 4, name: 8 } as const;

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** @throws RangeError the name is empty, longer than 63 bytes, or has a zero in it */
export function encodeSessionArgument(
  name: string,
  into: Uint8Array = new Uint8Array(SESSION_ARGUMENT.sizeBytes),
): Uint8Array {
  const bytes = encoder.encode(name);
  if (bytes.length === 0 || bytes.length >= SESSION_NAME_BYTES || bytes.includes(0)) {
    throw new RangeError(`'${name}' is no name of a session: 1 to ${SESSION_NAME_BYTES - 1} bytes, none of them zero`);
  }
  const view = viewOf(into);
  into.fill(0, 0, SESSION_ARGUMENT.sizeBytes);
  view.setUint32(SESSION_ARGUMENT.size, SESSION_ARGUMENT.sizeBytes, true);
  view.setInt32(SESSION_ARGUMENT.fd, -1, true);
  into.set(bytes, SESSION_ARGUMENT.name);
  return into;
}

/** @param token u64 @throws RangeError it is not */
export function encodeFdArgument(
  fd: number,
  token: bigint,
  into: Uint8Array = new Uint8Array(FD_ARGUMENT.sizeBytes),
): Uint8Array {
  if (token < 0n || token >= 1n << 64n) throw new RangeError(`${token} is no token: 0 to 2^64 - 1`);
  const view = viewOf(into);
  view.setUint32(FD_ARGUMENT.size, FD_ARGUMENT.sizeBytes, true);
  view.setInt32(FD_ARGUMENT.fd, fd, true);
  view.setBigUint64(FD_ARGUMENT.token, token, true);
  return into;
}

export function encodeFinishArgument(into: Uint8Array = new Uint8Array(FINISH_ARGUMENT.sizeBytes)): Uint8Array {
  const view = viewOf(into);
  view.setUint32(FINISH_ARGUMENT.size, FINISH_ARGUMENT.sizeBytes, true);
  view.setUint32(FINISH_ARGUMENT.reserved, 0, true);
  return into;
}

export function encodeNameArgument(into: Uint8Array = new Uint8Array(NAME_ARGUMENT.sizeBytes)): Uint8Array {
  into.fill(0, 0, NAME_ARGUMENT.sizeBytes);
  viewOf(into).setUint32(NAME_ARGUMENT.size, NAME_ARGUMENT.sizeBytes, true);
  return into;
}

/** The fd that the kernel put into a session or fd argument. */
export function decodeFd(argument: Uint8Array): number {
  return viewOf(argument).getInt32(FD_ARGUMENT.fd, true);
}

/** The name in a session or name argument. */
export function decodeName(argument: Uint8Array): string {
  const name = argument.subarray(NAME_ARGUMENT.name, NAME_ARGUMENT.name + SESSION_NAME_BYTES);
  const end = name.indexOf(0);
  return decoder.decode(end < 0 ? name : name.subarray(0, end));
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

// A wrong layout would lose what is preserved: it must not get as far as a call.
for (const [layout, sizeBytes] of [
  [SESSION_ARGUMENT, SESSION_ARGUMENT.name + SESSION_NAME_BYTES],
  [FD_ARGUMENT, FD_ARGUMENT.token + 8],
  [FINISH_ARGUMENT, FINISH_ARGUMENT.reserved + 4],
  [NAME_ARGUMENT, NAME_ARGUMENT.name + SESSION_NAME_BYTES],
] as const) {
  if (layout.sizeBytes !== sizeBytes) throw new TypeError(`a struct of ${layout.sizeBytes} bytes ends at ${sizeBytes}`);
}
