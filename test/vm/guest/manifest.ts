/**
 * Runs where luod runs: damages the manifest of a luod, or writes a newer version into it; done twice it is as before. The
 * manifest is found among the memfds of luod: the one that it preserves has a name, the one that came over has none, neither
 * luod's nor, in a real kernel, that of a memfd.
 */
import { closeSync, fstatSync, openSync, readSync, readdirSync, readlinkSync, writeSync } from 'node:fs';
import { encodeSlot, MANIFEST_VERSION, readHead, type ManifestHead } from '../../../src/protocol/manifest.js';

export type Alteration = 'later slot' | 'slots' | 'heads' | 'version';

/** Inside of the text of a head, and of a body. */
const TEXT_AT = 40;
const PAGE = 4096;
const LINKS: Readonly<Record<'outgoing' | 'arrived', readonly string[]>> = {
  outgoing: ['/memfd:luod-manifest (deleted)'],
  arrived: ['/ (deleted)', '/memfd: (deleted)'],
};
const SLOT = { version: 8, frozen: 12, sequence: 16, bodyBytes: 24, body: 32 } as const;

export function alter(pid: number, side: 'outgoing' | 'arrived', what: Alteration): void {
  const fd = openManifest(pid, side);
  try {
    const head = readHead(fstatSync(fd).size, (offset, length) => read(fd, offset, length));
    const slots = [0, 1].map((at) => head.headBytes + at * head.slotBytes);
    slots.sort((a, b) => sequenceAt(fd, b) - sequenceAt(fd, a));
    if (what === 'version') changeVersion(fd, head, slots[0]!);
    else if (what === 'heads') for (const at of [0, head.fileBytes - PAGE - head.headBytes]) flip(fd, at + TEXT_AT);
    else for (const at of what === 'slots' ? slots : slots.slice(0, 1)) flip(fd, at + TEXT_AT);
  } finally {
    closeSync(fd);
  }
}

/** Names of the live update sessions that a process holds. */
export function sessionsOf(pid: number): string[] {
  return openFiles(pid).flatMap(({ link }) => /^anon_inode:\[luo_session\] (.*)$/.exec(link)?.[1] ?? []);
}

function openManifest(pid: number, side: 'outgoing' | 'arrived'): number {
  for (const { path, link } of openFiles(pid)) {
    if (!LINKS[side].includes(link)) continue;
    const fd = openSync(path, 'r+');
    if (fstatSync(fd).size >= 2 * PAGE && read(fd, 0, 8).toString('latin1') === 'LUOHEAD1') return fd;
    closeSync(fd);
  }
  throw new Error(`process ${pid} has no manifest, ${side}`);
}

function openFiles(pid: number): { readonly path: string; readonly link: string }[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
    const path = `/proc/${pid}/fd/${name}`;
    try {
      return [{ path, link: readlinkSync(path) }];
    } catch (error) {
      // Closed meanwhile.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
      throw error;
    }
  });
}

function changeVersion(fd: number, head: ManifestHead, at: number): void {
  const start = read(fd, at, SLOT.body);
  const body = JSON.parse(read(fd, at + SLOT.body, start.readUInt32LE(SLOT.bodyBytes)).toString()) as unknown;
  const isNewer = start.readUInt32LE(SLOT.version) > MANIFEST_VERSION;
  const { offset, bytes } = encodeSlot(head, body, {
    frozen: start.readUInt32LE(SLOT.frozen) === 1,
    sequence: sequenceAt(fd, at),
    version: isNewer ? MANIFEST_VERSION : MANIFEST_VERSION + 1,
  });
  writeSync(fd, bytes, 0, bytes.length, offset);
}

function sequenceAt(fd: number, at: number): number {
  return Number(read(fd, at, SLOT.body).readBigUInt64LE(SLOT.sequence));
}

function flip(fd: number, at: number): void {
  const byte = read(fd, at, 1);
  byte[0]! ^= 0xff;
  writeSync(fd, byte, 0, 1, at);
}

function read(fd: number, offset: number, length: number): Buffer {
  const bytes = Buffer.alloc(length);
  readSync(fd, bytes, 0, length, offset);
  return bytes;
}
