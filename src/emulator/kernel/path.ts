/**
 * Does a path, as a program means it, name the device? It is looked up as the kernel would, from the program's own root,
 * working directory or directory descriptor: dots, links, and the links of /proc that lead to open files.
 *
 * The device lies in the folder that is /dev for the emulator itself, whatever it is called by the program: a program in a
 * container with a /dev of its own has no device, as with a real kernel.
 * Happy path: one comparison and one stat. Unhappy path: what cannot be followed is no device, and the real kernel says why.
 * Never here: opening anything but to look up names (O_PATH).
 * @source fs/namei.c
 */
import { readlinkSync, statSync, statfsSync, type BigIntStats } from 'node:fs';
import { O } from '../../abi/linux.js';
import { fstat, openFile, type OwnedFd } from '../../sys/index.js';
import { TargetGone, type Target } from './target.js';

export const DEVICE_PATH = '/dev/liveupdate';
const DEVICE_NAME = 'liveupdate';
const AT_FDCWD = -100;
const O_NOFOLLOW: Readonly<Record<string, number>> = { x64: 0o400000, arm64: 0o100000 };
const PROC_MAGIC = 0x9fa0;
const TYPE_MASK = 0o170000;
const TYPE_LINK = 0o120000;
const LINKS_MAX = 40;

/** What a path names, as far as it matters here. */
export type Named =
  /** `asFolder`: the path goes on behind it, which no device allows. */
  | { readonly kind: 'device'; readonly asFolder: boolean }
  /** An open file of a program, by its descriptor in /proc; `link` is what that shows. */
  | { readonly kind: 'open'; readonly link: string; readonly stat: BigIntStats }
  | { readonly kind: 'other' };

const OTHER: Named = { kind: 'other' };

export interface Lookup {
  readonly dirfd: number;
  /** A byte string. */
  readonly path: string;
  /** The last part may be a link. */
  readonly follow: boolean;
  /** A link of /proc to an open file is what is asked for, though links are not followed. */
  readonly openLinks?: boolean;
  /** openat2(2): no links at all; no links of /proc; `dirfd` is the root of all. */
  readonly noLinks?: boolean;
  readonly noMagicLinks?: boolean;
  readonly inRoot?: boolean;
}

export function lookUp(target: Target, lookup: Lookup): Named {
  try {
    if (lookup.path === DEVICE_PATH && !lookup.inRoot)
      return isDev(statSync(`/proc/${target.threadId}/root/dev`, { bigint: true }))
        ? { kind: 'device', asFolder: false }
        : OTHER;
    if (!mayName(target, lookup)) return OTHER;
    using walk = new Walk(target, lookup);
    return walk.run();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (error instanceof TargetGone || typeof code !== 'string') throw error;
    return OTHER;
  }
}

/** Quickly: no path can name the device but by its own name or by a link. */
function mayName(target: Target, { path, dirfd }: Lookup): boolean {
  if (/(^|\/)liveupdate(\/|$)/.test(path)) return true;
  try {
    readlinkSync(Buffer.from(`${startOf(target, path, dirfd)}/${path}`, 'latin1'));
    return true;
  } catch {
    // By our own eyes /proc/self is another process.
    return /(^|\/)(self|thread-self)\//.test(path) || path.startsWith('/dev/fd/');
  }
}

function startOf(target: Target, path: string, dirfd: number): string {
  const process = `/proc/${target.threadId}`;
  if (path.startsWith('/')) return `${process}/root`;
  return dirfd === AT_FDCWD ? `${process}/cwd` : `${process}/fd/${dirfd}`;
}

let dev: { readonly dev: bigint; readonly ino: bigint } | undefined;

function isDev(stat: { readonly dev: bigint; readonly ino: bigint }): boolean {
  dev ??= statSync('/dev', { bigint: true });
  return stat.dev === dev.dev && stat.ino === dev.ino;
}

/** A lookup part by part; it holds descriptors until it is disposed. */
class Walk {
  readonly #target: Target;
  readonly #lookup: Lookup;
  readonly #root: OwnedFd;
  #at: OwnedFd;
  #parts: string[];
  #links = 0;

  constructor(target: Target, lookup: Lookup) {
    this.#target = target;
    this.#lookup = lookup;
    this.#parts = lookup.path.split('/');
    const start = lookup.inRoot ? startOf(target, '', lookup.dirfd) : startOf(target, lookup.path, lookup.dirfd);
    this.#root = openPath(lookup.inRoot ? start : `/proc/${target.threadId}/root`);
    try {
      this.#at = openPath(start);
    } catch (error) {
      this.#root.close();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#root.close();
    this.#at.close();
  }

  run(): Named {
    while (this.#parts.length > 0) {
      const part = this.#parts.shift()!;
      if (part === '' || part === '.') continue;
      if (part === '..') {
        if (!same(this.#at, this.#root)) this.#move(openPath(`/proc/self/fd/${this.#at.fd}/..`));
        continue;
      }
      const last = this.#parts.length === 0;
      if (part === DEVICE_NAME && isDev(fstat(this.#at.fd))) return { kind: 'device', asFolder: !last };
      const named = this.#enter(part, last);
      if (named !== undefined) return named;
    }
    return OTHER;
  }

  #enter(part: string, last: boolean): Named | undefined {
    const path = `/proc/self/fd/${this.#at.fd}/${part}`;
    const next = openPath(path, O_NOFOLLOW[process.arch]);
    if ((fstat(next.fd).mode & TYPE_MASK) !== TYPE_LINK) {
      this.#move(next);
      return undefined;
    }
    next.close();
    const { noLinks, noMagicLinks, follow, openLinks } = this.#lookup;
    this.#links += 1;
    if (noLinks || (last && !follow && !openLinks) || this.#links > LINKS_MAX) return OTHER;
    const text = readlinkSync(Buffer.from(path, 'latin1'), 'latin1');
    if (statfsSync(`/proc/self/fd/${this.#at.fd}`).type >>> 0 !== PROC_MAGIC) return this.#follow(text);
    if (part === 'self') return this.#follow(String(this.#target.processId));
    if (part === 'thread-self') return this.#follow(`${this.#target.processId}/task/${this.#target.threadId}`);
    // A link to an open file: its text is for people, the kernel goes to the file itself.
    if (/^\d+$/.test(part) || ['cwd', 'root', 'exe'].includes(part)) {
      if (noMagicLinks) return OTHER;
      if (last) return { kind: 'open', link: text, stat: statSync(path, { bigint: true }) };
      this.#move(openPath(path));
      return undefined;
    }
    return this.#follow(text);
  }

  #follow(text: string): undefined {
    if (text.startsWith('/')) this.#move(openPath(`/proc/self/fd/${this.#root.fd}`));
    this.#parts = [...text.split('/'), ...this.#parts];
    return undefined;
  }

  #move(takenNext: OwnedFd): void {
    this.#at.close();
    this.#at = takenNext;
  }
}

/** The path is a byte string; the C library's bytes are UTF-8, so that other names are not found. */
function openPath(path: string, flags = 0): OwnedFd {
  return openFile(Buffer.from(path, 'latin1').toString('utf8'), O.PATH | flags);
}

function same(one: OwnedFd, other: OwnedFd): boolean {
  const [a, b] = [fstat(one.fd), fstat(other.fd)];
  return a.dev === b.dev && a.ino === b.ino;
}
