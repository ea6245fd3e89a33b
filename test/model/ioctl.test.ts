// Goal: the common checks of an ioctl come in the kernel's order. Method: one call that breaks two rules at a time, so
// that the answer shows which is asked first; struct layouts are compared byte by byte.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { checkIoctl, decodeFdToken, decodeReserved, decodeSessionName, encodeFd } from '../../src/model/index.js';
import { encodeName, IOCTLS, ioctlCommand, nameFromText } from '../../src/model/index.js';
import type { ReadUser } from '../../src/model/index.js';

const CREATE = 0xba00;
const PRESERVE = 0xba40;
const RETRIEVE_FD = 0xba41;
const FINISH = 0xba42;

/** Memory of a process: `bytes` at the address of the struct, nothing behind them. */
function memory(bytes: Uint8Array): ReadUser {
  return (offset, length) => (offset + length <= bytes.length ? bytes.slice(offset, offset + length) : undefined);
}

function struct(size: number, length = size, fill = 0): ReadUser {
  const bytes = new Uint8Array(length).fill(fill);
  if (length >= 4) new DataView(bytes.buffer).setUint32(0, size, true);
  return memory(bytes);
}

function errno(checked: ReturnType<typeof checkIoctl>): string | null {
  return checked.ok ? null : checked.errno;
}

const NONE = memory(new Uint8Array(0));

suite('the order of checks', () => {
  test('a number out of the table is EINVAL, before memory is read', () => {
    assert.equal(errno(checkIoctl('device', 0xba02, null, NONE)), 'EINVAL');
    assert.equal(errno(checkIoctl('session', 0xba3f, 'outgoing', NONE)), 'EINVAL');
    assert.equal(errno(checkIoctl('session', 0xba44, 'outgoing', NONE)), 'EINVAL');
  });

  test('a command of the other node is EINVAL', () => {
    assert.equal(errno(checkIoctl('device', PRESERVE, null, struct(16))), 'EINVAL');
    assert.equal(errno(checkIoctl('session', CREATE, 'outgoing', struct(72))), 'EINVAL');
  });

  test('a size word that cannot be read is EFAULT, before the command word is compared', () => {
    assert.equal(errno(checkIoctl('device', CREATE, null, NONE)), 'EFAULT');
    assert.equal(errno(checkIoctl('device', 0xc048ba00, null, NONE)), 'EFAULT');
  });

  test('a known number with a foreign command word is ENOTTY', () => {
    // _IOWR(0xBA, 0, 72), and TCGETS-like words of type T.
    assert.equal(errno(checkIoctl('device', 0xc048ba00, null, struct(72))), 'ENOTTY');
    assert.equal(errno(checkIoctl('device', 0x5400, null, struct(72))), 'ENOTTY');
    assert.equal(errno(checkIoctl('session', 0x5440, 'outgoing', struct(16))), 'ENOTTY');
  });

  test('ENOTTY comes before the direction and the size', () => {
    assert.equal(errno(checkIoctl('session', 0xc010ba41, 'outgoing', struct(1, 16))), 'ENOTTY');
  });

  test('a session of the other direction is EINVAL, before the tail is looked at', () => {
    const nonZeroTail = struct(24, 24, 1);
    assert.equal(errno(checkIoctl('session', RETRIEVE_FD, 'outgoing', nonZeroTail)), 'EINVAL');
    assert.equal(errno(checkIoctl('session', PRESERVE, 'incoming', nonZeroTail)), 'EINVAL');
    assert.equal(errno(checkIoctl('session', FINISH, 'outgoing', struct(8))), 'EINVAL');
  });

  test('a size below the minimum is EINVAL', () => {
    assert.equal(errno(checkIoctl('device', CREATE, null, struct(71, 72))), 'EINVAL');
    assert.equal(errno(checkIoctl('device', CREATE, null, struct(0, 72))), 'EINVAL');
    assert.equal(errno(checkIoctl('session', PRESERVE, 'outgoing', struct(15, 16))), 'EINVAL');
    assert.equal(errno(checkIoctl('session', FINISH, 'incoming', struct(7, 8))), 'EINVAL');
  });

  test('a longer struct is accepted with a zero tail, and E2BIG with any other', () => {
    const checked = checkIoctl('session', PRESERVE, 'outgoing', struct(8192));
    assert.ok(checked.ok);
    assert.equal(checked.bytes.length, 16);
    assert.equal(checked.replyBytes, 16);
    const bytes = new Uint8Array(8192);
    new DataView(bytes.buffer).setUint32(0, 8192, true);
    bytes[8191] = 1;
    assert.equal(errno(checkIoctl('session', PRESERVE, 'outgoing', memory(bytes))), 'E2BIG');
  });

  test('a byte that is not zero is E2BIG, although behind it nothing can be read', () => {
    const bytes = new Uint8Array(32);
    new DataView(bytes.buffer).setUint32(0, 4096, true);
    bytes[31] = 1;
    assert.equal(errno(checkIoctl('session', PRESERVE, 'outgoing', memory(bytes))), 'E2BIG');
  });

  test('a tail that cannot be read is EFAULT', () => {
    assert.equal(errno(checkIoctl('session', PRESERVE, 'outgoing', struct(64, 32))), 'EFAULT');
    assert.equal(errno(checkIoctl('session', PRESERVE, 'outgoing', struct(0xffff_ffff, 16))), 'EFAULT');
  });

  test('a struct that ends before its known part is EFAULT', () => {
    assert.equal(errno(checkIoctl('device', CREATE, null, struct(72, 40))), 'EFAULT');
  });
});

suite('the table', () => {
  test('commands are 0xBA in the second byte and the number in the first', () => {
    assert.deepEqual(
      IOCTLS.map((row) => [row.name, ioctlCommand(row.name), row.sizeBytes]),
      [
        ['createSession', 0xba00, 72],
        ['retrieveSession', 0xba01, 72],
        ['preserveFd', 0xba40, 16],
        ['retrieveFd', 0xba41, 16],
        ['finish', 0xba42, 8],
        ['getName', 0xba43, 72],
      ],
    );
  });

  test('the known part that is shorter than the struct never happens: minimum is size', () => {
    for (const row of IOCTLS) assert.equal(row.minBytes, row.sizeBytes);
  });
});

suite('the structs', () => {
  test('fd is signed at 4, token unsigned at 8', () => {
    const bytes = new Uint8Array(16);
    const view = new DataView(bytes.buffer);
    view.setInt32(4, -1, true);
    view.setBigUint64(8, 0xffff_ffff_ffff_fff0n, true);
    assert.deepEqual(decodeFdToken(bytes), { fd: -1, token: 0xffff_ffff_ffff_fff0n });
  });

  test('an answer changes its own field only', () => {
    const bytes = Uint8Array.from({ length: 16 }, (_, index) => index);
    const answer = encodeFd(bytes, 7);
    assert.deepEqual([...answer.subarray(0, 4)], [0, 1, 2, 3]);
    assert.deepEqual([...answer.subarray(4, 8)], [7, 0, 0, 0]);
    assert.deepEqual([...answer.subarray(8)], [8, 9, 10, 11, 12, 13, 14, 15]);
    assert.equal(bytes[4], 4, 'the caller’s bytes are not touched');
  });

  test('a name goes into its field and comes back, byte by byte', () => {
    const name = nameFromText('vm-7 ü');
    const answer = encodeName(new Uint8Array(72).fill(9), name);
    assert.equal(decodeSessionName(answer), name);
    assert.equal(answer[7], 9);
  });

  test('a name is copied by words of 8 bytes with its NUL; behind that the caller’s bytes stay', () => {
    const copied = (length: number): number => {
      const answer = encodeName(new Uint8Array(72).fill(9), 'x'.repeat(length));
      assert.ok(
        answer.subarray(8 + length, answer.indexOf(9, 8) < 0 ? 72 : answer.indexOf(9, 8)).every((byte) => byte === 0),
      );
      return answer.subarray(8).filter((byte) => byte !== 9).length;
    };
    assert.deepEqual([1, 7, 8, 9, 15, 16, 55, 56, 63].map(copied), [8, 8, 16, 16, 16, 24, 56, 64, 64]);
  });

  test('64 bytes without a NUL are a name of 64 bytes, which no call accepts', () => {
    assert.equal(decodeSessionName(new Uint8Array(72).fill(0x58)).length, 64);
  });

  test('bytes behind the first NUL do not count', () => {
    const bytes = new Uint8Array(72).fill(0x41);
    bytes[10] = 0;
    assert.equal(decodeSessionName(bytes), 'AA');
  });

  test('reserved is at 4', () => {
    assert.equal(decodeReserved(Uint8Array.of(8, 0, 0, 0, 1, 0, 0, 0)), 1);
  });
});
