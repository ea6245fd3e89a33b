/**
 * What is asked of an fd once, before the kinds look at it: fstat, the link text of /proc, its own lines of fdinfo, the
 * file system it lives on. Opens nothing, changes nothing.
 */
import { readFileSync, readlinkSync, statfsSync } from 'node:fs';
import { LuoError } from '../../base/errors.js';
import type { FdDescription, Viability } from '../../ports/index.js';
import { fstat, getStatusFlags, SysError, type FileStat } from '../../sys/index.js';

export interface FdFacts {
  /** Borrowed. */
  readonly fd: number;
  readonly stat: FileStat;
  /** Text of /proc/self/fd/N; empty where there is no /proc. */
  readonly link: string;
  /** O_* bits of the open file. */
  readonly flags: number;
}

/** One kind of thing: the description of an fd that is one, else null. */
export type FdKind = (facts: FdFacts) => FdDescription | null;

const S_IFMT = 0o170000;
export const FILE_TYPE = {
  socket: 0o140000,
  regular: 0o100000,
  block: 0o060000,
  directory: 0o040000,
  character: 0o020000,
  fifo: 0o010000,
} as const;

export const GOES_OVER: Viability = { ok: true, reason: '' };

/** @throws LuoError SYS EBADF */
export function gatherFacts(fd: number): FdFacts {
  try {
    return { fd, stat: fstat(fd), flags: getStatusFlags(fd), link: linkText(fd) };
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    throw new LuoError('SYS', `fd ${fd} cannot be described: ${error.errnoName}`, {
      errno: error.errnoName,
      cause: error,
    });
  }
}

export function isType(facts: FdFacts, type: keyof typeof FILE_TYPE): boolean {
  return (facts.stat.mode & S_IFMT) === FILE_TYPE[type];
}

/** The text between the brackets of `anon_inode:[eventfd]`, else null. */
export function anonymousName(facts: FdFacts): string | null {
  return /^anon_inode:\[?([^\]]+)\]?/.exec(facts.link)?.[1] ?? null;
}

/** The value of a line `name: value` of its fdinfo. */
export function fdinfo(facts: FdFacts, name: string): string | null {
  return fdinfoLines(facts, name)[0] ?? null;
}

/** The rest of every line of its fdinfo that begins with `name`. */
export function fdinfoLines(facts: FdFacts, name: string): string[] {
  try {
    return readFileSync(`/proc/self/fdinfo/${facts.fd}`, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith(name))
      .map((line) => line.slice(name.length).replace(/^:/, '').trim());
  } catch {
    return [];
  }
}

/** Magic number of the file system below the fd; null where it cannot be asked. @source include/uapi/linux/magic.h */
export function fileSystemMagic(facts: FdFacts): number | null {
  try {
    return statfsSync(`/proc/self/fd/${facts.fd}`).type >>> 0;
  } catch {
    return null;
  }
}

/** Why the kernel's gap is closed to it: it has one handler, for memfds. */
export function noHandler(what: string, instead: string): Viability {
  return { ok: false, reason: `no kernel handler preserves ${what}; ${instead}` };
}

function linkText(fd: number): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return '';
  }
}
