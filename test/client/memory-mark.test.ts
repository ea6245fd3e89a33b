// Goal: the mark says clean only where a whole, undamaged, known mark says so. Method: every bit of it is turned once.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  MARK_BYTES,
  MARK_PAGE_BYTES,
  decodeMark,
  encodeMark,
  isTorn,
  markOffset,
  markOffsetInFile,
  markedFileBytes,
  type MemoryMark,
} from '../../src/abi/memory-mark.js';

const CLEAN: MemoryMark = { dirty: false, sizeBytes: 2 ** 32 + 5, generation: 3, attempt: 7, sequence: 9 };

describe('memory mark', () => {
  test('what was encoded is decoded, clean and dirty', () => {
    for (const mark of [CLEAN, { ...CLEAN, dirty: true }]) {
      const bytes = encodeMark(mark);
      assert.equal(bytes.length, MARK_BYTES);
      const reading = decodeMark(bytes);
      assert.deepEqual(reading, { kind: 'mark', mark });
      assert.equal(isTorn(reading), mark.dirty);
    }
  });

  test('the layout is the documented one', () => {
    const bytes = Buffer.from(encodeMark(CLEAN));
    assert.equal(bytes.toString('latin1', 0, 8), 'luo-mark');
    assert.equal(bytes.readUInt32LE(8), 1);
    assert.equal(bytes.readUInt32LE(12), 0);
    assert.equal(bytes.readBigUInt64LE(16), 2n ** 32n + 5n);
    assert.equal(bytes.readBigUInt64LE(24), 3n);
    assert.equal(bytes.readBigUInt64LE(32), 7n);
    assert.equal(bytes.readBigUInt64LE(40), 9n);
    assert.ok(bytes.subarray(48, 60).every((byte) => byte === 0));
  });

  test('any single turned bit makes a clean mark torn', () => {
    for (let bit = 0; bit < MARK_BYTES * 8; bit += 1) {
      const bytes = encodeMark(CLEAN);
      bytes[bit >> 3]! ^= 1 << (bit & 7);
      assert.ok(isTorn(decodeMark(bytes)), `bit ${bit}`);
    }
  });

  test('a mark that is cut off anywhere is torn', () => {
    for (let length = 0; length < MARK_BYTES; length += 1) {
      const bytes = new Uint8Array(MARK_BYTES);
      bytes.set(encodeMark(CLEAN).subarray(0, length));
      assert.ok(isTorn(decodeMark(bytes)), `after ${length} bytes`);
      assert.ok(isTorn(decodeMark(encodeMark(CLEAN).subarray(0, length))), `only ${length} bytes`);
    }
  });

  test('a page that was never written is none, and torn', () => {
    const reading = decodeMark(new Uint8Array(MARK_PAGE_BYTES));
    assert.equal(reading.kind, 'none');
    assert.ok(isTorn(reading));
  });

  test('the mark lies in the page behind the user part, and is found from the size of the file', () => {
    for (const sizeBytes of [1, 4095, 4096, 4097, 2 ** 32, 2 ** 40 + 1]) {
      assert.ok(markOffset(sizeBytes) >= sizeBytes);
      assert.ok(markOffset(sizeBytes) - sizeBytes < MARK_PAGE_BYTES);
      assert.equal(markOffsetInFile(markedFileBytes(sizeBytes)), markOffset(sizeBytes));
    }
  });

  test('a file that is too small or not of whole pages has no place for a mark', () => {
    for (const bytes of [0, 1, 4096, 8191, 8193]) assert.equal(markOffsetInFile(bytes), undefined);
  });
});
