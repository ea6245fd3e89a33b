/**
 * The manifest: what the luod of this kernel leaves for the luod of the next one, in a memfd of fixed size that is preserved
 * in session `luod` under token 0. PURE: bytes in, values out.
 *
 *   head A | slot 0 | slot 1 | head B | trailer
 *
 * The heads are alike and never change: the names of all sessions, which is all that the keeper reads. Each has its own
 * checksum, at either end of the file. The slots are written in turn: the one that is not the last is overwritten, so that
 * a writer that dies leaves the other. A slot has the mark `frozen`: its body was written after everybody had stopped. The body
 * is JSON; fields that a reader does not know are left alone.
 *
 * Unhappy: a damaged head leaves the other; both: only the session that the manifest came in is known. A damaged slot
 * leaves the other, and if it was the later one, `frozen` counts as false. A version above ours is MANIFEST_TOO_NEW; of the head
 * it never is: its layout is fixed for ever.
 */
import { crc32 } from '../base/crc32.js';
import { LuoError } from '../base/errors.js';

export const MANIFEST_VERSION = 1;
/** Its session and token: the one name that the next kernel's keeper knows. */
export const MANIFEST_SESSION = 'luod';
export const MANIFEST_TOKEN = 0n;

const PAGE = 4096;
const HEAD = { magic: 'LUOHEAD1', headBytes: 8, slotBytes: 16, namesBytes: 24, crc: 28, names: 32 } as const;
const SLOT = { magic: 'LUOSLOT1', version: 8, frozen: 12, sequence: 16, bodyBytes: 24, crc: 28, body: 32 } as const;
const TRAILER = { magic: 'LUOTAIL1', headBytes: 8, crc: 12, sizeBytes: 16 } as const;

const encoder = new TextEncoder();
const decoder = new TextDecoder('utf-8', { fatal: true });

export interface ManifestLayout {
  readonly headBytes: number;
  readonly slotBytes: number;
  readonly fileBytes: number;
}

/** Room for these session names, and for a body of so many bytes in each slot. */
export function planManifest(names: readonly string[], bodyBytes: number): ManifestLayout {
  const headBytes = pages(HEAD.names + encoder.encode(JSON.stringify(names)).length);
  const slotBytes = pages(SLOT.body + bodyBytes);
  return { headBytes, slotBytes, fileBytes: 2 * headBytes + 2 * slotBytes + PAGE };
}

/** What is written once: both heads and the trailer, with where. */
export function encodeHeads(
  layout: ManifestLayout,
  names: readonly string[],
): readonly { readonly offset: number; readonly bytes: Uint8Array }[] {
  const text = encoder.encode(JSON.stringify(names));
  const head = new Uint8Array(HEAD.names + text.length);
  const view = viewOf(head);
  head.set(encoder.encode(HEAD.magic), 0);
  view.setUint32(HEAD.headBytes, layout.headBytes, true);
  view.setBigUint64(HEAD.slotBytes, BigInt(layout.slotBytes), true);
  view.setUint32(HEAD.namesBytes, text.length, true);
  head.set(text, HEAD.names);
  view.setUint32(HEAD.crc, headCrc(head), true);
  const trailer = new Uint8Array(TRAILER.sizeBytes);
  trailer.set(encoder.encode(TRAILER.magic), 0);
  viewOf(trailer).setUint32(TRAILER.headBytes, layout.headBytes, true);
  viewOf(trailer).setUint32(TRAILER.crc, crc32(trailer.subarray(0, TRAILER.crc)), true);
  return [
    { offset: 0, bytes: head },
    { offset: layout.fileBytes - PAGE - layout.headBytes, bytes: head },
    { offset: layout.fileBytes - TRAILER.sizeBytes, bytes: trailer },
  ];
}

export interface ManifestHead extends ManifestLayout {
  readonly names: readonly string[];
  /** One of the two heads could not be read. */
  readonly damaged: boolean;
}

/**
 * The head of a manifest of `fileBytes`. @param read gives that part of the file
 * @throws LuoError MANIFEST_DAMAGED neither head can be read
 */
export function readHead(fileBytes: number, read: (offset: number, length: number) => Uint8Array): ManifestHead {
  const first = headAt(0, fileBytes, read);
  const second = headAt(secondHead(fileBytes, read), fileBytes, read);
  const found = first ?? second;
  if (!found) {
    throw new LuoError(
      'MANIFEST_DAMAGED',
      'neither head of the manifest can be read: the names of its sessions are lost',
    );
  }
  return { ...found, damaged: first === undefined || second === undefined };
}

function secondHead(fileBytes: number, read: (offset: number, length: number) => Uint8Array): number {
  if (fileBytes < 2 * PAGE) return -1;
  const trailer = read(fileBytes - TRAILER.sizeBytes, TRAILER.sizeBytes);
  if (!hasMagic(trailer, TRAILER.magic)) return -1;
  const view = viewOf(trailer);
  if (view.getUint32(TRAILER.crc, true) !== crc32(trailer.subarray(0, TRAILER.crc))) return -1;
  return fileBytes - PAGE - view.getUint32(TRAILER.headBytes, true);
}

function headAt(
  offset: number,
  fileBytes: number,
  read: (offset: number, length: number) => Uint8Array,
): Omit<ManifestHead, 'damaged'> | undefined {
  if (offset < 0 || offset + HEAD.names > fileBytes) return undefined;
  const start = read(offset, HEAD.names);
  if (!hasMagic(start, HEAD.magic)) return undefined;
  const view = viewOf(start);
  const namesBytes = view.getUint32(HEAD.namesBytes, true);
  const headBytes = view.getUint32(HEAD.headBytes, true);
  const slotBytes = Number(view.getBigUint64(HEAD.slotBytes, true));
  if (HEAD.names + namesBytes > headBytes || 2 * headBytes + 2 * slotBytes + PAGE !== fileBytes) return undefined;
  const whole = read(offset, HEAD.names + namesBytes);
  if (viewOf(whole).getUint32(HEAD.crc, true) !== headCrc(whole)) return undefined;
  try {
    const names = JSON.parse(decoder.decode(whole.subarray(HEAD.names))) as unknown;
    if (!Array.isArray(names) || !names.every((name) => typeof name === 'string')) return undefined;
    return { headBytes, slotBytes, fileBytes, names };
  } catch {
    return undefined;
  }
}

/** Everything but the checksum itself. */
function headCrc(head: Uint8Array): number {
  // A copy, also of a Buffer, whose slice() is none.
  const bytes = new Uint8Array(head);
  viewOf(bytes).setUint32(HEAD.crc, 0, true);
  return crc32(bytes);
}

/**
 * A slot with this body, for the one of the two that holds the older body.
 * @param sequence of this body, from 1 up
 * @throws LuoError MANIFEST_FULL
 */
export function encodeSlot(
  layout: ManifestLayout,
  body: unknown,
  options: { readonly frozen: boolean; readonly sequence: number; readonly version?: number },
): { readonly offset: number; readonly bytes: Uint8Array } {
  const json = encoder.encode(JSON.stringify(body));
  if (SLOT.body + json.length > layout.slotBytes) {
    throw new LuoError(
      'MANIFEST_FULL',
      `the manifest has room for ${layout.slotBytes - SLOT.body} bytes and would need ${json.length}`,
      { remedy: 'what participants hand over at freeze is too large: keep it in memory that is a handle' },
    );
  }
  const bytes = new Uint8Array(SLOT.body + json.length);
  const view = viewOf(bytes);
  bytes.set(encoder.encode(SLOT.magic), 0);
  view.setUint32(SLOT.version, options.version ?? MANIFEST_VERSION, true);
  view.setUint32(SLOT.frozen, options.frozen ? 1 : 0, true);
  view.setBigUint64(SLOT.sequence, BigInt(options.sequence), true);
  view.setUint32(SLOT.bodyBytes, json.length, true);
  bytes.set(json, SLOT.body);
  view.setUint32(SLOT.crc, slotCrc(bytes), true);
  return { offset: layout.headBytes + (options.sequence % 2) * layout.slotBytes, bytes };
}

export interface ManifestBody {
  readonly body: unknown;
  /** It was written after everybody had stopped, and nothing later is there. */
  readonly frozen: boolean;
  readonly sequence: number;
  /** Slots that were written and cannot be read. */
  readonly damaged: number;
}

/**
 * The body that counts: the later one of those that can be read.
 * @throws LuoError MANIFEST_DAMAGED; MANIFEST_TOO_NEW
 */
export function readSlots(layout: ManifestLayout, read: (offset: number, length: number) => Uint8Array): ManifestBody {
  const slots = [0, 1].map((at) => slotAt(layout.headBytes + at * layout.slotBytes, layout, read));
  const good = slots.filter((slot) => slot.kind === 'good').sort((a, b) => b.sequence - a.sequence);
  const newer = slots.find((slot) => slot.kind === 'newer');
  if (newer) {
    throw new LuoError(
      'MANIFEST_TOO_NEW',
      `the manifest has version ${newer.version}; this luod reads up to ${MANIFEST_VERSION}`,
      { remedy: 'the sessions stay held: start the luod that wrote it, or a newer one' },
    );
  }
  const [best] = good;
  if (!best) {
    throw new LuoError('MANIFEST_DAMAGED', 'no body of the manifest can be read', {
      remedy: 'the sessions stay held until the next boot; what is in them cannot be told apart without it',
    });
  }
  // Only before the second body was written is there nothing in one of them.
  const isRead = (slot: Slot): boolean => slot.kind === 'good' || (slot.kind === 'empty' && best.sequence === 1);
  const damaged = slots.filter((slot) => !isRead(slot)).length;
  // The damaged one may have been the later one, which alone would say that everybody had stopped.
  return { body: best.body, frozen: best.frozen && damaged === 0, sequence: best.sequence, damaged };
}

type Slot =
  | { readonly kind: 'good'; readonly body: unknown; readonly frozen: boolean; readonly sequence: number }
  | { readonly kind: 'newer'; readonly version: number }
  | { readonly kind: 'empty' | 'damaged' };

function slotAt(offset: number, layout: ManifestLayout, read: (offset: number, length: number) => Uint8Array): Slot {
  const start = read(offset, SLOT.body);
  if (start.every((byte) => byte === 0)) return { kind: 'empty' };
  if (!hasMagic(start, SLOT.magic)) return { kind: 'damaged' };
  const view = viewOf(start);
  const bodyBytes = view.getUint32(SLOT.bodyBytes, true);
  if (SLOT.body + bodyBytes > layout.slotBytes) return { kind: 'damaged' };
  const whole = read(offset, SLOT.body + bodyBytes);
  if (viewOf(whole).getUint32(SLOT.crc, true) !== slotCrc(whole)) return { kind: 'damaged' };
  const version = view.getUint32(SLOT.version, true);
  if (version > MANIFEST_VERSION) return { kind: 'newer', version };
  try {
    const body = JSON.parse(decoder.decode(whole.subarray(SLOT.body))) as unknown;
    const sequence = Number(view.getBigUint64(SLOT.sequence, true));
    return { kind: 'good', body, frozen: view.getUint32(SLOT.frozen, true) === 1, sequence };
  } catch {
    return { kind: 'damaged' };
  }
}

/** Everything but the checksum itself. */
function slotCrc(slot: Uint8Array): number {
  const head = new Uint8Array(slot.subarray(0, SLOT.body));
  viewOf(head).setUint32(SLOT.crc, 0, true);
  // Two parts, so that a large body is not copied.
  return (crc32(head) ^ crc32(slot.subarray(SLOT.body))) >>> 0;
}

function hasMagic(bytes: Uint8Array, magic: string): boolean {
  return encoder.encode(magic).every((byte, at) => bytes[at] === byte);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function pages(bytes: number): number {
  return Math.ceil(bytes / PAGE) * PAGE;
}

// ---------------------------------------------------------------------------------------------- arrival

/** Name of the entry without fds in which the keeper says what it found when it started in this kernel. */
export const ARRIVAL_ENTRY = 'luod/arrival';
/** Name of the entry with the manifest: this luod's own, or the one that arrived. */
export const ARRIVED_MANIFEST_ENTRY = 'luod/manifest.arrived';
/** File in luo's folder: a keeper of this boot takes, or has, what came over, and not all of it is finished. */
export const ARRIVING_FILE = 'arriving';

/** What the keeper found. */
export interface KeeperArrival {
  /**
   * `off`: it was not asked to look; `missing`: no device; `held`: somebody keeps it open; `broken`: the kernel cannot read what
   * came; `cold`: no session `luod`; `ended`: nor that, since an earlier keeper of this kernel had taken it and died with luod;
   * `arrived`: it is there.
   */
  readonly state: 'off' | 'missing' | 'held' | 'broken' | 'cold' | 'ended' | 'arrived';
  readonly error?: { readonly code: string; readonly message: string; readonly errno?: string };
  /** The sessions that the manifest names. */
  readonly sessions: readonly {
    readonly name: string;
    readonly ok: boolean;
    /** Why it could not be had. */
    readonly code?: string;
    readonly errno?: string;
  }[];
  /** Neither head could be read: there may be sessions that nobody knows of. */
  readonly headDamaged: boolean;
}
