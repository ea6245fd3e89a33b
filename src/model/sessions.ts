/**
 * What LUO sessions do, errno by errno: `step(state, op)` gives the next state, the answer, and what has to happen to
 * files and sessions outside. Nothing happens in here: no fd, no clock, no I/O.
 *
 * Happy path: openDevice, createSession, preserveFd…, kexec, openDevice, retrieveSession, retrieveFd…, finish, closeSession.
 * Unhappy path: a refused op changes nothing, with the exceptions that the kernel has too: an answer that cannot be
 * written (`replyFault`) comes after the deed, and a failed retrieve is remembered.
 * An op on a session that does not exist is EBADF, as on a closed fd.
 * @source kernel/liveupdate/luo_core.c, luo_session.c, luo_file.c of Linux 7.3
 */
import { assertNever } from '../base/words.js';
import { isSessionName } from './names.js';
import { PersistentMap } from './persistent-map.js';
import type { Profile } from './profiles.js';
import type {
  Effect,
  Errno,
  FileFacts,
  ModelState,
  Op,
  PreservedFile,
  Ref,
  SessionId,
  SessionState,
  Stepped,
  Value,
} from './state.js';

const NOTHING: Value = { kind: 'none' };

export function emptyModel(profile: Profile): ModelState {
  return {
    profile,
    deviceOpen: false,
    broken: false,
    sessions: PersistentMap.empty(),
    outgoing: PersistentMap.empty(),
    incoming: PersistentMap.empty(),
    identities: PersistentMap.empty(),
    nextSession: 1,
  };
}

export function step(state: ModelState, op: Op): Stepped {
  switch (op.op) {
    case 'openDevice':
      if (state.deviceOpen) return refused(state, 'EBUSY');
      if (state.broken) return refused(state, 'EIO');
      return done({ ...state, deviceOpen: true });
    case 'closeDevice': // Sessions live on without it.
      if (!state.deviceOpen) return refused(state, 'EBADF');
      return done({ ...state, deviceOpen: false });
    case 'createSession':
      return createSession(state, op);
    case 'retrieveSession':
      return retrieveSession(state, op);
    case 'kexec':
      return kexec(state, op);
    case 'handover':
      return handover(state, op.sessions);
    case 'preserveFd':
    case 'retrieveFd':
    case 'finish':
    case 'getName':
    case 'closeSession':
    case 'undoPreserve':
      return onSession(state, op);
    default:
      return assertNever(op);
  }
}

type OpNamed<N extends Op['op']> = Extract<Op, { op: N }>;
type SessionOp = Exclude<
  Op,
  { op: 'openDevice' | 'closeDevice' | 'createSession' | 'retrieveSession' | 'kexec' | 'handover' }
>;

function onSession(state: ModelState, op: SessionOp): Stepped {
  const session = state.sessions.get(op.session);
  if (session === undefined || !session.held || session.leaked) return refused(state, 'EBADF');
  switch (op.op) {
    case 'preserveFd':
      return preserveFd(state, session, op);
    case 'retrieveFd':
      return retrieveFd(state, session, op);
    case 'finish': {
      if (session.direction !== 'incoming') return refused(state, 'EINVAL');
      if ((op.reserved ?? 0) !== 0) return refused(state, 'EINVAL');
      const finished = finish(state, session, op.vetoes);
      return finished.result.ok && op.replyFault ? { ...finished, result: failure('EFAULT') } : finished;
    }
    case 'getName':
      if ((op.reserved ?? 0) !== 0) return refused(state, 'EINVAL');
      if (op.replyFault) return refused(state, 'EFAULT');
      return done(state, { kind: 'name', name: session.name });
    case 'closeSession':
      return closeSession(state, session, op.vetoes);
    case 'undoPreserve':
      return undoPreserve(state, session, op.token);
    default:
      return assertNever(op);
  }
}

function createSession(state: ModelState, op: OpNamed<'createSession'>): Stepped {
  if (!state.deviceOpen) return refused(state, 'EBADF');
  if (op.fdErrno !== undefined) return refused(state, op.fdErrno);
  if (!isSessionName(op.name)) return refused(state, 'EINVAL');
  if (state.outgoing.size >= state.profile.sessionsMax) return refused(state, 'ENOSPC');
  if (state.outgoing.has(op.name)) return refused(state, 'EEXIST');
  // The answer cannot be given, so the only fd is closed again, and with it the session ends.
  if (op.replyFault) return refused(state, 'EFAULT');
  const id = state.nextSession;
  const session = newSession(id, op.name, 'outgoing', true);
  return done(
    {
      ...state,
      sessions: state.sessions.with(id, session),
      outgoing: state.outgoing.with(op.name, id),
      nextSession: id + 1,
    },
    { kind: 'session', session: id },
  );
}

function retrieveSession(state: ModelState, op: OpNamed<'retrieveSession'>): Stepped {
  if (!state.deviceOpen) return refused(state, 'EBADF');
  if (op.fdErrno !== undefined) return refused(state, op.fdErrno);
  const id = state.incoming.get(op.name);
  if (id === undefined) return refused(state, 'ENOENT');
  const session = state.sessions.get(id)!;
  if (session.held) return refused(state, 'EINVAL');
  const held: SessionState = { ...session, held: true };
  const next = { ...state, sessions: state.sessions.with(id, held) };
  if (op.replyFault) {
    // The only fd is closed again, and closing an incoming session finishes it: the data is gone.
    const closed = closeSession(next, held, op.vetoes);
    return { ...closed, result: failure('EFAULT') };
  }
  return done(next, { kind: 'session', session: id });
}

function preserveFd(state: ModelState, session: SessionState, op: OpNamed<'preserveFd'>): Stepped {
  if (session.direction !== 'outgoing') return refused(state, 'EINVAL');
  const errno = preserveErrno(state, session, op.token, op.file);
  if (errno !== null) return refused(state, errno);
  const { ref, kind, identity } = op.file!;
  const file: PreservedFile = {
    token: op.token,
    ref,
    kind,
    identity,
    sequence: session.nextSequence,
    retrieved: 'untried',
  };
  const files = session.files.with(op.token, file);
  const next: ModelState = {
    ...state,
    sessions: state.sessions.with(session.id, { ...session, files, nextSequence: session.nextSequence + 1 }),
    identities: state.identities.with(identity, ref),
  };
  return {
    state: next,
    // The file stays preserved although the caller is told EFAULT.
    result: op.replyFault ? failure('EFAULT') : { ok: true, value: NOTHING },
    effects: [{ effect: 'preserve', session: session.id, token: op.token, ref }],
  };
}

/** In the kernel's order of checks. */
function preserveErrno(state: ModelState, session: SessionState, token: bigint, file: FileFacts | null): Errno | null {
  if (session.files.has(token)) return 'EEXIST';
  if (session.files.size >= state.profile.filesPerSessionMax) return 'ENOSPC';
  if (file === null) return 'EBADF';
  if (state.profile.kinds !== null && !state.profile.kinds.includes(file.kind)) return 'ENOENT';
  if (state.identities.has(file.identity)) return 'EBUSY';
  return file.handlerErrno ?? null;
}

function retrieveFd(state: ModelState, session: SessionState, op: OpNamed<'retrieveFd'>): Stepped {
  if (session.direction !== 'incoming') return refused(state, 'EINVAL');
  if (op.fdErrno !== undefined) return refused(state, op.fdErrno);
  const file = session.files.get(op.token);
  if (file === undefined) return refused(state, 'ENOENT');
  if (typeof file.retrieved === 'object') return refused(state, file.retrieved.errno);
  const first = file.retrieved === 'untried';
  if (first && op.handlerErrno !== undefined) {
    const failed = withFile(state, session, { ...file, retrieved: { errno: op.handlerErrno } });
    return refused(failed, op.handlerErrno);
  }
  const identity = op.identity ?? file.identity;
  const taken = first
    ? {
        ...withFile(state, session, { ...file, identity, retrieved: 'taken' }),
        identities: state.identities.with(identity, file.ref),
      }
    : state;
  if (op.replyFault) return refused(taken, 'EFAULT');
  return done(taken, { kind: 'file', ref: file.ref, first });
}

/** All of its files are asked before the first one is finished: a veto leaves everything as it was. */
function finish(state: ModelState, session: SessionState, vetoes: readonly bigint[] = []): Stepped {
  if (vetoes.some((token) => session.files.has(token))) return refused(state, 'EBUSY');
  const files = inOrder(session).reverse();
  return {
    state: {
      ...state,
      sessions: state.sessions.with(session.id, { ...session, files: PersistentMap.empty() }),
      identities: files.reduce((rest, file) => rest.without(file.identity), state.identities),
    },
    result: { ok: true, value: NOTHING },
    effects: files.map((file) => release(session, file, 'finish')),
  };
}

/** Of an outgoing session the cancel, of an incoming one the finish. */
function closeSession(state: ModelState, session: SessionState, vetoes: readonly bigint[] = []): Stepped {
  if (session.direction === 'outgoing') {
    const files = inOrder(session).reverse();
    return {
      state: {
        ...withoutSession(state, session),
        identities: files.reduce((rest, file) => rest.without(file.identity), state.identities),
      },
      result: { ok: true, value: NOTHING },
      effects: [
        ...files.map((file) => release(session, file, 'unpreserve')),
        { effect: 'sessionEnded', session: session.id },
      ],
    };
  }
  const finished = finish(state, session, vetoes);
  if (!finished.result.ok) {
    // close(2) cannot refuse: the fd is gone, and the session stays where nobody can reach it.
    return done({ ...state, sessions: state.sessions.with(session.id, { ...session, leaked: true }) });
  }
  return {
    state: withoutSession(finished.state, session),
    result: finished.result,
    effects: [...finished.effects, { effect: 'sessionEnded', session: session.id }],
  };
}

function undoPreserve(state: ModelState, session: SessionState, token: bigint): Stepped {
  const file = session.files.get(token);
  if (file === undefined) return refused(state, 'ENOENT');
  return {
    state: {
      ...state,
      sessions: state.sessions.with(session.id, { ...session, files: session.files.without(token) }),
      identities: state.identities.without(file.identity),
    },
    result: { ok: true, value: NOTHING },
    effects: [release(session, file, 'unpreserve')],
  };
}

/** Sessions in the order of their creation, files in the order of their preserving; a refusal is undone in the kernel's order. */
function kexec(state: ModelState, op: OpNamed<'kexec'>): Stepped {
  const effects: Effect[] = [];
  const frozen: SessionState[] = [];
  for (const session of sessionsInOrder(state, 'outgoing')) {
    for (const file of inOrder(session)) {
      const failure = op.freezeFailure;
      if (failure !== undefined && failure.session === session.id && failure.token === file.token) {
        const before = inOrder(session).filter((each) => each.sequence < file.sequence);
        effects.push(...before.map((each) => frozenEffect('unfreeze', session, each)));
        for (const earlier of frozen.reverse())
          effects.push(...inOrder(earlier).map((each) => frozenEffect('unfreeze', earlier, each)));
        return { state, result: { ok: false, errno: failure.errno }, effects };
      }
      effects.push(frozenEffect('freeze', session, file));
    }
    frozen.push(session);
  }
  // The incoming list is not carried again: what nobody retrieved, and what nobody finished, ends with this kernel.
  for (const session of sessionsInOrder(state, 'incoming')) {
    effects.push(...inOrder(session).map((file) => release(session, file, 'kexec')));
    effects.push({ effect: 'sessionEnded', session: session.id });
  }
  let next: ModelState = { ...emptyModel(state.profile), broken: op.damaged ?? false, nextSession: state.nextSession };
  if (op.damaged) return { state: next, result: { ok: true, value: NOTHING }, effects };
  for (const session of frozen) {
    next = {
      ...next,
      sessions: next.sessions.with(session.id, { ...session, direction: 'incoming', held: false }),
      incoming: next.incoming.with(session.name, session.id),
    };
  }
  return { state: next, result: { ok: true, value: NOTHING }, effects };
}

/**
 * Nothing ends in a handover, so incoming sessions stay, and a file that waits is still the file that somebody may hold: it
 * stays preserved. What would collide with a waiting session of that name is refused, before anything is changed.
 */
function handover(state: ModelState, only?: readonly SessionId[]): Stepped {
  const crossing = sessionsInOrder(state, 'outgoing').filter((session) => only?.includes(session.id) ?? true);
  if (crossing.some((session) => state.incoming.has(session.name))) return refused(state, 'EEXIST');
  let next = state;
  for (const session of crossing) {
    next = {
      ...next,
      sessions: next.sessions.with(session.id, { ...session, direction: 'incoming', held: false }),
      outgoing: next.outgoing.without(session.name),
      incoming: next.incoming.with(session.name, session.id),
    };
  }
  return done(next);
}

/** A session as it is found again by a new process of the carrier. */
export interface FoundSession {
  readonly name: string;
  readonly direction: 'outgoing' | 'incoming';
  readonly held: boolean;
  /** In the order of their preserving. */
  readonly files: readonly Pick<PreservedFile, 'token' | 'ref' | 'kind' | 'identity' | 'retrieved'>[];
}

/** The model of what was found, in the order of creation, and the ids that the sessions got. The device is closed. */
export function modelOf(
  profile: Profile,
  found: readonly FoundSession[],
): { readonly state: ModelState; readonly ids: readonly SessionId[] } {
  let state = emptyModel(profile);
  const ids: SessionId[] = [];
  for (const each of found) {
    const id = state.nextSession;
    ids.push(id);
    let session = newSession(id, each.name, each.direction, each.held);
    let identities = state.identities;
    for (const file of each.files) {
      const sequence = session.nextSequence;
      session = {
        ...session,
        files: session.files.with(file.token, { ...file, sequence }),
        nextSequence: sequence + 1,
      };
      identities = identities.with(file.identity, file.ref);
    }
    state = {
      ...state,
      identities,
      sessions: state.sessions.with(id, session),
      [each.direction]: state[each.direction].with(each.name, id),
      nextSession: id + 1,
    };
  }
  return { state, ids };
}

/** Files in the order in which they were preserved. */
export function inOrder(session: SessionState): PreservedFile[] {
  return [...session.files.values()].sort((a, b) => a.sequence - b.sequence);
}

/** Sessions in the order in which they were created. */
export function sessionsInOrder(state: ModelState, direction: 'outgoing' | 'incoming'): SessionState[] {
  return [...state.sessions.values()].filter((session) => session.direction === direction).sort((a, b) => a.id - b.id);
}

/** Every ref that the state still needs: what must not be let go. */
export function refsOf(state: ModelState): Ref[] {
  return [...state.sessions.values()].flatMap((session) => inOrder(session).map((file) => file.ref));
}

function newSession(id: SessionId, name: string, direction: 'outgoing' | 'incoming', held: boolean): SessionState {
  return { id, name, direction, held, leaked: false, files: PersistentMap.empty(), nextSequence: 0 };
}

function withFile(state: ModelState, session: SessionState, file: PreservedFile): ModelState {
  const files = session.files.with(file.token, file);
  return { ...state, sessions: state.sessions.with(session.id, { ...session, files }) };
}

function withoutSession(state: ModelState, session: SessionState): ModelState {
  return {
    ...state,
    sessions: state.sessions.without(session.id),
    [session.direction]: state[session.direction].without(session.name),
  };
}

function release(session: SessionState, file: PreservedFile, by: 'unpreserve' | 'finish' | 'kexec'): Effect {
  const lost = by !== 'unpreserve' && file.retrieved !== 'taken';
  return { effect: 'release', session: session.id, token: file.token, ref: file.ref, by, lost };
}

function frozenEffect(effect: 'freeze' | 'unfreeze', session: SessionState, file: PreservedFile): Effect {
  return { effect, session: session.id, token: file.token, ref: file.ref };
}

function failure(errno: Errno): { ok: false; errno: Errno } {
  return { ok: false, errno };
}

function done(state: ModelState, value: Value = NOTHING): Stepped {
  return { state, result: { ok: true, value }, effects: [] };
}

function refused(state: ModelState, errno: Errno): Stepped {
  return { state, result: failure(errno), effects: [] };
}
