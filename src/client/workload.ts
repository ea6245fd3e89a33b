/**
 * Everything of a program that an update moves: memory, listeners, small state, devices and globals, and its callbacks.
 * Each method is one step of an update and knows nothing of luod; who calls them, and when, is member.ts.
 *
 * Order at freeze: accept and read no more; the program's callbacks; requests that are being handled; output above its
 * bound; then, in one turn: bytes in and out, small state, and last the marks of memory, so that a clean mark says that
 * all of it is done. A step that fails leaves the workload as far as it came; `thaw` undoes any part of it.
 */
import { LuoError } from '../base/errors.js';
import { closeAll, shutdown, type OwnedFd } from '../sys/index.js';
import type { LuoListener } from './listener.js';
import { BlobWriter, readParcel, type FrozenListener, type ParcelBody, type PreparedListener } from './parcel.js';
import type { Region } from './region.js';
import type { CallContext, CallEvent, CallListener, HandleCallbacks, Saved, StateCallbacks } from './types.js';

/** What a call of luod names of this member. */
export interface NamedHandle {
  readonly kind: string;
  readonly name: string;
}

/** A parcel that is ready to be sent; `close()` after sending. `fds` are borrowed. */
export interface OutgoingParcel {
  readonly parcel: unknown;
  readonly fds: readonly number[];
  close(): void;
}

/** A parcel as it came. */
export interface IncomingParcel {
  readonly part: 'prepared' | 'frozen';
  readonly parcel: unknown;
  readonly fds: OwnedFd[];
}

/**
 * How long a freeze waits for clients to take output above its bound, ms. Longer than handing it over costs would only
 * let one client that does not read prolong the blackout of all others.
 */
const OUTPUT_DRAIN_MS = 100;

interface RegisteredHandle extends NamedHandle {
  readonly callbacks: HandleCallbacks;
}

export class Workload {
  readonly regions = new Map<string, Region>();
  readonly listeners = new Map<string, LuoListener>();
  readonly states = new Map<string, StateCallbacks>();
  readonly #handles = new Map<string, RegisteredHandle>();
  readonly #callbacks = new Map<CallEvent, Set<CallListener>>();
  /** Asked in turn whether an update may be finished. */
  readonly vetoes: (() => string | undefined | Promise<string | undefined>)[] = [];
  readonly #drainShare: number;
  #attachedPrepared = false;

  constructor(options: { readonly drainShare: number }) {
    this.#drainShare = options.drainShare;
  }

  addHandle(kind: 'device' | 'global', name: string, callbacks: HandleCallbacks): void {
    this.#handles.set(`${kind}:${name}`, { kind, name, callbacks });
  }

  removeHandle(kind: string, name: string): void {
    this.#handles.delete(`${kind}:${name}`);
  }

  on(event: CallEvent, listener: CallListener): void {
    const listeners = this.#callbacks.get(event) ?? new Set();
    listeners.add(listener);
    this.#callbacks.set(event, listeners);
  }

  off(event: CallEvent, listener: CallListener): void {
    this.#callbacks.get(event)?.delete(listener);
  }

  /** Call the program's listeners, all at once, and wait for them. The first failure is thrown when all have ended. */
  async emit(event: CallEvent, context: CallContext): Promise<void> {
    const listeners = this.#callbacks.get(event);
    if (listeners === undefined || listeners.size === 0) return;
    await allEnded([...listeners].map((listener) => () => listener(context)));
  }

  // -------------------------------------------------------------------------------------------- the old side

  /** @param first the first call of this attempt: what belongs to no handle is done with it */
  async prepare(context: CallContext, handles: readonly NamedHandle[], first: boolean): Promise<OutgoingParcel> {
    if (first) await this.emit('prepare', context);
    // Connections end with their kernel: their clients come back to the next one.
    const goAlong = first && context.replaced && context.gap !== 'kexec';
    const withConnections = goAlong ? [...this.listeners.values()].filter((one) => one.handsOver) : [];
    for (const listener of withConnections) await listener.notice(context.signal);
    const blob = new BlobWriter(context.gap);
    const saved = await this.#saveHandles('prepare', context, handles, blob);
    // From here to the end there is no await: a descriptor is what it is only as long as its connection is not closed.
    const fds: number[] = [];
    const listeners = withConnections.map((listener) => listener.prepare(fds, blob));
    return outgoing(blob, { listeners, handles: saved }, fds);
  }

  /** @throws LuoError CALL_FAILED requests did not end in time; or what a callback threw */
  async freeze(context: CallContext, handles: readonly NamedHandle[], first: boolean): Promise<OutgoingParcel> {
    const blob = new BlobWriter(context.gap);
    if (!first) {
      const saved = await this.#saveHandles('freeze', context, handles, blob);
      return outgoing(blob, { handles: saved }, []);
    }
    const endMs = performance.now() + context.deadlineMs * this.#drainShare;
    const listeners = [...this.listeners.values()];
    for (const listener of listeners) listener.stop();
    await allEnded([
      () => this.emit('freeze', context),
      ...listeners.map((listener) => async () => {
        if (await listener.drainRequests(endMs)) return;
        throw new LuoError(
          'CALL_FAILED',
          `'${listener.name}' still has ${listener.busy} connections with requests that are being handled`,
          {
            phase: 'freezing',
            handle: listener.name,
            remedy: 'allow a longer blackout, or update at a quieter moment',
          },
        );
      }),
    ]);
    const outputEndMs = Math.min(endMs, performance.now() + OUTPUT_DRAIN_MS);
    for (const listener of listeners) await listener.drainOutput(outputEndMs);
    const saved = await this.#saveHandles('freeze', context, handles, blob);
    // From here to the end there is no await: what is taken is of one moment.
    const fds: number[] = [];
    const frozen =
      context.gap === 'kexec'
        ? []
        : listeners.filter((one) => one.handsOver).map((listener) => listener.freeze(blob, fds));
    const states: { name: string; saved: ReturnType<BlobWriter['pack']> }[] = [];
    for (const [name, { save }] of this.states) {
      const value = save();
      if (value !== undefined) states.push({ name, saved: blob.pack(value) });
    }
    const parcel = outgoing(blob, { handles: saved, listeners: frozen, states }, fds);
    for (const region of this.regions.values()) region.freeze(context.attempt);
    return parcel;
  }

  /** Serve again, from any part of a freeze. */
  thaw(attempt: number): void {
    for (const region of this.regions.values()) region.thaw(attempt);
    for (const listener of this.listeners.values()) listener.thaw();
  }

  /** The prepare is off, or the freeze was. */
  async cancel(context: CallContext, wasFrozen: boolean): Promise<void> {
    for (const listener of this.listeners.values()) listener.cancel();
    await allEnded([
      () => this.emit(wasFrozen ? 'thaw' : 'cancel', context),
      ...[...this.#handles.values()].map(
        ({ callbacks }) =>
          () =>
            callbacks.cancel?.(context),
      ),
    ]);
  }

  // -------------------------------------------------------------------------------------------- the new side

  /** Before the blackout: what of standby would make the go slower. */
  settleMemory(): void {
    for (const region of this.regions.values()) region.forgetPages();
  }

  /** The freeze is near, and this process at rest. */
  settleConnections(): void {
    for (const listener of this.listeners.values()) listener.settle();
  }

  /**
   * Take what the old process handed over. Takes all fds, also when it throws.
   * @throws LuoError PROTO_VERSION, PROTO_INVALID, PROTO_FDS; or what a callback threw
   */
  async restore(context: CallContext, part: 'prepared' | 'frozen', takenParcels: IncomingParcel[]): Promise<void> {
    const open = new Set(takenParcels.flatMap((one) => one.fds));
    try {
      // Connections whose last owner died while it was not frozen have lost what it had read: they are cut, so that
      // their clients come back. It may have died before its freeze, or after a go that luod did not hear of.
      const isTorn = [...this.regions.values()].some((region) => region.torn);
      const cut = part === 'frozen' && (isTorn || !takenParcels.some((one) => one.part === 'frozen'));
      for (const incoming of takenParcels) await this.#restoreOne(context, incoming, cut, open);
      if (part === 'prepared') this.#attachedPrepared = true;
    } finally {
      closeAll(open);
    }
  }

  async #restoreOne(context: CallContext, incoming: IncomingParcel, cut: boolean, open: Set<OwnedFd>): Promise<void> {
    const read = readParcel(incoming.parcel, incoming.fds);
    if (read === undefined) return;
    const { body, blob, fds } = read;
    const take = (count: number): OwnedFd[] => {
      const taken = fds.splice(0, count);
      if (taken.length < count) throw new LuoError('PROTO_FDS', 'a parcel came with fewer fds than it names');
      for (const fd of taken) open.delete(fd);
      return taken;
    };
    for (const { kind, name, saved } of body.handles ?? []) {
      const value = blob.unpack(saved);
      await this.#handles.get(`${kind}:${name}`)?.callbacks.restore?.(context, value);
    }
    for (const entry of body.listeners ?? []) {
      const listener = this.listeners.get(entry.name);
      if (incoming.part === 'prepared') {
        const prepared = entry as PreparedListener;
        // A restarted process gets it again together with the rest; a successor has it.
        const known = this.#attachedPrepared;
        const taken = take(prepared.connections.length);
        const saved = (prepared.saved ?? []).map((one) => (one === null ? undefined : blob.unpack(one)));
        if (cut) taken.forEach(cutConnection);
        if (listener === undefined || known || cut) closeAll(taken);
        else await listener.attachPrepared(prepared, taken, saved, context.signal);
      } else {
        const frozen = entry as FrozenListener;
        if (listener !== undefined && !cut) listener.attachFrozen(frozen, blob, () => take(1)[0]!);
        else
          skipFrozen(
            frozen,
            (count) => blob.take(count),
            () => {
              const taken = take(1);
              if (cut) taken.forEach(cutConnection);
              closeAll(taken);
            },
            (packed) => blob.unpack(packed),
          );
      }
    }
    for (const { name, saved } of body.states ?? []) {
      const value = blob.unpack(saved);
      this.states.get(name)?.restore(value);
    }
  }

  /** Work. Memory first, then the program's callbacks, then the connections; waits for the callbacks last. */
  async go(context: CallContext): Promise<void> {
    for (const region of this.regions.values()) region.go(context.attempt);
    const callbacks = this.emit('go', context);
    for (const listener of this.listeners.values()) listener.go();
    await callbacks;
  }

  /** The first reason not to finish; undefined: none. */
  async veto(): Promise<string | undefined> {
    for (const ask of this.vetoes) {
      const reason = await ask();
      if (reason !== undefined) return reason;
    }
    return undefined;
  }

  async finish(context: CallContext): Promise<void> {
    for (const listener of this.listeners.values()) listener.cancel();
    await allEnded([
      () => this.emit('finish', context),
      ...[...this.#handles.values()].map(
        ({ callbacks }) =>
          () =>
            callbacks.finish?.(context),
      ),
    ]);
  }

  async #saveHandles(
    call: 'prepare' | 'freeze',
    context: CallContext,
    handles: readonly NamedHandle[],
    blob: BlobWriter,
  ): Promise<NonNullable<ParcelBody['handles']>> {
    const result: NonNullable<ParcelBody['handles']>[number][] = [];
    for (const { kind, name } of handles) {
      const saved: Saved | undefined = await this.#handles.get(`${kind}:${name}`)?.callbacks[call]?.(context);
      if (saved !== undefined) result.push({ kind, name, saved: blob.pack(saved) });
    }
    return result;
  }
}

function outgoing(blob: BlobWriter, body: ParcelBody, fds: readonly number[]): OutgoingParcel {
  const used = Object.fromEntries(Object.entries(body).filter(([, list]) => (list as unknown[]).length > 0));
  const finished = blob.finish(used, fds);
  return { parcel: finished.parcel, fds: finished.fds, close: () => finished.blobFd?.close() };
}

/** End it for everybody who holds it, so that its client comes back at once. */
function cutConnection(fd: OwnedFd): void {
  try {
    shutdown(fd.fd);
  } catch {
    // ENOTCONN: it has ended by itself.
  }
}

/** A listener that this version has no use for: pass over its bytes and fds, so that what follows is read right. */
function skipFrozen(
  frozen: FrozenListener,
  skipBytes: (count: number) => void,
  skipFd: () => void,
  skipPacked: (packed: NonNullable<FrozenListener['connections'][number]['saved']>) => void,
): void {
  for (const entry of frozen.connections) {
    if (entry.isNew === true) skipFd();
    skipBytes(entry.input ?? 0);
    skipBytes(entry.output ?? 0);
    if (entry.saved !== undefined) skipPacked(entry.saved);
  }
}

/** Start all, wait for all, then throw the first failure: nothing may go on behind the back of what comes next. */
async function allEnded(tasks: readonly (() => unknown)[]): Promise<void> {
  const running = tasks.map(async (task) => {
    await task();
  });
  const results = await Promise.allSettled(running);
  const failed = results.find((result) => result.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}
