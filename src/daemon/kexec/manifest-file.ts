/**
 * The manifest of this luod for the next one: a memfd of fixed size that is preserved in session `luod` under token 0 and is
 * written in place from then on. What is where in it: src/protocol/manifest.ts.
 */
import { LIMITS } from '../../base/limits.js';
import { LuoError } from '../../base/errors.js';
import { encodeHeads, encodeSlot, planManifest, readHead, readSlots } from '../../protocol/manifest.js';
import type { ManifestLayout } from '../../protocol/manifest.js';
import { fstat, ftruncate, memfdCreateExecutable, preadFully, pwriteFully, sealSize } from '../../sys/index.js';
import type { OwnedFd } from '../../sys/index.js';
import type { ManifestContent } from './manifest-content.js';

/** Its entry in the keeper, and its key in session `luod`. */
export const MANIFEST_ENTRY = 'luod/manifest';
/** Words that participants hand over at freeze come on top of what is known at prepare: room for so many of them. */
const LARGE_STATES = 8;
const GROWTH_BYTES = 256 * 1024;

export class ManifestFile {
  readonly fd: number;
  readonly sizeBytes: number;
  readonly #layout: ManifestLayout;
  #sequence: number;
  #frozen: boolean;

  private constructor(fd: number, layout: ManifestLayout, sequence: number, frozen: boolean) {
    this.fd = fd;
    this.sizeBytes = layout.fileBytes;
    this.#layout = layout;
    this.#sequence = sequence;
    this.#frozen = frozen;
  }

  /** A new one, which says that nothing is frozen. The caller owns the fd. */
  static create(names: readonly string[], content: ManifestContent, members: number): OwnedFd {
    const bytes = Buffer.byteLength(JSON.stringify(content));
    const room = Math.min(members, LARGE_STATES) * LIMITS.stateBytesMax + members * 4096 + GROWTH_BYTES;
    const layout = planManifest(names, 2 * bytes + room);
    const fd = memfdCreateExecutable('luod-manifest');
    try {
      ftruncate(fd.fd, layout.fileBytes);
      sealSize(fd.fd);
      for (const part of encodeHeads(layout, names)) pwriteFully(fd.fd, part.bytes, part.offset);
      const slot = encodeSlot(layout, content, { frozen: false, sequence: 1 });
      pwriteFully(fd.fd, slot.bytes, slot.offset);
      return fd;
    } catch (error) {
      fd.close();
      throw error;
    }
  }

  /** One that is there already. @param fd borrowed for the life of this object */
  static open(fd: number): ManifestFile {
    const head = readHead(fstat(fd).sizeBytes, (offset, length) => readAt(fd, offset, length));
    const { sequence, frozen } = readSlots(head, (offset, length) => readAt(fd, offset, length));
    return new ManifestFile(fd, head, sequence, frozen);
  }

  /** Does it say that everybody has stopped? */
  get frozen(): boolean {
    return this.#frozen;
  }

  /** @throws LuoError MANIFEST_FULL */
  checkRoom(content: ManifestContent): void {
    encodeSlot(this.#layout, content, { frozen: false, sequence: this.#sequence });
  }

  /** In the memfd when this returns; what it said before is there until then. @throws LuoError MANIFEST_FULL */
  write(content: ManifestContent, frozen: boolean): void {
    const sequence = this.#sequence + 1;
    const slot = encodeSlot(this.#layout, content, { frozen, sequence });
    pwriteFully(this.fd, slot.bytes, slot.offset);
    this.#sequence = sequence;
    this.#frozen = frozen;
  }
}

/** What a manifest says. @param fd borrowed @throws LuoError MANIFEST_DAMAGED, MANIFEST_TOO_NEW */
export function readManifest(fd: number): { content: ManifestContent; frozen: boolean; damaged: number } {
  const read = (offset: number, length: number): Uint8Array => readAt(fd, offset, length);
  const head = readHead(fstat(fd).sizeBytes, read);
  const { body, frozen, damaged } = readSlots(head, read);
  const content = body as ManifestContent;
  if (typeof content !== 'object' || !Array.isArray(content.sessions) || !Array.isArray(content.records)) {
    throw new LuoError('MANIFEST_DAMAGED', 'the body of the manifest is no manifest');
  }
  return { content, frozen, damaged };
}

function readAt(fd: number, offset: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  preadFully(fd, bytes, offset);
  return bytes;
}
