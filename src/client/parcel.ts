/**
 * What one version of a program hands to the next through luod, which passes it on unread: a JSON text and descriptors.
 * Two kinds: `prepared`, given while the program still serves (its connections), and `frozen` (what changed since, bytes
 * that were read and not handled, bytes that were not sent, small state). Bytes of any number lie one behind the other
 * in one *blob*: inline as base64 while small, else in a memfd that is the last descriptor of the parcel.
 *
 * A parcel may come from another version of this library, or from a program that does not use it: what is not ours is
 * passed over (`readParcel` gives undefined), and unknown fields are kept out of the way.
 */
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import type { Gap } from '../base/words.js';
import { MFD } from '../abi/index.js';
import type { OwnedFd } from '../sys/index.js';
import { fstat, memfdCreate, preadFully, pwriteFully } from '../sys/index.js';
import type { Saved } from './types.js';

const PARCEL_VERSION = 1;
/** Blobs up to this many bytes travel inside of the JSON text. */
const INLINE_BYTES_MAX = 24 * 1024;

/** The small state of one thing: `j` is JSON, `b` the number of its next bytes in the blob. */
export type Packed = { readonly j: unknown } | { readonly b: number };

/** Connections at prepare: their numbers. Their descriptors are the next of the parcel, in this order. */
export interface PreparedListener {
  readonly name: string;
  readonly connections: readonly number[];
  /** What the program saved of each then; only what is different at freeze travels again. */
  readonly saved?: readonly (Packed | null)[];
}

/** A connection at freeze, if there is anything to say of it. */
export interface FrozenConnection {
  readonly id: number;
  /** It came after prepare: its descriptor is the next of the parcel. */
  readonly isNew?: true;
  /** Bytes in the blob that were read and not handled, then bytes that were not sent. */
  readonly input?: number;
  readonly output?: number;
  /** The program has ended it: send what is left, then close. */
  readonly ending?: true;
  readonly saved?: Packed;
  /** What was saved at prepare holds no more. */
  readonly unsaved?: true;
}
export interface FrozenListener {
  readonly name: string;
  /** Connections of prepare that are gone, or cannot be handed over. */
  readonly gone: readonly number[];
  readonly connections: readonly FrozenConnection[];
}

export interface ParcelBody {
  readonly listeners?: readonly (PreparedListener | FrozenListener)[];
  readonly states?: readonly { readonly name: string; readonly saved: Packed }[];
  /** Of device and global handles. */
  readonly handles?: readonly { readonly kind: string; readonly name: string; readonly saved: Packed }[];
}

/** Collects the bytes of a parcel in the order in which they are read again. */
export class BlobWriter {
  readonly #pieces: Uint8Array[] = [];
  readonly #inlineBytesMax: number;
  #bytes = 0;

  /** @param gap over kexec no fd comes along: then all bytes travel inside of the JSON text */
  constructor(gap: Gap = 'handover') {
    this.#inlineBytesMax = gap === 'kexec' ? LIMITS.stateBytesMax : INLINE_BYTES_MAX;
  }

  /** Add one piece; returns its length. */
  add(...pieces: Uint8Array[]): number {
    let length = 0;
    for (const piece of pieces) {
      if (piece.byteLength === 0) continue;
      this.#pieces.push(piece);
      length += piece.byteLength;
    }
    this.#bytes += length;
    return length;
  }

  pack(saved: Saved): Packed {
    return saved instanceof Uint8Array ? { b: this.add(saved) } : { j: saved };
  }

  /**
   * The finished parcel; `fds` are borrowed, `blobFd` is a new one that is the caller's to close after sending.
   * @throws LuoError LIMIT_REACHED more bytes than cross the kexec gap
   */
  finish(body: ParcelBody, fds: readonly number[]): { parcel: unknown; fds: number[]; blobFd: OwnedFd | undefined } {
    const parcel = { luo: PARCEL_VERSION, ...body };
    if (this.#bytes === 0) return { parcel, fds: [...fds], blobFd: undefined };
    if (this.#bytes <= this.#inlineBytesMax) {
      const blob = Buffer.concat(this.#pieces).toString('base64');
      return { parcel: { ...parcel, blob }, fds: [...fds], blobFd: undefined };
    }
    if (this.#inlineBytesMax > INLINE_BYTES_MAX) {
      throw new LuoError('LIMIT_REACHED', `${this.#bytes} bytes of small state cannot cross the kexec gap`, {
        data: { limit: 'stateBytesMax', value: LIMITS.stateBytesMax },
        remedy: 'keep it in a memory region',
      });
    }
    const blobFd = memfdCreate('luo-parcel', MFD.CLOEXEC);
    let offset = 0;
    for (const piece of this.#pieces) {
      pwriteFully(blobFd.fd, piece, offset);
      offset += piece.byteLength;
    }
    return { parcel: { ...parcel, blobFd: true }, fds: [...fds, blobFd.fd], blobFd };
  }
}

/** Gives the bytes of a parcel back, piece by piece. */
export class BlobReader {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  /** @throws LuoError PROTO_INVALID the parcel promises more bytes than came with it */
  take(length: number): Buffer {
    const end = this.#offset + length;
    if (!Number.isSafeInteger(length) || length < 0 || end > this.#bytes.length) {
      throw new LuoError('PROTO_INVALID', `a parcel promises ${length} more bytes and has ${this.left}`);
    }
    const piece = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return piece;
  }

  get left(): number {
    return this.#bytes.length - this.#offset;
  }

  unpack(packed: Packed): Saved {
    return 'b' in packed ? this.take(packed.b) : (packed.j as Saved);
  }
}

/**
 * Read a parcel. Takes `fds`: the blob's is closed here, the rest is in `fds` of the result, in order. Undefined, with
 * all of them closed, for a parcel that is not of this library.
 * @throws LuoError PROTO_VERSION it is of a newer one; nothing is closed then
 */
export function readParcel(
  parcel: unknown,
  takenFds: OwnedFd[],
): { body: ParcelBody; blob: BlobReader; fds: OwnedFd[] } | undefined {
  const known = parcel as ({ luo?: unknown; blob?: unknown; blobFd?: unknown } & ParcelBody) | null | undefined;
  if (typeof known !== 'object' || known === null || typeof known.luo !== 'number') {
    for (const fd of takenFds) fd.close();
    return undefined;
  }
  if (known.luo > PARCEL_VERSION) {
    throw new LuoError(
      'PROTO_VERSION',
      `the old version's parcel has format ${known.luo}, newer than ${PARCEL_VERSION}`,
    );
  }
  const fds = [...takenFds];
  let bytes = Buffer.alloc(0);
  if (typeof known.blob === 'string') bytes = Buffer.from(known.blob, 'base64');
  else if (known.blobFd === true) {
    const fd = fds.pop();
    if (fd === undefined) throw new LuoError('PROTO_FDS', 'a parcel came without the fd of its bytes');
    try {
      bytes = Buffer.alloc(fstat(fd.fd).sizeBytes);
      preadFully(fd.fd, bytes, 0);
    } finally {
      fd.close();
    }
  }
  return { body: known, blob: new BlobReader(bytes), fds };
}
