/** Processes of the model's side: fd numbers, close-on-exec, limits, and open files that are shared by dup, fork and SCM_RIGHTS. */
import type { SessionId } from '../../src/model/index.js';
import type { MemoryFile } from './memory-file.js';

export type OpenKind = 'device' | 'session' | 'memory' | 'path' | 'other';

/** An open file description. */
export interface OpenFile {
  readonly kind: OpenKind;
  readonly memory?: MemoryFile;
  readonly session?: SessionId;
  /** Name in the file system, if it has one. */
  readonly name?: string;
  position: number;
  /** As F_GETFL gives them. */
  flags: number;
  references: number;
}

interface Entry {
  readonly file: OpenFile;
  cloexec: boolean;
}

const FDS_MAX = 1024;

export class Process {
  readonly fds = new Map<number, Entry>();
  /** Slot to fd number; `device` is closed at the end of a stage. */
  readonly slots = new Map<number, { fd: number; device: boolean }>();
  limit = FDS_MAX;

  /** 0, 1 and 2 are somebody else's. */
  constructor() {
    for (let fd = 0; fd < 3; fd += 1) this.fds.set(fd, { file: otherFile(), cloexec: false });
  }

  lowestFree(): number {
    let fd = 0;
    while (this.fds.has(fd)) fd += 1;
    return fd;
  }

  /** @returns the fd, or EMFILE: the file's references are unchanged then */
  install(file: OpenFile, cloexec: boolean): number | 'EMFILE' {
    const fd = this.lowestFree();
    if (fd >= this.limit) return 'EMFILE';
    this.fds.set(fd, { file, cloexec });
    file.references += 1;
    return fd;
  }

  fdOf(slot: number): number {
    return this.slots.get(slot)?.fd ?? -1;
  }

  entryOf(slot: number): Entry | undefined {
    return this.fds.get(this.fdOf(slot));
  }

  fileOf(slot: number): OpenFile | undefined {
    return this.entryOf(slot)?.file;
  }

  forked(): Process {
    const child = new Process();
    child.fds.clear();
    for (const [fd, entry] of this.fds) {
      child.fds.set(fd, { ...entry });
      entry.file.references += 1;
    }
    for (const [slot, held] of this.slots) child.slots.set(slot, { ...held });
    child.limit = this.limit;
    return child;
  }
}

export function otherFile(): OpenFile {
  return { kind: 'other', position: 0, flags: 0, references: 1 };
}
