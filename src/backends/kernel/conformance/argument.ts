/**
 * The arguments of the calls as bytes, of any size and content, and memory to put them in that has just the fault that is
 * wanted: bytes that end where the mapping ends, or that the kernel can read and not write.
 *
 * src/abi has encoders for who wants a call to succeed; these refuse nothing.
 * @source include/uapi/linux/liveupdate.h
 */
import {
  FD_ARGUMENT,
  FINISH_ARGUMENT,
  NAME_ARGUMENT,
  SESSION_ARGUMENT,
  SESSION_NAME_BYTES,
} from '../../../abi/liveupdate.js';
import { MAP, PROT } from '../../../abi/linux.js';
import { Mapping, ftruncate, memfdCreate, pread, pwriteFully } from '../../../sys/index.js';

export const PAGE_BYTES = 4096;

/** Of CREATE_SESSION and RETRIEVE_SESSION. @param name its bytes; what has 64 has no closing zero */
export function sessionArgument(name: string | Uint8Array, sizeBytes: number = SESSION_ARGUMENT.sizeBytes): Buffer {
  const bytes = Buffer.alloc(Math.max(sizeBytes, SESSION_ARGUMENT.sizeBytes));
  bytes.writeUInt32LE(sizeBytes, SESSION_ARGUMENT.size);
  bytes.writeInt32LE(-1, SESSION_ARGUMENT.fd);
  bytes.set(Buffer.from(name as string).subarray(0, SESSION_NAME_BYTES), SESSION_ARGUMENT.name);
  return bytes;
}

/** Of PRESERVE_FD and RETRIEVE_FD. */
export function fdArgument(fd: number, token: bigint, sizeBytes: number = FD_ARGUMENT.sizeBytes): Buffer {
  const bytes = Buffer.alloc(Math.max(sizeBytes, FD_ARGUMENT.sizeBytes));
  bytes.writeUInt32LE(sizeBytes, FD_ARGUMENT.size);
  bytes.writeInt32LE(fd, FD_ARGUMENT.fd);
  bytes.writeBigUInt64LE(token, FD_ARGUMENT.token);
  return bytes;
}

export function finishArgument(reserved = 0, sizeBytes: number = FINISH_ARGUMENT.sizeBytes): Buffer {
  const bytes = Buffer.alloc(Math.max(sizeBytes, FINISH_ARGUMENT.sizeBytes));
  bytes.writeUInt32LE(sizeBytes, FINISH_ARGUMENT.size);
  bytes.writeUInt32LE(reserved, FINISH_ARGUMENT.reserved);
  return bytes;
}

export function nameArgument(reserved = 0, sizeBytes: number = NAME_ARGUMENT.sizeBytes): Buffer {
  const bytes = Buffer.alloc(Math.max(sizeBytes, NAME_ARGUMENT.sizeBytes));
  bytes.writeUInt32LE(sizeBytes, NAME_ARGUMENT.size);
  bytes.writeUInt32LE(reserved, NAME_ARGUMENT.reserved);
  return bytes;
}

/** Memory with an argument in it. Whoever makes one frees it. */
export interface ArgumentMemory {
  readonly address: bigint;
  /** What is there now. */
  read(): Buffer;
  free(): void;
}

export type Fault =
  /** Everything can be read and written. */
  | 'none'
  /** The kernel can read it, and its answer cannot be written. */
  | 'read-only'
  /** The first byte behind it is not mapped. */
  | 'ends';

/** `bytes` in memory of their own. */
export function argumentMemory(bytes: Uint8Array, fault: Fault): ArgumentMemory {
  const length = bytes.byteLength;
  const pages = Math.ceil(length / PAGE_BYTES) * PAGE_BYTES;
  const file = memfdCreate('argument');
  try {
    ftruncate(file.fd, pages);
    // Behind the end of its file a mapping has no memory.
    const offset = fault === 'ends' ? pages - length : 0;
    pwriteFully(file.fd, bytes, offset);
    const protection = fault === 'read-only' ? PROT.READ : PROT.READ | PROT.WRITE;
    const mapping = Mapping.map({ fd: file.fd, sizeBytes: pages + PAGE_BYTES, protection, flags: MAP.SHARED });
    return {
      address: mapping.address + BigInt(offset),
      read() {
        const now = Buffer.alloc(length);
        pread(file.fd, now, offset);
        return now;
      },
      free() {
        mapping.unmap();
        file.close();
      },
    };
  } catch (error) {
    file.close();
    throw error;
  }
}
