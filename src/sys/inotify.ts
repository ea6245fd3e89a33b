/** Changes of files and folders, told through a descriptor. @source include/uapi/linux/inotify.h */
import { IN } from '../abi/linux.js';
import { INOTIFY_EVENT } from '../abi/structs.js';
import { read } from './file.js';
import * as libc from './libc.js';
import { OwnedFd } from './owned-fd.js';
import { check, isSysError } from './sys-error.js';

export interface InotifyEvent {
  readonly watch: number;
  /** IN */
  readonly mask: number;
  /** Name inside the watched folder; empty for the watched thing itself. */
  readonly name: string;
}

/** A new queue, close-on-exec and non-blocking. @throws SysError EMFILE */
export function inotifyInit(): OwnedFd {
  return new OwnedFd(check(libc.inotify_init1(IN.CLOEXEC | IN.NONBLOCK), 'inotify_init1'));
}

/** Watch `path` for `mask` (IN); returns the watch's number. @throws SysError ENOENT, EACCES, ENOSPC too many watches */
export function inotifyAddWatch(fd: number, path: string, mask: number): number {
  return check(libc.inotify_add_watch(fd, path, mask), 'inotify_add_watch', path);
}

/** End a watch; an IN.IGNORED event follows. @throws SysError EINVAL no such watch */
export function inotifyRemoveWatch(fd: number, watch: number): void {
  check(libc.inotify_rm_watch(fd, watch), 'inotify_rm_watch');
}

/** The events that wait, at most one buffer full of them; empty if none does. */
export function inotifyRead(fd: number): InotifyEvent[] {
  const buffer = Buffer.alloc(16 * 1024);
  let size: number;
  try {
    size = read(fd, buffer);
  } catch (error) {
    if (isSysError(error, 'EAGAIN')) return [];
    throw error;
  }
  const events: InotifyEvent[] = [];
  for (let at = 0; at < size;) {
    const length = buffer.readUInt32LE(at + INOTIFY_EVENT.len);
    const start = at + INOTIFY_EVENT.sizeBytes;
    events.push({
      watch: buffer.readInt32LE(at + INOTIFY_EVENT.wd),
      mask: buffer.readUInt32LE(at + INOTIFY_EVENT.mask),
      name: buffer.toString('utf8', start, start + length).replace(/\0+$/, ''),
    });
    at = start + length;
  }
  return events;
}
