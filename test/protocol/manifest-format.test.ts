// Goal: docs/kexec-format.md is enough to read a manifest, and it is the truth. Method: a reader that knows nothing but the
// offsets in its tables reads what src/protocol/manifest.ts writes.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { crc32 } from '../../src/base/crc32.js';
import {
  MANIFEST_SESSION,
  MANIFEST_TOKEN,
  MANIFEST_VERSION,
  encodeHeads,
  encodeSlot,
  planManifest,
} from '../../src/protocol/manifest.js';
import { bare, read, tableRows } from '../docs/pages.js';

const page = read('docs/kexec-format.md');
const NAMES = ['luod', 'luo-0123456789abcdef', 'luo-ünïcode'];

interface Field {
  readonly offset: number;
  readonly bytes: number;
  readonly what: string;
}

/** The rows of a table by a word that each begins with. */
function fieldsOf(table: string): (word: string) => Field {
  const fields = tableRows(page, table).map(([offset = '', bytes = '', what = '']) => ({
    offset: Number(offset),
    bytes: Number(bytes),
    what: bare(what),
  }));
  return (word) => fields.find(({ what }) => what.startsWith(word)) ?? assert.fail(`${table} has no '${word}'`);
}

function numberAt(file: Buffer, base: number, { offset, bytes }: Field): number {
  return bytes === 8 ? Number(file.readBigUInt64LE(base + offset)) : file.readUInt32LE(base + offset);
}

/** With zero in the place of the checksum itself. */
function crcOf(file: Buffer, base: number, bytes: number, { offset }: Field): number {
  const copy = Buffer.from(file.subarray(base, base + bytes));
  copy.writeUInt32LE(0, offset);
  return crc32(copy);
}

function written(): Buffer {
  const layout = planManifest(NAMES, 6000);
  const file = Buffer.alloc(layout.fileBytes);
  const parts = [
    ...encodeHeads(layout, NAMES),
    encodeSlot(layout, { n: 1 }, { frozen: false, sequence: 1 }),
    encodeSlot(layout, { n: 2, text: 'ü' }, { frozen: true, sequence: 2 }),
  ];
  for (const { offset, bytes } of parts) file.set(bytes, offset);
  return file;
}

function readHead(file: Buffer, base: number): { H: number; S: number; names: unknown } {
  const field = fieldsOf('head');
  const text = field('names');
  const magic = field('LUOHEAD1');
  assert.equal(file.toString('latin1', base + magic.offset, base + magic.offset + magic.bytes), magic.what);
  assert.equal(numberAt(file, base, field('zero')), 0);
  const end = text.offset + numberAt(file, base, field('bytes of the names'));
  assert.equal(numberAt(file, base, field('checksum')), crcOf(file, base, end, field('checksum')));
  const names = JSON.parse(file.toString('utf8', base + text.offset, base + end)) as unknown;
  return { H: numberAt(file, base, field('H')), S: numberAt(file, base, field('S')), names };
}

test('both heads are read by the page, the second one by the trailer', () => {
  const file = written();
  const { H, S, names } = readHead(file, 0);
  assert.deepEqual(names, NAMES);
  assert.deepEqual([H % 4096, S % 4096, file.length], [0, 0, 2 * H + 2 * S + 4096]);
  const trailer = file.length - 16;
  const field = fieldsOf('trailer');
  const magic = field('LUOTAIL1');
  assert.equal(file.toString('latin1', trailer + magic.offset, trailer + magic.offset + magic.bytes), magic.what);
  assert.equal(
    numberAt(file, trailer, field('checksum')),
    crc32(file.subarray(trailer, trailer + field('checksum').offset)),
  );
  assert.match(field('H').what, /H \+ 4096 bytes before the end/);
  assert.deepEqual(readHead(file, file.length - numberAt(file, trailer, field('H')) - 4096), { H, S, names });
});

test('a body is read by the page, in the slot of its sequence number', () => {
  const file = written();
  const { H, S } = readHead(file, 0);
  const field = fieldsOf('slot');
  const expected = [
    { sequence: 2, frozen: 1, body: { n: 2, text: 'ü' } },
    { sequence: 1, frozen: 0, body: { n: 1 } },
  ];
  for (const [slot, { sequence, frozen, body }] of expected.entries()) {
    const base = H + slot * S;
    const magic = field('LUOSLOT1');
    assert.equal(file.toString('latin1', base + magic.offset, base + magic.offset + magic.bytes), magic.what);
    assert.equal(sequence % 2, slot);
    assert.equal(numberAt(file, base, field('sequence')), sequence);
    assert.equal(numberAt(file, base, field('1: everybody')), frozen);
    assert.equal(numberAt(file, base, field('version')), MANIFEST_VERSION);
    const start = base + field('the body').offset;
    const text = file.subarray(start, start + numberAt(file, base, field('bytes of the body')));
    const header = crcOf(file, base, field('the body').offset, field('checksum'));
    assert.equal(numberAt(file, base, field('checksum')), (header ^ crc32(text)) >>> 0);
    assert.deepEqual(JSON.parse(text.toString('utf8')), body);
  }
});

test('the page names the version, the session and the token that are used', () => {
  assert.match(page, new RegExp(`session \`${MANIFEST_SESSION}\`, under token ${MANIFEST_TOKEN}\\.`));
  assert.match(fieldsOf('slot')('version').what, new RegExp(`describes ${MANIFEST_VERSION}$`));
});
