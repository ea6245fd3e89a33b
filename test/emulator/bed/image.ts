/** As much of a bzImage as is looked at before it is loaded: the emulated machine runs nothing of it. */

const SIZE_BYTES = 4096;
const RELEASE_AT = 0x100;
const SECTOR_BYTES = 512;

/** @source Documentation/arch/x86/boot.rst */
export function imageBytes(): Buffer {
  const image = Buffer.alloc(SIZE_BYTES);
  image.write('HdrS', 0x202);
  image.writeUInt16LE(0x20f, 0x206);
  image.writeUInt16LE(RELEASE_AT, 0x20e);
  // XLF_KERNEL_64
  image.writeUInt16LE(1, 0x236);
  image.write('7.3.0-emulated', SECTOR_BYTES + RELEASE_AT);
  return image;
}
