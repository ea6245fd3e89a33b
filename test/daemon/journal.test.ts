// Goal: whatever was being written when luod died, the next one reads all that was whole, and refuses damage and the future
// without touching anything. Method: journals cut at every byte, with bytes changed, and the journal's home over a memfd.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { crc32 } from '../../src/base/crc32.js';
import { Journal, bootId, createJournal, readJournal } from '../../src/daemon/journal.js';
import {
  JOURNAL_VERSION,
  decodeJournal,
  encodeHeader,
  encodeRecord,
  type JournalRecord,
} from '../../src/protocol/journal.js';
import { memfdCreate, pwrite, type OwnedFd } from '../../src/sys/index.js';

const records: JournalRecord[] = [
  { kind: 'a', text: 'ü🚀\n' },
  { kind: 'b', nested: { list: [1, 2, 3] } },
  { kind: 'c', long: 'x'.repeat(300) },
];
const lines = [encodeHeader(), ...records.map(encodeRecord)];
const whole = Buffer.concat(lines);

test('what was written is read, and where the next record goes', () => {
  const { records: read, sizeBytes } = decodeJournal(whole);
  assert.deepEqual(read, records);
  assert.equal(sizeBytes, whole.length);
});

test('the checksum is the one of everybody', () => {
  assert.equal(crc32(Buffer.from('123456789')), 0xcbf43926);
});

test('a journal that was cut at any byte gives its whole records, and goes on after the last of them', () => {
  const ends = lines.reduce<number[]>((sums, line) => [...sums, (sums.at(-1) ?? 0) + line.length], []);
  for (let size = lines[0]!.length; size <= whole.length; size += 1) {
    for (const tail of [Buffer.alloc(0), Buffer.alloc(64)]) {
      const { records: read, sizeBytes } = decodeJournal(Buffer.concat([whole.subarray(0, size), tail]));
      const count = ends.filter((end) => end <= size).length;
      assert.deepEqual(read, records.slice(0, count - 1), `cut at ${size}`);
      assert.equal(sizeBytes, ends[count - 1]);
    }
  }
});

test('a last line that is whole and wrong was being written: it is dropped', () => {
  const torn = Buffer.from(whole);
  torn[whole.length - 5]! ^= 1;
  assert.deepEqual(decodeJournal(torn).records, records.slice(0, 2));
});

test('what follows a torn tail overwrites it and is read', () => {
  const cut = whole.subarray(0, whole.length - 100);
  const { sizeBytes } = decodeJournal(cut);
  const after = encodeRecord({ kind: 'd' });
  const bytes = Buffer.alloc(cut.length);
  cut.copy(bytes);
  Buffer.from(after).copy(bytes, sizeBytes);
  assert.deepEqual(decodeJournal(bytes).records, [...records.slice(0, 2), { kind: 'd' }]);
});

test('a wrong byte in the middle is damage, and its line is named', () => {
  const start = lines[0]!.length;
  for (let at = start; at < start + lines[1]!.length - 1; at += 1) {
    const damaged = Buffer.from(whole);
    damaged[at] = damaged[at] === 0x58 ? 0x59 : 0x58;
    assert.throws(
      () => decodeJournal(damaged),
      (error: { code?: string; data?: { line?: number } }) =>
        error.code === 'JOURNAL_DAMAGED' && error.data?.line === 2,
      `byte ${at}`,
    );
  }
});

test('an empty journal, and one that does not begin with its version, are damage', () => {
  for (const bytes of [Buffer.alloc(0), Buffer.alloc(100), Buffer.from(encodeRecord({ kind: 'a' }))]) {
    assert.throws(() => decodeJournal(bytes), { code: 'JOURNAL_DAMAGED' });
  }
});

test('a journal of a later version is refused as such, whatever follows', () => {
  const future = Buffer.concat([encodeHeader(JOURNAL_VERSION + 1), encodeRecord({ kind: 'unheard-of' })]);
  assert.throws(() => decodeJournal(future), { code: 'JOURNAL_TOO_NEW' });
});

async function withJournal(use: (fd: OwnedFd, path: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'luo-journal-'));
  const fd = createJournal();
  try {
    await use(fd, join(dir, 'journal'));
  } finally {
    if (fd.isOpen) fd.close();
    rmSync(dir, { recursive: true });
  }
}

test('a record is in the memfd when append returns, and on disk when flush does', () =>
  withJournal(async (fd, path) => {
    const journal = new Journal(fd, readJournal(fd.fd).sizeBytes, path, (error) => assert.fail(String(error)));
    for (const record of records) journal.append(record);
    assert.deepEqual(readJournal(fd.fd).records, records);
    const written = Buffer.concat([encodeHeader(JOURNAL_VERSION, bootId()), ...records.map(encodeRecord)]);
    assert.equal(journal.sizeBytes, written.length);
    journal.flush();
    assert.deepEqual(readFileSync(path), written);
    assert.equal(decodeJournal(written).bootId, bootId());
    journal.close();
  }));

test('the copy is written before whoever waits for the record goes on, and while it is held it is not', () =>
  withJournal(async (fd, path) => {
    const journal = new Journal(fd, readJournal(fd.fd).sizeBytes, path, (error) => assert.fail(String(error)));
    const copied = (): unknown[] => decodeJournal(readFileSync(path)).records.map(({ kind }) => kind);
    journal.append({ kind: 'a' });
    await Promise.resolve();
    assert.deepEqual(copied(), ['a']);
    journal.append({ kind: 'last' });
    journal.holdCopy();
    assert.deepEqual(copied(), ['a', 'last'], 'what came before is in it');
    journal.append({ kind: 'b' });
    await Promise.resolve();
    assert.deepEqual(copied(), ['a', 'last']);
    journal.releaseCopy();
    await Promise.resolve();
    assert.deepEqual(copied(), ['a', 'last', 'b']);
    journal.close();
  }));

test('a next luod goes on where the last whole record ended', () =>
  withJournal(async (fd, path) => {
    pwrite(fd.fd, Buffer.from('deadbeef {"half":'), readJournal(fd.fd).sizeBytes);
    const journal = new Journal(fd, readJournal(fd.fd).sizeBytes, path, (error) => assert.fail(String(error)));
    journal.append({ kind: 'next' });
    assert.deepEqual(readJournal(fd.fd).records, [{ kind: 'next' }]);
    journal.close();
  }));

test('compaction replaces memfd and copy by the snapshot, and appending goes on there', () =>
  withJournal(async (fd, path) => {
    const journal = new Journal(fd, readJournal(fd.fd).sizeBytes, path, (error) => assert.fail(String(error)));
    for (let n = 0; n < 100; n += 1) journal.append({ kind: 'noise', n });
    let kept: OwnedFd | undefined;
    await journal.compact([{ kind: 'snapshot' }], async (made) => void (kept = made));
    journal.append({ kind: 'after' });
    assert.deepEqual(readJournal(kept!.fd).records, [{ kind: 'snapshot' }, { kind: 'after' }]);
    journal.close();
    assert.deepEqual(decodeJournal(readFileSync(path)).records, [{ kind: 'snapshot' }, { kind: 'after' }]);
    assert.equal(readJournal(fd.fd).records.length, 100, 'the old one is left as it was');
    kept!.close();
  }));

test('compaction is wanted only when the journal is large', () =>
  withJournal(async (fd, path) => {
    const journal = new Journal(fd, readJournal(fd.fd).sizeBytes, path, () => undefined);
    journal.append({ kind: 'big', text: 'x'.repeat(4 * 1024 * 1024) });
    assert.equal(journal.wantsCompaction, false);
    journal.append({ kind: 'big', text: 'x'.repeat(5 * 1024 * 1024) });
    assert.equal(journal.wantsCompaction, true);
    journal.close();
  }));

test('a copy that cannot be written is told, and the journal itself goes on', async () => {
  const fd = memfdCreate('journal');
  try {
    pwrite(fd.fd, encodeHeader(), 0);
    const errors: unknown[] = [];
    const journal = new Journal(fd, encodeHeader().length, '/dev/null/no/such/place', (error) => errors.push(error));
    journal.append({ kind: 'a' });
    journal.close();
    assert.ok(errors.length > 0);
    assert.deepEqual(readJournal(fd.fd).records, [{ kind: 'a' }]);
  } finally {
    fd.close();
  }
});
