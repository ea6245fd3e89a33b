/** What the tests of src/sys share: counting descriptors, temporary folders, errors by name. */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { OwnedFd, SysError, eventLoop } from '../../src/sys/index.js';

/** Open descriptors of this process, as `number -> what it is`. */
export function openFds(): Map<number, string> {
  const fds = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      fds.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The one that listed the folder is closed by now.
    }
  }
  return fds;
}

/** For a whole test file: what is open at its end was open at its beginning, and no OwnedFd is left. */
export function leakCheck(): void {
  let before_: Map<number, string>;
  before(() => {
    eventLoop();
    before_ = openFds();
    OwnedFd.track(true);
  });
  after(async () => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.deepEqual(OwnedFd.live(), [], 'an OwnedFd was not closed');
    OwnedFd.track(false);
    const left = [...openFds()].filter(([fd, what]) => before_.get(fd) !== what && !what.startsWith('anon_inode'));
    assert.deepEqual(left, [], 'descriptors were left open');
    assert.equal(eventLoop().watchCount, 0, 'a watch was left open');
  });
}

/** Run `use` with a temporary folder, which is removed afterwards. */
export async function withFolder<T>(use: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'luo-test-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Assert that `call` fails with the error number of that name. */
export function throwsErrno(call: () => unknown, errnoName: string): void {
  assert.throws(call, (error: unknown) => {
    assert.ok(error instanceof SysError, `no SysError: ${String(error)}`);
    assert.equal(error.errnoName, errnoName);
    return true;
  });
}

/** Wait until `condition` holds; fails after a generous time. */
export async function until(condition: () => boolean, what: string, limitMs = 20_000): Promise<void> {
  const end = performance.now() + limitMs;
  while (!condition()) {
    assert.ok(performance.now() < end, `still waiting for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A limit of open files below which `free` numbers (one more, if the listing itself took one) are not in use. */
export function limitWithFree(free: number): number {
  const used = openFds();
  let number = 0;
  for (let left = free; left > 0; number += 1) if (!used.has(number)) left -= 1;
  return number;
}
