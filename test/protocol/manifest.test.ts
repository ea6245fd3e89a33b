// Goal: whatever becomes of the bytes of a manifest, nobody reads out of them what was not written: names, bodies, and
// above all that everybody had stopped.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LuoError } from '../../src/base/errors.js';
import { encodeHeads, encodeSlot, planManifest, readHead, readSlots } from '../../src/protocol/manifest.js';
import type { ManifestHead } from '../../src/protocol/manifest.js';

const NAMES = ['luod', 'luo-0123456789abcdef', 'luo-ünïcode'];

class File {
  readonly bytes: Buffer;
  readonly layout;
  constructor(names: readonly string[], bodyBytes: number) {
    this.layout = planManifest(names, bodyBytes);
    this.bytes = Buffer.alloc(this.layout.fileBytes);
    for (const { offset, bytes } of encodeHeads(this.layout, names)) this.bytes.set(bytes, offset);
  }
  write(body: unknown, options: { frozen: boolean; sequence: number; version?: number }): this {
    const { offset, bytes } = encodeSlot(this.layout, body, options);
    this.bytes.set(bytes, offset);
    return this;
  }
  readonly read = (offset: number, length: number): Uint8Array => this.bytes.subarray(offset, offset + length);
  head(): ManifestHead {
    return readHead(this.bytes.length, this.read);
  }
  slots(): ReturnType<typeof readSlots> {
    return readSlots(this.layout, this.read);
  }
}

const codeOf = (work: () => unknown): string => {
  try {
    work();
    return 'none';
  } catch (error) {
    return LuoError.from(error).code;
  }
};

function valueOf<T>(work: () => T): T | string {
  try {
    return work();
  } catch (error) {
    return LuoError.from(error).code;
  }
}

test('names and the later body come back, with its mark', () => {
  const file = new File(NAMES, 1000).write({ a: 1 }, { frozen: false, sequence: 1 });
  assert.deepEqual(file.head().names, NAMES);
  assert.equal(file.head().damaged, false);
  assert.deepEqual(file.slots(), { body: { a: 1 }, frozen: false, sequence: 1, damaged: 0 });
  file.write({ a: 2, newer: { field: [1] } }, { frozen: true, sequence: 2 });
  assert.deepEqual(file.slots(), { body: { a: 2, newer: { field: [1] } }, frozen: true, sequence: 2, damaged: 0 });
  file.write({ a: 3 }, { frozen: false, sequence: 3 });
  assert.equal(file.slots().frozen, false);
});

test('a body that is too large is refused, and what was written stays', () => {
  const file = new File(NAMES, 100).write({ a: 1 }, { frozen: false, sequence: 1 });
  assert.equal(
    codeOf(() => file.write({ text: 'x'.repeat(10_000) }, { frozen: true, sequence: 2 })),
    'MANIFEST_FULL',
  );
  assert.deepEqual(file.slots().body, { a: 1 });
});

test('no single flipped bit gives other names, another body, or the mark frozen', () => {
  const bodies = ['{"n":1}', '{"n":2}'];
  for (const frozen of [false, true]) {
    const file = new File(NAMES, 200)
      .write({ n: 1 }, { frozen: false, sequence: 1 })
      .write({ n: 2 }, { frozen, sequence: 2 });
    for (let bit = 0; bit < file.bytes.length * 8; bit += bit < 8 * 600 ? 1 : 37) {
      const at = bit >> 3;
      file.bytes[at]! ^= 1 << (bit & 7);
      const isHeadRead = codeOf(() => assert.deepEqual(file.head().names, NAMES));
      assert.equal(isHeadRead, 'none', `bit ${bit}: the names`);
      try {
        const { body, frozen: mark } = file.slots();
        assert.ok(bodies.includes(JSON.stringify(body)), `bit ${bit}: ${JSON.stringify(body)}`);
        if (!frozen) assert.equal(mark, false, `bit ${bit}: frozen`);
      } catch (error) {
        assert.equal(LuoError.from(error).code, 'MANIFEST_TOO_NEW', `bit ${bit}`);
      }
      file.bytes[at]! ^= 1 << (bit & 7);
    }
  }
});

test('a damaged slot leaves the other, and frozen counts no more', () => {
  const file = new File(NAMES, 200)
    .write({ n: 1 }, { frozen: false, sequence: 1 })
    .write({ n: 2 }, { frozen: true, sequence: 2 });
  file.bytes[file.layout.headBytes + 34]! ^= 1;
  const { body, frozen, damaged } = file.slots();
  assert.deepEqual([body, frozen, damaged], [{ n: 1 }, false, 1]);
  file.bytes[file.layout.headBytes + file.layout.slotBytes + 34]! ^= 1;
  assert.equal(
    codeOf(() => file.slots()),
    'MANIFEST_DAMAGED',
  );
});

test('a slot that was wiped is not taken for one that was never written', () => {
  const file = new File(NAMES, 200)
    .write({ n: 2 }, { frozen: true, sequence: 2 })
    .write({ n: 3 }, { frozen: false, sequence: 3 });
  assert.equal(file.slots().frozen, false);
  file.bytes.fill(0, file.layout.headBytes + file.layout.slotBytes, file.layout.headBytes + 2 * file.layout.slotBytes);
  const { body, frozen, damaged } = file.slots();
  assert.deepEqual([body, frozen, damaged], [{ n: 2 }, false, 1]);
});

test('a writer that dies in the midst of a slot leaves what was there before, and not as frozen', () => {
  const before = { text: 'x'.repeat(500), n: 2 };
  const next = { text: 'y'.repeat(600), n: 3 };
  const whole = new File(NAMES, 1000).write({ n: 1 }, { frozen: false, sequence: 1 });
  whole.write(before, { frozen: true, sequence: 2 });
  const { offset, bytes } = encodeSlot(whole.layout, next, { frozen: false, sequence: 3 });
  for (let written = 0; written <= bytes.length; written += 1) {
    const file = new File(NAMES, 1000);
    file.bytes.set(whole.bytes);
    file.bytes.set(bytes.subarray(0, written), offset);
    const { body, frozen } = file.slots();
    if (written === bytes.length) assert.deepEqual([body, frozen], [next, false]);
    else if (written === 0) assert.deepEqual([body, frozen], [before, true]);
    // Nothing was changed by as much as was written, or it is seen.
    else assert.deepEqual([body, frozen], [before, file.bytes.equals(whole.bytes)], `${written} bytes`);
  }
});

test('whatever several bytes become, nobody reads what was not written', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 64 })), { minLength: 1, maxLength: 6 }),
      (damages) => {
        const file = new File(NAMES, 200)
          .write({ n: 1 }, { frozen: false, sequence: 1 })
          .write({ n: 2 }, { frozen: false, sequence: 2 });
        for (const [at, bytes] of damages) {
          const offset = at % file.bytes.length;
          file.bytes.set(bytes.subarray(0, file.bytes.length - offset), offset);
        }
        const names = valueOf(() => file.head().names);
        if (names !== 'MANIFEST_DAMAGED') assert.deepEqual(names, NAMES);
        const read = valueOf(() => file.slots());
        if (typeof read === 'string') return assert.equal(read, 'MANIFEST_DAMAGED');
        assert.ok(['{"n":1}', '{"n":2}'].includes(JSON.stringify(read.body)));
        assert.equal(read.frozen, false);
      },
    ),
    { numRuns: 2000 },
  );
});

test('noise of any length is a manifest of nobody', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 40_000, size: 'max' }), (noise) => {
      const read = (offset: number, length: number): Uint8Array => {
        assert.ok(offset >= 0 && offset + length <= noise.length, 'only what is there is read');
        return noise.subarray(offset, offset + length);
      };
      assert.equal(
        codeOf(() => readHead(noise.length, read)),
        'MANIFEST_DAMAGED',
      );
    }),
  );
});

test('a newer version is said so, and the names are still there', () => {
  const file = new File(NAMES, 200).write({ n: 1 }, { frozen: true, sequence: 1, version: 2 });
  assert.equal(
    codeOf(() => file.slots()),
    'MANIFEST_TOO_NEW',
  );
  assert.deepEqual(file.head().names, NAMES);
});

test('one head is enough; without both the names are lost, and that is said', () => {
  const file = new File(NAMES, 200);
  file.bytes.fill(0xff, 0, file.layout.headBytes);
  assert.deepEqual(file.head().names, NAMES);
  assert.equal(file.head().damaged, true);
  file.bytes.fill(0xff, file.bytes.length - 4096 - file.layout.headBytes);
  assert.equal(
    codeOf(() => file.head()),
    'MANIFEST_DAMAGED',
  );
});

test('a file that was cut anywhere is damaged, never misread', () => {
  const file = new File(NAMES, 200).write({ n: 1 }, { frozen: true, sequence: 1 });
  for (let length = 0; length < file.bytes.length; length += 97) {
    const read = (offset: number, count: number): Uint8Array => {
      const bytes = new Uint8Array(count);
      bytes.set(file.bytes.subarray(offset, Math.min(length, offset + count)));
      return bytes;
    };
    assert.equal(
      codeOf(() => readHead(length, read)),
      'MANIFEST_DAMAGED',
      `${length} bytes`,
    );
  }
});
