/**
 * ioctl(2) on the device and on sessions, in the kernel's order: the checks of the model, a descriptor for the answer, the
 * deed, the answer into the caller's memory.
 *
 * An answer that cannot be written comes after the deed, as in the kernel. Since a descriptor cannot be taken back out of a
 * program, the memory is tried before one is given.
 * Unhappy path: an fd that is none of this kernel's goes on to the real one.
 * @source kernel/liveupdate/luo_core.c, luo_session.c; fs/ioctl.c, do_vfs_ioctl (Linux 7.3)
 */
import { O } from '../../abi/linux.js';
import {
  checkIoctl,
  decodeFdToken,
  decodeReserved,
  decodeSessionName,
  encodeFd,
  encodeName,
  type Checked,
  type Op,
  type ReadUser,
} from '../../model/index.js';
import { isSysError, type OwnedFd } from '../../sys/index.js';
import { DONE, NATIVE, NONE, errno, type Answer, type Call } from './call.js';
import type { Machine } from './machine.js';
import type { EmulatedObject } from './objects.js';
import { nameText } from './trace.js';

/** What fs/ioctl.c answers for every file before it asks the driver, and what a socket answers alike. */
const GENERIC = { FIOCLEX: 0x5451, FIONCLEX: 0x5450, FIONBIO: 0x5421, FIOASYNC: 0x5452, FIOQSIZE: 0x5460, FIGETBSZ: 2 };
const GENERIC_NATIVE: ReadonlySet<number> = new Set([
  GENERIC.FIOCLEX,
  GENERIC.FIONCLEX,
  GENERIC.FIONBIO,
  GENERIC.FIGETBSZ,
]);
/** The largest struct of all. */
const ARGUMENT_BYTES = 72;

export function answerIoctl(machine: Machine, call: Call): Answer {
  const object = objectOf(machine, call, call.int(0));
  // A descriptor that only names it (O_PATH) is not open for anybody: the real kernel says EBADF.
  if (object === undefined || call.target.isPath(call.int(0))) return NATIVE;
  const command = call.word(1);
  if (GENERIC_NATIVE.has(command)) return NATIVE;
  if (command === GENERIC.FIOQSIZE) return errno('ENOTTY');
  if (command === GENERIC.FIOASYNC) return answerAsync(call);
  const session = object.session === null ? undefined : machine.sessions.session(object.session);
  if (session !== undefined) call.details.session = nameText(session.name);
  const node = object.session === null ? 'device' : 'session';
  const direction = session?.direction ?? null;
  const checked = checkIoctl(node, command, direction, reader(call));
  // Everything that was read is of the thread that calls only if the call still waits.
  if (!call.isValid) return NONE;
  call.details.call = checked.ok ? CALL_NAMES[checked.row.name] : `ioctl 0x${command.toString(16)} on ${node}`;
  if (!checked.ok) return errno(checked.errno);
  return answerChecked(machine, call, checked, object);
}

const CALL_NAMES = {
  createSession: 'CREATE_SESSION',
  retrieveSession: 'RETRIEVE_SESSION',
  preserveFd: 'PRESERVE_FD',
  retrieveFd: 'RETRIEVE_FD',
  finish: 'FINISH',
  getName: 'GET_NAME',
} as const;

type Accepted = Extract<Checked, { ok: true }>;

function answerChecked(machine: Machine, call: Call, checked: Accepted, object: EmulatedObject): Answer {
  switch (checked.row.name) {
    case 'createSession':
      return giveSession(machine, call, checked, 'create');
    case 'retrieveSession':
      return giveSession(machine, call, checked, 'retrieve-session');
    case 'preserveFd':
      return preserveFd(machine, call, checked, object.session!);
    case 'retrieveFd':
      return retrieveFd(machine, call, checked, object.session!);
    case 'finish':
      return finish(machine, call, checked, object.session!);
    case 'getName':
      return getName(machine, call, checked, object.session!);
  }
}

/** The file of `fd` in the caller, if it is one of this kernel's. */
export function objectOf(machine: Machine, call: Call, fd: number): EmulatedObject | undefined {
  const link = call.target.link(fd);
  return link === undefined ? undefined : machine.objects.find(link);
}

/** CREATE_SESSION and RETRIEVE_SESSION: both give a session's descriptor. */
function giveSession(machine: Machine, call: Call, checked: Accepted, point: 'create' | 'retrieve-session'): Answer {
  const name = decodeSessionName(checked.bytes);
  call.details.session = nameText(name);
  const op: Op = { op: point === 'create' ? 'createSession' : 'retrieveSession', name };
  const would = machine.sessions.wouldAnswer(op);
  if (!would.ok) return errno(call.target.hasNoFreeFd() ? 'EMFILE' : would.errno);
  const fault = machine.fault(call, point, { session: name });
  if (fault !== undefined) return fault;
  if (!answerFits(call, checked)) return refuseAnswer(machine, call, checked, op);
  const result = machine.sessions.step(op);
  if (!result.ok || result.value.kind !== 'session') throw new TypeError('the model changed its mind');
  const session = result.value.session;
  let made: { readonly object: EmulatedObject; readonly end: OwnedFd };
  try {
    made = machine.objects.make(session);
  } catch (error) {
    takeBack(machine, session, point);
    if (isSysError(error, 'EMFILE') || isSysError(error, 'ENFILE')) return errno('ENFILE');
    throw error;
  }
  using end = made.end;
  const fd = giveFd(call, end);
  if (typeof fd !== 'number') {
    machine.objects.forget(made.object);
    // Somebody who died with the answer under way had the session: for the kernel that is a close.
    if (fd === NONE) machine.sessions.step({ op: 'closeSession', session });
    else takeBack(machine, session, point);
    return fd;
  }
  call.details.fd = fd;
  if (call.target.poke(call.long(2), encodeFd(checked.bytes, fd))) return DONE;
  machine.objects.forget(made.object);
  machine.sessions.step({ op: 'closeSession', session });
  machine.options.note(`the answer's memory vanished while it was written: descriptor ${fd} stays, and is dead`, call);
  return errno('EFAULT');
}

/** As if the call had not been: nobody has got the session. */
function takeBack(machine: Machine, session: number, point: 'create' | 'retrieve-session'): void {
  if (point === 'create') machine.sessions.step({ op: 'closeSession', session });
  else machine.sessions.unretrieve(session);
}

/** The deed is done, and its answer cannot be told but for its beginning. */
function refuseAnswer(machine: Machine, call: Call, checked: Accepted, op: Op): Answer {
  if (call.target.hasNoFreeFd()) return errno('EMFILE');
  const found = op.op === 'retrieveSession' ? machine.sessions.state.incoming.get(op.name) : undefined;
  const vetoes = found === undefined ? [] : machine.vetoes(found);
  machine.sessions.step({ ...op, replyFault: true, vetoes } as Op);
  tellBeginning(call, checked);
  return errno('EFAULT');
}

function preserveFd(machine: Machine, call: Call, checked: Accepted, session: number): Answer {
  const { fd, token } = decodeFdToken(checked.bytes);
  const name = machine.sessions.session(session)!.name;
  Object.assign(call.details, { token, fd });
  const takenFile = call.target.take(fd);
  const asked = machine.sessions.ask(session, token, takenFile);
  if (asked.facts !== null) call.details.fdKind = asked.facts.kind;
  if (!asked.result.ok) {
    takenFile?.close();
    return errno(asked.result.errno);
  }
  const fault = call.isValid ? machine.fault(call, 'preserve', { token, session: name }) : NONE;
  if (fault !== undefined) {
    takenFile!.close();
    return fault;
  }
  const result = machine.sessions.preserve(session, token, takenFile!, asked);
  if (!result.ok) return errno(result.errno);
  return answerWith(call, checked, checked.bytes);
}

function retrieveFd(machine: Machine, call: Call, checked: Accepted, session: number): Answer {
  const { token } = decodeFdToken(checked.bytes);
  call.details.token = token;
  if (call.target.hasNoFreeFd()) return errno('EMFILE');
  const state = machine.sessions.session(session)!;
  let handlerErrno: string | undefined;
  if (state.files.get(token)?.retrieved === 'untried') {
    const fault = machine.fault(call, 'retrieve', { token, session: state.name });
    if (fault !== undefined && fault.kind !== 'errno') return fault;
    handlerErrno = fault?.errno;
  }
  const fits = answerFits(call, checked);
  const result = machine.sessions.retrieve({ session, token, replyFault: !fits, fault: handlerErrno });
  if (!result.ok) {
    if (!fits && result.errno === 'EFAULT') tellBeginning(call, checked);
    return errno(result.errno);
  }
  if (result.value.kind !== 'file') throw new TypeError('the model gave no file');
  call.details.fdKind = 'memfd';
  const fd = giveFd(call, machine.sessions.file(result.value.ref));
  if (typeof fd !== 'number') return fd;
  call.details.fd = fd;
  return answerWith(call, checked, encodeFd(checked.bytes, fd));
}

function finish(machine: Machine, call: Call, checked: Accepted, session: number): Answer {
  const reserved = decodeReserved(checked.bytes);
  const state = machine.sessions.session(session)!;
  let vetoes: readonly bigint[] = [];
  if (reserved === 0 && state.files.size > 0) {
    const fault = machine.fault(call, 'finish', { session: state.name });
    if (fault !== undefined && fault.kind !== 'errno') return fault;
    if (fault !== undefined) vetoes = [...state.files.entries()].map(([token]) => token);
  }
  const result = machine.sessions.step({ op: 'finish', session, reserved, vetoes });
  if (!result.ok) return errno(result.errno);
  return answerWith(call, checked, checked.bytes);
}

function getName(machine: Machine, call: Call, checked: Accepted, session: number): Answer {
  const op: Op = { op: 'getName', session, reserved: decodeReserved(checked.bytes) };
  const result = machine.sessions.step(op);
  if (!result.ok) return errno(result.errno);
  const fault = machine.fault(call, 'get-name', { session: machine.sessions.session(session)!.name });
  if (fault !== undefined) return fault;
  return answerWith(call, checked, encodeName(checked.bytes, machine.sessions.session(session)!.name));
}

/** FIOASYNC: neither the device nor a session can signal, so that switching it on is refused. */
function answerAsync(call: Call): Answer {
  const word = call.target.peek(call.long(2), 4);
  if (word.length < 4) return errno('EFAULT');
  return word.readInt32LE(0) === 0 ? DONE : errno('ENOTTY');
}

/** The caller's struct: its first bytes are read at once, since nearly every call needs just them. */
function reader(call: Call): ReadUser {
  const address = call.long(2);
  const first = Buffer.from(call.target.peek(address, ARGUMENT_BYTES));
  return (offset, length) => {
    if (offset + length <= first.length) return first.subarray(offset, offset + length);
    if (offset + length <= ARGUMENT_BYTES) return undefined;
    const bytes = call.target.peek(address + BigInt(offset), length);
    // The kernel reads on until it finds what must not be there, or nothing at all.
    return bytes.length === length || bytes.some((byte) => byte !== 0) ? bytes : undefined;
  };
}

/** True if the answer's memory can be written now; what stands there is written over itself. */
function answerFits(call: Call, checked: Accepted): boolean {
  return call.target.poke(call.long(2), checked.bytes.subarray(0, checked.replyBytes));
}

/** As the kernel does: as much of the answer as there is memory for, with the descriptor that it would have been. */
function tellBeginning(call: Call, checked: Accepted): void {
  call.target.poke(call.long(2), encodeFd(checked.bytes, call.target.lowestFreeFd()).subarray(0, checked.replyBytes));
}

function answerWith(call: Call, checked: Accepted, bytes: Uint8Array): Answer {
  return call.target.poke(call.long(2), bytes.subarray(0, checked.replyBytes)) ? DONE : errno('EFAULT');
}

/** Its number in the caller, where it is close-on-exec; or what becomes of the call. */
function giveFd(call: Call, file: OwnedFd): number | Answer {
  try {
    return call.reader.addFd(call.id, file.fd, O.CLOEXEC) ?? NONE;
  } catch (error) {
    if (isSysError(error, 'EMFILE')) return errno('EMFILE');
    throw error;
  }
}
