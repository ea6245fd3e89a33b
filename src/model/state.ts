/**
 * The state of the model, what can be done to it, and what follows: values only.
 *
 * A *ref* is the caller's own number for an open file; the model says when it must be kept and when it may be let go. An
 * *identity* is whatever makes two files the same one for the carrier: the inode of a memfd, else the open file.
 * Names are byte strings (one character a byte), since the kernel compares bytes; see names.ts.
 * @source include/uapi/linux/liveupdate.h; kernel/liveupdate/luo_core.c, luo_session.c, luo_file.c of Linux 7.3
 */
import type { PersistentMap } from './persistent-map.js';
import type { Profile } from './profiles.js';

/** Kernel name of an error number, `EBUSY`. */
export type Errno = string;
export type SessionId = number;
export type Ref = number;
export type Direction = 'outgoing' | 'incoming';

export interface PreservedFile {
  readonly token: bigint;
  readonly ref: Ref;
  readonly kind: string;
  readonly identity: string;
  /** Order of the PRESERVE calls in the session. */
  readonly sequence: number;
  /** Incoming only: never tried, taken, or the errno that is the answer for ever. */
  readonly retrieved: 'untried' | 'taken' | { readonly errno: Errno };
}

export interface SessionState {
  readonly id: SessionId;
  readonly name: string;
  readonly direction: Direction;
  /** Incoming: somebody has it. Outgoing: always true. */
  readonly held: boolean;
  /** Closed while finish was refused: listed for ever, to be had by nobody. */
  readonly leaked: boolean;
  readonly files: PersistentMap<bigint, PreservedFile>;
  readonly nextSequence: number;
}

export interface ModelState {
  readonly profile: Profile;
  /** One open file description of the device at a time. */
  readonly deviceOpen: boolean;
  /** What came over the gap could not be read: every open fails until the next boot. */
  readonly broken: boolean;
  readonly sessions: PersistentMap<SessionId, SessionState>;
  /** By name, one table for each direction: an outgoing session may have the name of an incoming one. */
  readonly outgoing: PersistentMap<string, SessionId>;
  readonly incoming: PersistentMap<string, SessionId>;
  /** Identities that are preserved, or retrieved and not finished, anywhere. */
  readonly identities: PersistentMap<string, Ref>;
  readonly nextSession: SessionId;
}

/** What PRESERVE_FD finds behind the fd. */
export interface FileFacts {
  readonly ref: Ref;
  readonly kind: string;
  readonly identity: string;
  /** What its handler answers to `preserve`; see memfd.ts. */
  readonly handlerErrno?: Errno;
}

/** Faults of the caller's own side that the order of checks depends on. */
interface NewFd {
  /** EMFILE or ENFILE: no fd can be had for the answer. Checked before all else. */
  readonly fdErrno?: Errno;
}
interface Replied {
  /** The answer cannot be written to the caller's memory: EFAULT, after the deed. */
  readonly replyFault?: true;
}

export type Op =
  | { readonly op: 'openDevice' }
  | { readonly op: 'closeDevice' }
  | ({ readonly op: 'createSession'; readonly name: string } & NewFd & Replied)
  | ({ readonly op: 'retrieveSession'; readonly name: string } & NewFd & Replied & Vetoes)
  | ({
      readonly op: 'preserveFd';
      readonly session: SessionId;
      readonly token: bigint;
      /** null: the fd is not open. */
      readonly file: FileFacts | null;
    } & Replied)
  | ({
      readonly op: 'retrieveFd';
      readonly session: SessionId;
      readonly token: bigint;
      /** What the handler answers if it is asked now for the first time. */
      readonly handlerErrno?: Errno;
      /** Of the file that is made now, where that is another one than was preserved: the next kernel makes new inodes. */
      readonly identity?: string;
    } & NewFd &
      Replied)
  | ({ readonly op: 'finish'; readonly session: SessionId; readonly reserved?: number } & Vetoes & Replied)
  | ({ readonly op: 'getName'; readonly session: SessionId; readonly reserved?: number } & Replied)
  /** The last copy of a session's fd is closed. */
  | ({ readonly op: 'closeSession'; readonly session: SessionId } & Vetoes)
  /** reboot(2) into the next kernel. */
  | {
      readonly op: 'kexec';
      /** The handler of this file refuses to freeze: reboot(2) returns, and everything stays preserved. */
      readonly freezeFailure?: { readonly session: SessionId; readonly token: bigint; readonly errno: Errno };
      /** The next kernel cannot read what came. */
      readonly damaged?: true;
    }
  /** The next program takes over. Unlike kexec it takes nothing from anybody: incoming sessions stay. */
  | { readonly op: 'handover'; readonly sessions?: readonly SessionId[] }
  /** The carrier refused afterwards what the model had accepted: as if the PRESERVE_FD had not been. */
  | { readonly op: 'undoPreserve'; readonly session: SessionId; readonly token: bigint };

interface Vetoes {
  /** Tokens whose handler says no to finish at this moment. */
  readonly vetoes?: readonly bigint[];
}

export type Value =
  | { readonly kind: 'none' }
  | { readonly kind: 'session'; readonly session: SessionId }
  /** `first`: the file is made now; else another fd of the same open file. */
  | { readonly kind: 'file'; readonly ref: Ref; readonly first: boolean }
  | { readonly kind: 'name'; readonly name: string };

export type Result = { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly errno: Errno };

/** What has to happen to files and sessions outside of the model, in this order. */
export type Effect =
  | { readonly effect: 'preserve'; readonly session: SessionId; readonly token: bigint; readonly ref: Ref }
  | { readonly effect: 'freeze'; readonly session: SessionId; readonly token: bigint; readonly ref: Ref }
  | { readonly effect: 'unfreeze'; readonly session: SessionId; readonly token: bigint; readonly ref: Ref }
  /** The carrier lets go of the file. `lost`: nobody had taken it, so its content is gone. */
  | {
      readonly effect: 'release';
      readonly session: SessionId;
      readonly token: bigint;
      readonly ref: Ref;
      readonly by: 'unpreserve' | 'finish' | 'kexec';
      readonly lost: boolean;
    }
  | { readonly effect: 'sessionEnded'; readonly session: SessionId };

export interface Stepped {
  readonly state: ModelState;
  readonly result: Result;
  readonly effects: readonly Effect[];
}
