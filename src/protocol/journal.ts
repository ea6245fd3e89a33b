/**
 * The journal of luod: what a luod that was killed left behind for the next one. A sequence of lines, each
 * `crc32 JSON\n`, in a memfd that the keeper holds; the first line says the version. PURE: bytes in, records out.
 *
 * Happy path: the writer appends one line before each irreversible effect and for each change of what must outlive it;
 * when the journal has grown, it starts a new one with a snapshot and replaces the old one in the keeper at once.
 * Unhappy path: a last line that is incomplete or whose checksum is wrong was being written when luod died; it is
 * dropped, since its effect did not happen. A wrong line in the middle is damage: JOURNAL_DAMAGED names its number. A
 * version above ours is JOURNAL_TOO_NEW, and nothing is touched.
 */
import { crc32 } from '../base/crc32.js';
import { LuoError } from '../base/errors.js';

export const JOURNAL_VERSION = 1;

/** One record: `kind` says whose it is, the rest belongs to that part. */
export interface JournalRecord {
  readonly kind: string;
  readonly [key: string]: unknown;
}

const HEX = Buffer.from('0123456789abcdef');
const decoder = new TextDecoder('utf-8', { fatal: true });

/** One line of the journal. */
export function encodeRecord(record: JournalRecord): Uint8Array {
  const json = JSON.stringify(record);
  const line = Buffer.allocUnsafe(Buffer.byteLength(json) + 10);
  line.write(json, 9);
  line[8] = 0x20;
  line[line.length - 1] = 0x0a;
  let checksum = crc32(line.subarray(9, -1));
  for (let at = 7; at >= 0; at -= 1) {
    line[at] = HEX[checksum & 15]!;
    checksum >>>= 4;
  }
  return line;
}

/** The first line of a new journal. @param bootId the boot that its processes live in */
export function encodeHeader(version = JOURNAL_VERSION, bootId?: string): Uint8Array {
  return encodeRecord({ kind: 'journal', version, ...(bootId === undefined ? {} : { bootId }) });
}

/** A journal that was read. */
export interface DecodedJournal {
  readonly records: JournalRecord[];
  /** Of the whole records: the place where the next one goes. */
  readonly sizeBytes: number;
  /** The boot that it was written in, if it says so. */
  readonly bootId: string | undefined;
}

/** All whole records of a journal. @throws LuoError JOURNAL_TOO_NEW, JOURNAL_DAMAGED */
export function decodeJournal(bytes: Uint8Array): DecodedJournal {
  const records: JournalRecord[] = [];
  let bootId: string | undefined;
  let offset = 0;
  let lineNumber = 0;
  while (offset < bytes.length && bytes[offset] !== 0) {
    const end = bytes.indexOf(0x0a, offset);
    lineNumber += 1;
    const record = end < 0 ? undefined : decodeLine(bytes.subarray(offset, end));
    if (record === undefined) {
      if (end < 0 || isTail(bytes, end + 1)) break;
      throw new LuoError('JOURNAL_DAMAGED', `the journal is damaged at line ${lineNumber} (byte ${offset})`, {
        data: { line: lineNumber, byte: offset },
      });
    }
    if (lineNumber === 1) {
      checkVersion(record);
      if (typeof record.bootId === 'string') bootId = record.bootId;
    } else records.push(record);
    offset = end + 1;
  }
  if (lineNumber === 0) throw new LuoError('JOURNAL_DAMAGED', 'the journal is empty: not even its first line is there');
  return { records, sizeBytes: offset, bootId };
}

function decodeLine(line: Uint8Array): JournalRecord | undefined {
  if (line.length < 11 || line[8] !== 0x20) return undefined;
  const json = line.subarray(9);
  try {
    if (Number.parseInt(decoder.decode(line.subarray(0, 8)), 16) !== crc32(json)) return undefined;
    return JSON.parse(decoder.decode(json)) as JournalRecord;
  } catch {
    return undefined;
  }
}

/** True if nothing that was written follows `offset`: a bad line there is the one that was being written. */
function isTail(bytes: Uint8Array, offset: number): boolean {
  return offset >= bytes.length || bytes[offset] === 0;
}

function checkVersion(record: JournalRecord): void {
  if (record.kind !== 'journal' || typeof record.version !== 'number') {
    throw new LuoError('JOURNAL_DAMAGED', 'the first line of the journal does not say its version');
  }
  if (record.version > JOURNAL_VERSION) {
    throw new LuoError(
      'JOURNAL_TOO_NEW',
      `the journal has version ${record.version}; this luod reads up to ${JOURNAL_VERSION}`,
      { remedy: 'start the luod that wrote it; nothing was touched' },
    );
  }
}
