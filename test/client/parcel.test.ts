// Goal: what is put into a parcel comes out of it, bytes inline or in a memfd; what is damaged or foreign harms nobody.
import assert from 'node:assert/strict';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { BlobWriter, readParcel } from '../../src/client/parcel.js';
import { OwnedFd, closeAll, dupFd, eventfd } from '../../src/sys/index.js';

describe('parcel', () => {
  beforeEach(() => OwnedFd.track(true));
  afterEach(() => {
    const live = OwnedFd.live();
    OwnedFd.track(false);
    assert.deepEqual(live, [], 'every fd was closed');
  });

  for (const size of [0, 1, 24 * 1024, 24 * 1024 + 1, 3_000_000]) {
    test(`${size} bytes come out as they went in, behind the fds of others`, () => {
      const blob = new BlobWriter();
      const bytes = Buffer.alloc(size, 'luo');
      const counts = [blob.add(bytes.subarray(0, 1)), blob.add(bytes.subarray(1))];
      const saved = [blob.pack({ a: [1, null] }), blob.pack(Buffer.from('ada'))];
      const other = eventfd();
      const sent = blob.finish({ states: [] }, [other.fd]);
      const wire = JSON.parse(JSON.stringify(sent.parcel)) as unknown;
      const read = readParcel(
        wire,
        sent.fds.map((fd) => dupFd(fd)),
      )!;
      sent.blobFd?.close();
      other.close();
      assert.equal(read.fds.length, 1);
      closeAll(read.fds);
      assert.ok(Buffer.concat(counts.map((count) => read.blob.take(count))).equals(bytes));
      assert.deepEqual(read.blob.unpack(saved[0]!), { a: [1, null] });
      assert.equal(String(read.blob.unpack(saved[1]!)), 'ada');
      assert.equal(read.blob.left, 0);
    });
  }

  for (const foreign of [null, undefined, 7, 'x', [], {}, { luo: 'x' }]) {
    test(`a parcel that is not ours is passed over with its fds: ${JSON.stringify(foreign) ?? 'undefined'}`, () => {
      assert.equal(readParcel(foreign, [eventfd()]), undefined);
    });
  }

  test('a parcel of a newer library is refused, and its fds stay with the caller', () => {
    const fd = eventfd();
    assert.throws(() => readParcel({ luo: 99 }, [fd]), { code: 'PROTO_VERSION' });
    fd.close();
  });

  test('a parcel that promises an fd for its bytes and has none is refused', () => {
    assert.throws(() => readParcel({ luo: 1, blobFd: true }, []), { code: 'PROTO_FDS' });
  });

  test('more bytes than came are refused, and so are lengths that are none', () => {
    const read = readParcel({ luo: 1, blob: Buffer.from('abc').toString('base64') }, [])!;
    for (const length of [4, -1, 0.5, NaN, Infinity])
      assert.throws(() => read.blob.take(length), { code: 'PROTO_INVALID' });
    assert.equal(String(read.blob.take(3)), 'abc');
  });
});
