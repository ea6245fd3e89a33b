/** Files that output is appended to. */
import { closeSync, copyFileSync, mkdirSync, openSync, statSync, truncateSync } from 'node:fs';
import { dirname } from 'node:path';
import { OwnedFd } from '../sys/index.js';

/** `path` for appending, made with its folder if missing; only its owner may read it. */
export function openAppend(path: string): OwnedFd {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  return new OwnedFd(openSync(path, 'a', 0o600));
}

/**
 * Bound the file at `path`: beyond `bytesMax` it is copied to `PATH.1`, which is replaced, and emptied. Its writers append, so
 * that they go on at its beginning; what they write between copy and cut is lost.
 * @returns whether it was too long; false also if there is none
 */
export function rotate(path: string, bytesMax: number): boolean {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat || stat.size <= bytesMax) return false;
  copyFileSync(path, `${path}.1`);
  truncateSync(path, 0);
  return true;
}

/** `path` for reading. @throws ENOENT */
export function openRead(path: string): OwnedFd {
  const fd = openSync(path, 'r');
  try {
    return new OwnedFd(fd);
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
