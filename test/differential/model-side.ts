/**
 * src/model as a side: the checks, sessions and memfds that it says the kernel has, with processes and fds around it. What is not the
 * model's matter (other kinds of file) is answered with UNSAID, which is compared with nothing.
 */
import {
  checkIoctl,
  decodeFdToken,
  decodeReserved,
  decodeSessionName,
  emptyModel,
  encodeFd,
  encodeName,
  memfdAfterKexec,
  memfdPreserveErrno,
  PROFILES,
  step,
  type Effect,
  type FileFacts,
  type ModelState,
  type Op,
  type Ref,
  type Result,
} from '../../src/model/index.js';
import { digest, MemoryFile, pattern } from './memory-file.js';
import { otherFile, Process, type OpenFile } from './model-processes.js';
import type { Part, Side } from './side.js';
import { buildStruct, UserMemory } from './user-memory.js';

/** The model says nothing of this. */
export const UNSAID = '?';

const O = {
  ACCMODE: 3,
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  LARGEFILE: 0o100000,
  CLOEXEC: 0o2000000,
};
const O_PATH = 0o10000000;
/** The size of what has one, so that neither the device nor a session answers it. */
const FIOQSIZE = 0x5460;
const O_TMPFILE = 0o20200000;
const O_CREATION = 0o100 | 0o200 | 0o1000;

interface PreservedMemory {
  readonly file: OpenFile;
  /** At PRESERVE_FD. */
  readonly seals: number;
}

class Machine {
  model: ModelState = emptyModel(PROFILES['7.3']);
  readonly #preserved = new Map<Ref, PreservedMemory>();
  readonly #identities = new Map<MemoryFile, string>();
  #nextRef = 1;

  apply(op: Op): Result {
    const { state, result, effects } = step(this.model, op);
    this.model = state;
    for (const effect of effects) this.#effect(effect);
    return result;
  }

  #effect(effect: Effect): void {
    if (effect.effect !== 'release') return;
    const held = this.#preserved.get(effect.ref);
    if (held === undefined) return;
    this.#preserved.delete(effect.ref);
    if (effect.by === 'unpreserve') held.file.memory!.preserved = false;
    this.release(held.file);
  }

  /** What PRESERVE_FD finds. */
  facts(file: OpenFile | undefined): FileFacts | null {
    if (file === undefined || file.kind === 'path') return null;
    const memory = file.memory;
    const ref = this.#nextRef++;
    if (memory === undefined || memory.links > 0) return { ref, kind: 'other', identity: `file ${ref}` };
    const handlerErrno = memfdPreserveErrno({ seals: memory.seals, sizeBytes: memory.size });
    return { ref, kind: 'memfd', identity: this.identity(memory), ...(handlerErrno === null ? {} : { handlerErrno }) };
  }

  identity(memory: MemoryFile): string {
    const identity = this.#identities.get(memory) ?? `inode ${this.#identities.size}`;
    this.#identities.set(memory, identity);
    return identity;
  }

  preserve(ref: Ref, file: OpenFile): void {
    const memory = file.memory!;
    memory.preserved = true;
    memory.fill();
    file.references += 1;
    this.#preserved.set(ref, { file, seals: memory.seals });
  }

  /** The file of `ref` in this kernel; made when `first`. */
  retrieved(ref: Ref): OpenFile {
    return this.#preserved.get(ref)!.file;
  }

  /** A reference less; the last one ends what it stood for. */
  release(file: OpenFile): void {
    file.references -= 1;
    if (file.references > 0) return;
    if (file.kind === 'device') this.apply({ op: 'closeDevice' });
    if (file.kind === 'session') this.apply({ op: 'closeSession', session: file.session! });
  }

  /** All that is not carried is gone; nobody closes anything. */
  jump(): void {
    const { state } = step(this.model, { op: 'kexec' });
    this.model = state;
    for (const [ref, { file, seals }] of [...this.#preserved]) {
      const memory = file.memory!;
      const now = { sizeBytes: memory.size, offset: file.position, access: 'readWrite', append: false } as const;
      const attributes = { ...now, nonblock: false, name: '', mode: memory.mode & 0o777 };
      const after = memfdAfterKexec({ ...attributes, seals }, { ...attributes, seals: memory.seals });
      const come = new MemoryFile({
        bytes: memory.bytes.slice(0, after.sizeBytes),
        seals: after.seals,
        mode: 0o100000 | after.mode,
        links: 0,
      });
      const flags = O.RDWR | O.LARGEFILE;
      this.#preserved.set(ref, {
        file: { kind: 'memory', memory: come, position: after.offset, flags, references: 1 },
        seals: after.seals,
      });
    }
  }
}

export class ModelSide implements Side {
  readonly name = "src/model, profile '7.3'";
  readonly #machine = new Machine();

  perform(parts: readonly Part[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const performed = new Map<string, readonly string[]>();
    for (const { sequence, stage } of parts) {
      const performer = new Performer(this.#machine);
      performed.set(
        sequence.name,
        sequence.stages[stage]!.map((operation) => performer.perform(operation)),
      );
      if (stage === sequence.stages.length - 1) performer.end();
    }
    return Promise.resolve(performed);
  }

  jump(): Promise<void> {
    this.#machine.jump();
    return Promise.resolve();
  }

  stop(): Promise<void> {
    return Promise.resolve();
  }
}

/** One sequence's main process and its helpers. */
class Performer {
  readonly #machine: Machine;
  readonly #main = new Process();
  readonly #helpers = new Map<number, Process>();

  constructor(machine: Machine) {
    this.#machine = machine;
  }

  perform(operation: string): string {
    const helper = /^@(\d+) (.*)$/.exec(operation);
    if (helper === null) return this.#operate(this.#main, operation.split(' '));
    const process = this.#helpers.get(Number(helper[1]));
    return process === undefined ? 'none' : this.#operate(process, helper[2]!.split(' '));
  }

  /** All of its processes exit. */
  end(): void {
    this.#exit(this.#main);
    for (const process of this.#helpers.values()) this.#exit(process);
  }

  #exit(process: Process): void {
    for (const { file } of process.fds.values()) this.#machine.release(file);
    process.fds.clear();
  }

  #operate(process: Process, words: readonly string[]): string {
    const [name = '', first = '', second = '', third = '', fourth = ''] = words;
    const slot = Number(first);
    const file = process.fileOf(slot);
    switch (name) {
      case 'open':
        return this.#open(process, slot, Number(second));
      case 'ioctl':
        return this.#ioctl(process, words);
      case 'close': {
        const fd = process.fdOf(slot);
        process.slots.delete(slot);
        return this.#close(process, fd) ? 'ok' : 'EBADF';
      }
      case 'dup':
        return this.#duplicate(process, slot, Number(second), false, 0);
      case 'dupfd':
        return this.#duplicate(process, slot, Number(second), true, 0);
      case 'pass':
        return this.#duplicate(process, slot, Number(second), true, 2);
      case 'dup2':
        return this.#dup2(process, slot, Number(second));
      case 'reopen':
        return this.#reopen(process, slot, process.fileOf(Number(second)), Number(third));
      case 'fork':
        if (this.#helpers.has(slot)) return 'none';
        this.#helpers.set(slot, process.forked());
        return 'ok';
      case 'exec':
        return this.#exec(slot);
      case 'end':
      case 'kill': {
        const helper = this.#helpers.get(slot);
        if (helper === undefined) return 'none';
        this.#helpers.delete(slot);
        this.#exit(helper);
        return `status ${name === 'end' ? 0 : 9}`;
      }
      case 'limit':
        process.limit = slot === 0 ? process.lowestFree() : 1024;
        return 'ok';
      case 'reboot':
        return 'EINVAL';
      case 'path':
        return 'type 20000';
      case 'closedevices':
        return String([this.#main, ...this.#helpers.values()].reduce((sum, each) => sum + this.#closeDevices(each), 0));
      case 'memfd':
        return this.#memfd(process, slot, Number(second));
      case 'file':
        return this.#file(process, slot, second);
      case 'unlink':
        if (file?.memory !== undefined && file.name === first) file.memory.links = 0;
        return file?.name === first ? 'ok' : UNSAID;
      case 'flags': {
        if (file === undefined) return 'EBADF';
        if (file.kind === 'other') return UNSAID;
        return `flags ${hex(file.flags)} cloexec ${process.entryOf(slot)!.cloexec ? 1 : 0}`;
      }
      default:
        // Before the fd is looked at.
        if (name === 'trunc' && Number(second) < 0) return 'EINVAL';
        if (name === 'poll' && process.fdOf(slot) < 0) return '0 0';
        if (file === undefined) return 'EBADF';
        if (name === 'map' && file.kind !== 'memory') return UNSAID;
        if (file.kind === 'path' && name === 'poll') return '1 20';
        if (file.kind === 'path') return name === 'look' || name === 'stat' ? UNSAID : 'EBADF';
        if (file.kind === 'memory')
          return onMemory(file, process.entryOf(slot)!.cloexec, name, [second, third, fourth]);
        if (file.kind === 'device' || file.kind === 'session') return this.#plain(file, name);
        return UNSAID;
    }
  }

  /** What other calls say of the device and of a session. */
  #plain(file: OpenFile, name: string): string {
    const mode = file.flags & O.ACCMODE;
    if ((name === 'get' && mode === O.WRONLY) || (name === 'put' && mode === O.RDONLY)) return 'EBADF';
    const answers: Record<string, string> = {
      watch: 'EPERM',
      poll: '1 5',
      seek: 'ESPIPE',
      get: 'EINVAL',
      put: 'EINVAL',
    };
    if (name === 'trunc') return 'EINVAL';
    return answers[name] ?? UNSAID;
  }

  // -------------------------------------------------------------------------------------- fds

  #fill(process: Process, slot: number, file: OpenFile, cloexec: boolean, device = false): string {
    const fd = process.install(file, cloexec);
    if (fd === 'EMFILE') return fd;
    process.slots.set(slot, { fd, device });
    return `fd ${fd}`;
  }

  #close(process: Process, fd: number): boolean {
    const entry = process.fds.get(fd);
    if (entry === undefined) return false;
    process.fds.delete(fd);
    this.#machine.release(entry.file);
    return true;
  }

  #closeDevices(process: Process): number {
    const devices = [...process.slots].filter(([, { device }]) => device);
    for (const [slot, { fd }] of devices) {
      this.#close(process, fd);
      process.slots.delete(slot);
    }
    return devices.length;
  }

  /** @param before fds that are open while the new one is made */
  #duplicate(process: Process, slot: number, from: number, cloexec: boolean, before: number): string {
    const file = process.fileOf(from);
    if (file === undefined) return 'EBADF';
    const temporary = Array.from({ length: before }, () => process.install(otherFile(), false));
    const device = process.slots.get(from)!.device;
    const said = this.#fill(process, slot, file, cloexec, device);
    for (const fd of temporary) if (fd !== 'EMFILE') process.fds.delete(fd);
    return said;
  }

  #dup2(process: Process, slot: number, from: number): string {
    const onto = process.slots.get(slot);
    if (onto === undefined) return 'none';
    const entry = process.entryOf(from);
    if (entry === undefined) return 'EBADF';
    if (onto.fd !== process.fdOf(from)) {
      entry.file.references += 1;
      this.#close(process, onto.fd);
      process.fds.set(onto.fd, { file: entry.file, cloexec: false });
    }
    process.slots.set(slot, { fd: onto.fd, device: process.slots.get(from)!.device });
    return `fd ${onto.fd}`;
  }

  #exec(number: number): string {
    const helper = this.#helpers.get(number);
    if (helper === undefined) return 'none';
    for (const [fd, { cloexec }] of [...helper.fds]) if (cloexec) this.#close(helper, fd);
    const kept = [...helper.slots].filter(([, { fd }]) => helper.fds.has(fd)).sort(([a], [b]) => a - b);
    helper.slots.clear();
    for (const [slot, held] of kept) helper.slots.set(slot, held);
    return ['kept', ...kept.map(([slot]) => slot)].join(' ');
  }

  #reopen(process: Process, slot: number, file: OpenFile | undefined, flags: number): string {
    if (process.lowestFree() >= process.limit) return 'EMFILE';
    if (file === undefined) return 'ENOENT';
    const isPath = (flags & O_PATH) !== 0;
    if (file.kind === 'session' && !isPath) return 'ENXIO';
    if (file.kind !== 'session' && file.memory === undefined) return UNSAID;
    const kept = flags & ~O.CLOEXEC & ~O_CREATION;
    const opened: OpenFile = {
      kind: isPath ? 'path' : 'memory',
      ...(file.memory === undefined ? {} : { memory: file.memory }),
      position: 0,
      flags: isPath ? O_PATH : kept | O.LARGEFILE,
      references: 0,
    };
    return this.#fill(process, slot, opened, (flags & O.CLOEXEC) !== 0);
  }

  // -------------------------------------------------------------------------------------- the device

  #open(process: Process, slot: number, flags: number): string {
    if (process.lowestFree() >= process.limit) return 'EMFILE';
    const cloexec = (flags & O.CLOEXEC) !== 0;
    if (flags & O_PATH) {
      const path: OpenFile = { kind: 'path', position: 0, flags: O_PATH, references: 0 };
      return this.#fill(process, slot, path, cloexec, true);
    }
    if ((flags & 0o300) === 0o300) return 'EEXIST';
    const result = this.#machine.apply({ op: 'openDevice' });
    if (!result.ok) return result.errno;
    const kept = (flags & ~O.CLOEXEC & ~O_CREATION) | O.LARGEFILE;
    return this.#fill(process, slot, { kind: 'device', position: 0, flags: kept, references: 0 }, cloexec, true);
  }

  #ioctl(process: Process, words: readonly string[]): string {
    const [, first = '', number = '', kind = '', spec = '', out] = words;
    const file = process.fileOf(Number(first));
    if (file === undefined || file.kind === 'path') return 'EBADF';
    const command = Number.parseInt(number, 16);
    if (file.kind === 'other') return UNSAID;
    const memory = new UserMemory(
      kind,
      buildStruct(spec, (slot) => process.fdOf(slot)),
    );
    const everywhere = onEveryFile(process.entryOf(Number(first))!, command, memory);
    if (file.kind === 'memory')
      return command >>> 8 === 0xba ? 'ENOTTY' : command === FIOQSIZE ? UNSAID : (everywhere ?? UNSAID);
    if (everywhere !== null) return everywhere;
    const direction = file.kind === 'device' ? null : this.#machine.model.sessions.get(file.session!)!.direction;
    const checked = checkIoctl(file.kind, command, direction, (offset, length) => memory.read(offset, length));
    if (!checked.ok) return checked.errno;
    const { row, bytes, replyBytes } = checked;
    const replyFault = memory.accepts(replyBytes) ? {} : { replyFault: true as const };
    const full = process.lowestFree() >= process.limit;
    const fdErrno = full ? { fdErrno: 'EMFILE' } : {};
    const session = file.session ?? 0;
    const answer = (result: Result, reply: () => Uint8Array): string => {
      // What could be written of an answer that did not fit has been.
      if (result.ok || (result.errno === 'EFAULT' && !memory.accepts(replyBytes)))
        memory.write(reply().subarray(0, replyBytes));
      return (result.ok ? 'ok' : result.errno) + memory.changes();
    };
    const withFd = (result: Result, made: () => OpenFile): string => {
      const fd = process.lowestFree();
      if (result.ok) {
        process.install(made(), true);
        if (out !== undefined) process.slots.set(Number(out.slice(1)), { fd, device: false });
      }
      return answer(result, () => encodeFd(bytes, fd));
    };
    const machine = this.#machine;
    switch (row.name) {
      case 'createSession':
      case 'retrieveSession': {
        const name = decodeSessionName(bytes);
        const result = machine.apply({ op: row.name, name, ...fdErrno, ...replyFault });
        return withFd(result, () => {
          if (!result.ok || result.value.kind !== 'session') throw new TypeError('a session has no id');
          return { kind: 'session', session: result.value.session, position: 0, flags: O.RDWR, references: 0 };
        });
      }
      case 'preserveFd': {
        const { fd, token } = decodeFdToken(bytes);
        const found = process.fds.get(fd)?.file;
        const facts = machine.facts(found);
        const before = machine.model.identities;
        const result = machine.apply({ op: 'preserveFd', session, token, file: facts, ...replyFault });
        if (facts !== null && machine.model.identities !== before) machine.preserve(facts.ref, found!);
        return answer(result, () => bytes);
      }
      case 'retrieveFd': {
        const { token } = decodeFdToken(bytes);
        const ref = machine.model.sessions.get(session)!.files.get(token)?.ref;
        const memoryFile = ref === undefined ? undefined : machine.retrieved(ref).memory!;
        const identity = memoryFile === undefined ? {} : { identity: machine.identity(memoryFile) };
        const result = machine.apply({ op: 'retrieveFd', session, token, ...identity, ...fdErrno, ...replyFault });
        return withFd(result, () => machine.retrieved(ref!));
      }
      case 'finish':
        return answer(
          machine.apply({ op: 'finish', session, reserved: decodeReserved(bytes), ...replyFault }),
          () => bytes,
        );
      case 'getName': {
        const name = machine.model.sessions.get(session)!.name;
        const result = machine.apply({ op: 'getName', session, reserved: decodeReserved(bytes), ...replyFault });
        return answer(result, () => encodeName(bytes, name));
      }
    }
  }

  // -------------------------------------------------------------------------------------- files

  #memfd(process: Process, slot: number, flags: number): string {
    const noexec = (flags & 8) !== 0;
    let seals = (flags & 2) !== 0 ? 0 : 1;
    if (noexec) seals = 32;
    const memory = new MemoryFile({ seals, mode: noexec ? 0o100666 : 0o100777, links: 0 });
    const file: OpenFile = { kind: 'memory', memory, position: 0, flags: O.RDWR | O.LARGEFILE, references: 0 };
    return this.#fill(process, slot, file, (flags & 1) !== 0);
  }

  #file(process: Process, slot: number, kind: string): string {
    if (kind !== 'tmpfile' && kind !== 'named') {
      const file = { ...otherFile(), references: 0 };
      const cloexec = kind === 'zero' || kind === 'pidfd';
      // The other end takes a number for a moment.
      return this.#fill(process, slot, file, cloexec);
    }
    const memory = new MemoryFile({ seals: 1, mode: 0o100640, links: kind === 'named' ? 1 : 0 });
    const flags = O.RDWR | O.LARGEFILE | (kind === 'tmpfile' ? O_TMPFILE : 0);
    return this.#fill(
      process,
      slot,
      { kind: 'memory', memory, position: 0, flags, references: 0, name: String(slot) },
      false,
    );
  }
}

/** Commands that the kernel answers before it asks the file; null: it asks the file. */
function onEveryFile(
  entry: { readonly file: OpenFile; cloexec: boolean },
  command: number,
  memory: UserMemory,
): string | null {
  switch (command) {
    case 0x5450:
    case 0x5451:
      entry.cloexec = command === 0x5451;
      return 'ok';
    case 0x5421:
    case 0x5452: {
      const value = memory.read(0, 4);
      if (value === undefined) return 'EFAULT';
      const on = value.some((byte) => byte !== 0);
      if (command === 0x5452) return on ? 'ENOTTY' : 'ok';
      entry.file.flags = on ? entry.file.flags | O.NONBLOCK : entry.file.flags & ~O.NONBLOCK;
      return 'ok';
    }
    case FIOQSIZE:
      return 'ENOTTY';
    default:
      return null;
  }
}

function onMemory(file: OpenFile, cloexec: boolean, name: string, words: readonly string[]): string {
  const memory = file.memory!;
  const [first = 0, second = 0, third = 0] = words.map(Number);
  const readable = (file.flags & O.ACCMODE) !== 1;
  const writable = (file.flags & O.ACCMODE) !== O.RDONLY;
  switch (name) {
    case 'write':
    case 'pwrite': {
      const positioned = name === 'pwrite';
      const [length, seed] = positioned ? [second, third] : [first, second];
      if (!writable) return 'EBADF';
      if (length === 0) return '0';
      const offset = file.flags & O.APPEND ? memory.size : positioned ? first : file.position;
      const written = memory.write(offset, pattern(length, seed));
      if (typeof written === 'number' && !positioned) file.position = offset + written;
      return String(written);
    }
    case 'read': {
      if (!readable) return 'EBADF';
      const bytes = memory.bytes.subarray(file.position, file.position + first);
      file.position += bytes.length;
      return `${bytes.length} ${digest(bytes)}`;
    }
    case 'trunc':
      if (first < 0 || !writable) return 'EINVAL';
      return memory.truncate(first);
    case 'falloc': {
      const [mode, offset, length] = [first, second, third];
      if (offset < 0 || length <= 0) return 'EINVAL';
      if (!writable) return 'EBADF';
      return memory.allocate(mode, offset, length);
    }
    case 'seal':
      return writable ? memory.seal(first) : 'EPERM';
    case 'seek': {
      const base = second === 1 ? file.position : second === 2 ? memory.size : 0;
      const at = second >= 3 ? memory.seek(first, second) : base + first;
      if (typeof at === 'string') return at;
      file.position = at;
      return String(at);
    }
    case 'map': {
      if (memory.size < first + second) return 'short';
      if (second === 0) return 'EINVAL';
      if (!readable || !writable) return 'EACCES';
      if ((memory.seals & (8 | 16)) !== 0) return 'EPERM';
      memory.bytes.set(pattern(second, third), first);
      for (let page = Math.floor(first / 4096); page * 4096 < first + second; page += 1) memory.data.add(page);
      return 'ok';
    }
    case 'look': {
      const seals = `seals ${hex(memory.seals)}`;
      const read = readable ? `bytes ${memory.size} ${digest(memory.bytes)}` : 'bytes 0 cbf29ce484222325 EBADF';
      return (
        `size ${memory.size} pos ${file.position} mode ${memory.mode.toString(8)} flags ${hex(file.flags)} ` +
        `cloexec ${cloexec ? 1 : 0} links ${memory.links} ${seals} ${read}`
      );
    }
    default:
      return UNSAID;
  }
}

/** As printf's %#x. */
function hex(value: number): string {
  return value === 0 ? '0' : `0x${value.toString(16)}`;
}
