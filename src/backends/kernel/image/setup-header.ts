/**
 * The setup header of a bzImage: what it says of itself, and where its compressed kernel lies.
 * @source Documentation/arch/x86/boot.rst
 */
import { closeSync, openSync, readSync } from 'node:fs';

export interface SetupHeader {
  /** `7.3.4`; null: the image does not say. */
  readonly release: string | null;
  /** Of the compressed kernel, in the file. */
  readonly payload: { readonly offset: number; readonly length: number } | null;
  readonly is64Bit: boolean;
  /** Bytes that the kernel takes before it knows its memory: its image, its bss. */
  readonly initBytes: number;
}

const AT = {
  setupSectors: 0x1f1,
  magic: 0x202,
  version: 0x206,
  kernelVersion: 0x20e,
  xloadflags: 0x236,
  payloadOffset: 0x248,
  payloadLength: 0x24c,
  initSize: 0x260,
} as const;
const SECTOR = 512;
const HEADER_BYTES = 64 * 1024;

/** Undefined: it is no bzImage. */
export function readSetupHeader(image: Buffer): SetupHeader | undefined {
  if (image.length < SECTOR * 2 || image.toString('latin1', AT.magic, AT.magic + 4) !== 'HdrS') return undefined;
  const version = image.readUInt16LE(AT.version);
  const versionAt = image.readUInt16LE(AT.kernelVersion);
  const text = versionAt === 0 ? '' : image.toString('latin1', SECTOR + versionAt, SECTOR + versionAt + 256);
  const release = /^[^\0\s]+/.exec(text)?.[0] ?? null;
  const setupBytes = (image.readUInt8(AT.setupSectors) + 1) * SECTOR;
  return {
    release,
    payload:
      version < 0x208
        ? null
        : { offset: setupBytes + image.readUInt32LE(AT.payloadOffset), length: image.readUInt32LE(AT.payloadLength) },
    is64Bit: version >= 0x20c && (image.readUInt16LE(AT.xloadflags) & 1) === 1,
    initBytes: version >= 0x20a ? image.readUInt32LE(AT.initSize) : 0,
  };
}

/** The release that an image says it is; null if it does not, or cannot be read. */
export function releaseOf(path: string): string | null {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return null;
  }
  try {
    const head = Buffer.alloc(HEADER_BYTES);
    const length = readSync(fd, head, 0, head.length, 0);
    return readSetupHeader(head.subarray(0, length))?.release ?? null;
  } finally {
    closeSync(fd);
  }
}
