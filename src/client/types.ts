/**
 * The public shapes of the library `luo`: what `join()` gives and takes. Types only.
 */
import type { Server as HttpServer } from 'node:http';
import type { AddressInfo, Server as NetServer, Socket } from 'node:net';
import type { LuoError } from '../base/errors.js';
import type { Gap, Kind, Policy, Role, Want } from '../base/words.js';
import type { Waiting } from '../protocol/spec.js';
import type { OwnedFd } from '../sys/index.js';

/** What a JSON text can carry. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json | undefined };

/** Small state of a service: JSON, or bytes (which arrive as a Buffer). */
export type Saved = Json | Uint8Array;

/** See {@link join}. Everything has a default; what is unset comes from the environment. */
export interface JoinOptions {
  /** Path of luod's socket; default LUO_SOCKET. Neither: the program runs detached. */
  readonly socket?: string;
  /** Name of this service; default LUO_SERVICE. */
  readonly service?: string;
  /** Proof of being the supervised service of that name; default LUO_SECRET. */
  readonly secret?: string;
  /** Program and version, for luod's log. */
  readonly client?: string;
  /** How long luod may be out of reach at the start, ms; default 30,000. */
  readonly waitMs?: number;
  /**
   * What a failed join does: `exit` (default) says why on stderr and ends the process with 69, so that no program can
   * start empty beside state that waits for it; `throw` is for programs that handle this themselves.
   */
  readonly onFailure?: 'exit' | 'throw';
  /** Unsent output of one connection above which a freeze lets it drain first, bytes; default 1 MiB. */
  readonly pendingOutputBytesMax?: number;
  /** The part of a freeze's deadline that draining may take, 0 to 1; default 0.5. */
  readonly drainShare?: number;
  /** Where the topology of devices is read; default `/sys`. */
  readonly sysfs?: string;
}

/** What every callback is told. */
export interface CallContext {
  /** 0: outside of any attempt (the go of a first start). */
  readonly attempt: number;
  /** Aborted when luod's deadline has passed: an answer after that counts as a failure. */
  readonly signal: AbortSignal;
  readonly deadlineMs: number;
  readonly gap: Gap | undefined;
  /** False: a bystander, which is frozen and goes on itself. */
  readonly replaced: boolean;
  /** In a cycle of fds: the handles that are prepared later. */
  readonly toCome: readonly string[];
  /** In a cycle of fds, at freeze: what every peer answered to prepare. */
  readonly tokens: Readonly<Record<string, unknown>>;
}

/**
 * The moments of an update that a program can take part in. `prepare` (still serving), `freeze` (reading has stopped;
 * finish what runs, then write nothing more), `thaw` (the freeze is off), `cancel` (the prepare is off), `go` (work;
 * memory is writable), `finish` (the update is done), `retire` (another one goes on; synchronous work only),
 * `disconnect` and `reconnect` (luod went away, came back; nothing to do).
 */
export type CallEvent =
  'prepare' | 'freeze' | 'thaw' | 'cancel' | 'go' | 'finish' | 'retire' | 'disconnect' | 'reconnect';
export type CallListener = (context: CallContext) => unknown;

/** Common options of what is registered by name. */
export interface HandleOptions {
  /** What it is and in which version, as in `cache-index/3`; default: the name with `/1`. */
  readonly compatible?: string;
  /** Versions of earlier programs that this one can take over too. */
  readonly accepts?: readonly string[];
  readonly policy?: Policy;
  readonly wants?: { readonly handover: Want; readonly kexec: Want };
  readonly dependencies?: readonly { readonly owner?: string; readonly kind: Kind; readonly name: string }[];
}

export interface MemoryOptions extends HandleOptions {
  /**
   * Over kexec: this program preserves it and takes it back by itself, so that its memory is charged to this program's
   * own control group, not to luod's. Over handover it makes no difference.
   */
  readonly delegate?: boolean;
  /** Over kexec: a digest of the content travels along; content that differs afterwards is `torn`. Costs time by size. */
  readonly digest?: boolean;
  /** Bytes; may be left out when it is known that one waits. Cannot change afterwards. */
  readonly sizeBytes?: number;
}

/** A region of memory that outlives the program. */
export interface Memory {
  readonly name: string;
  readonly sizeBytes: number;
  /**
   * The memory itself, without a copy. Before {@link Luo.ready} resolves a successor may only read it: a write ends the
   * process by SIGSEGV, which rolls the update back. Ask `writable` where that is in doubt.
   */
  readonly buffer: ArrayBuffer;
  /** True: it is new and zeroed. False: it came from an earlier process. */
  readonly created: boolean;
  /** The last process that wrote here was killed while it could write: the content may be half written. */
  readonly torn: boolean;
  readonly writable: boolean;
  /** How often it was handed on. */
  readonly generation: number;
  /** Where it lies in this process, for calls that want an address. */
  readonly address: bigint;
  /** Throws STATE_INVALID unless the region may be written now. */
  assertWritable(): void;
}

export interface ConnectionCallbacks {
  /** Bytes that were read from the socket and not yet handled; the successor reads first those of the freeze. Asked as `save` is. */
  readonly unhandled?: (socket: Socket) => Uint8Array | undefined;
  /**
   * What the successor must know of this connection. Asked at prepare, at freeze, and with many connections some times between; the
   * last answer counts. To be asked changes nothing.
   */
  readonly save?: (socket: Socket) => Saved | undefined;
  /**
   * In the successor, before the connection's first byte: what `save` gave. It is called while the old process still serves, and again
   * if `save` gave something else at the freeze.
   */
  readonly restore?: (socket: Socket, saved: Saved) => void;
}

export interface ListenOptions extends HandleOptions {
  /** Unique in the service; default `listener`. */
  readonly name?: string;
  readonly port?: number;
  readonly host?: string;
  /** A unix socket instead of a port. */
  readonly path?: string;
  readonly backlog?: number;
  readonly connections?: ConnectionCallbacks;
}

export interface Listener {
  readonly name: string;
  readonly address: AddressInfo | string;
  /** False: connections cannot be handed over (see `reason`); they drain, new ones wait in the backlog. */
  readonly handsOver: boolean;
  readonly reason: LuoError | undefined;
  /** Open connections that are accounted for. */
  readonly connections: number;
}

export interface StateCallbacks {
  /** At freeze, after the freeze callbacks. */
  readonly save: () => Saved | undefined;
  /** In the successor, before go; not called when nothing was saved. */
  readonly restore: (saved: Saved) => void;
}

/** Callbacks of a device or a global handle. What `prepare` and `freeze` return goes to the successor's `restore`. */
export interface HandleCallbacks {
  readonly prepare?: (context: CallContext) => Saved | undefined | Promise<Saved | undefined>;
  readonly freeze?: (context: CallContext) => Saved | undefined | Promise<Saved | undefined>;
  readonly restore?: (context: CallContext, saved: Saved) => unknown;
  readonly finish?: (context: CallContext) => unknown;
  readonly cancel?: (context: CallContext) => unknown;
}

/** Given to a rehearsal. */
export interface RehearsalContext {
  /** A client connection to `server`, through the same code as a real one, gone when the rehearsal ends. */
  connect(server: NetServer | HttpServer): Promise<Socket>;
  readonly signal: AbortSignal;
}

/** How {@link Luo.ready} ended. */
export interface Started {
  readonly role: Role;
  readonly attempt: number;
  readonly generation: number;
}

/** A membership: what `join()` gives. */
export interface Luo {
  /** True without luod: everything works, nothing is kept. */
  readonly detached: boolean;
  readonly role: Role;
  readonly service: string | undefined;
  readonly owner: string | undefined;
  readonly participant: string | undefined;
  readonly generation: number;
  /** Handles that wait and are neither claimed nor released. */
  readonly waiting: readonly Waiting[];
  /** True from the freeze's begin until go, thaw or the end. */
  readonly frozen: boolean;
  /** Memory by name: created, or claimed with its content. Never created while one waits under that name. */
  memory(name: string, options: MemoryOptions): Promise<Memory>;
  /** Listen by luo: the socket and the established connections outlive the program. Accepts from `ready()` on. */
  listen(server: NetServer | HttpServer, options: ListenOptions): Promise<Listener>;
  /** Was this connection handed over, rather than accepted here? */
  isHandedOver(socket: Socket): boolean;
  /**
   * At freeze: give bytes back that were read and not handled; the successor reads them first. After a thaw the
   * program goes on with its own copy. A second call for one connection in one freeze replaces the first.
   */
  giveBack(socket: Socket, bytes: Uint8Array): void;
  /** Any fd by name: give one (it is duplicated), or claim the one that waits (the result is yours). */
  fd(name: string, fd?: number, options?: HandleOptions): Promise<OwnedFd>;
  /** Small state: saved at freeze, restored before go. */
  state(name: string, callbacks: StateCallbacks): void;
  /** A device by its path below /sys; its ancestors become dependencies. */
  device(path: string, callbacks: HandleCallbacks, options?: HandleOptions): Promise<void>;
  global(name: string, callbacks: HandleCallbacks, options?: HandleOptions): Promise<void>;
  on(event: CallEvent, listener: CallListener): this;
  off(event: CallEvent, listener: CallListener): this;
  /** Veto a finish with a reason, as long as the callback gives one. */
  canFinish(callback: () => string | undefined | Promise<string | undefined>): void;
  /** Run by a successor before its standby, while the old one still serves: warm up what is hot. Leave no trace. */
  rehearse(rehearsal: (context: RehearsalContext) => unknown): void;
  /** Say that a waiting handle is not wanted; it is dropped at finish. */
  release(name: string, kind?: Kind): Promise<void>;
  /** Take a registration of one's own back. */
  unregister(name: string, kind?: Kind): Promise<void>;
  /** All is claimed and set up: serve. Resolves at go. */
  ready(): Promise<Started>;
  /** End the membership in good order. */
  leave(): Promise<void>;
}
