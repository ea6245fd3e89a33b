/**
 * Blobs: data for the next kernel without any update around it. Each has a session of its own, `luo-blob.NAME` with a sealed
 * memfd under token 0, so that it crosses with whoever starts the next kernel, and can be found there by its name alone.
 *
 * Unhappy: of the last kernel's blobs only the names that somebody asks for can be found; a session that is not there may be
 * a cold boot or a wrong name, which the kernel does not tell apart.
 */
import { LuoError } from '../../base/errors.js';
import type { Backend } from '../../ports/index.js';
import type { BlobInfo } from '../../protocol/spec.js';
import { OwnedFd, fstat, ftruncate, memfdCreateExecutable, pread, pwriteFully, sealContent } from '../../sys/index.js';
import { checkName } from '../check-name.js';
import type { Custody } from '../custody.js';
import { LOG_BLOB, LogRing } from './log-ring.js';

const SESSION = 'luo-blob.';
/** In the keeper: what is for the next kernel, and what came from the last one. */
const OUTGOING = 'blob/out/';
const INCOMING = 'blob/in/';
const CHUNK_BYTES = 1024 * 1024;
const SESSION_NAME_BYTES_MAX = 63;
const NAME_BYTES_MAX = SESSION_NAME_BYTES_MAX - SESSION.length;

interface BlobMeta {
  readonly direction: 'outgoing' | 'incoming';
  readonly sizeBytes: number;
}

export class Blobs {
  readonly #custody: Custody;
  readonly #backend: Backend;
  readonly #owner: string;

  constructor(custody: Custody, backend: Backend, owner: string) {
    this.#custody = custody;
    this.#backend = backend;
    this.#owner = owner;
  }

  /** Keep a copy of what is behind `fd`. @throws LuoError BLOB_EXISTS, LIMIT_REACHED, and what a session may say */
  async put(name: string, fd: number, replace: boolean): Promise<{ sizeBytes: number }> {
    const copy = copyOf(name, fd);
    sealContent(copy.fd);
    return this.keep(name, copy, replace);
  }

  /** Keep this memfd itself, which its writer may go on writing in place. @param takenFd custody's from now on */
  async keep(name: string, takenFd: OwnedFd, replace: boolean): Promise<{ sizeBytes: number }> {
    let session: Awaited<ReturnType<Backend['create']>> | undefined;
    try {
      checkBlobName(name);
      const known = this.#custody.get(OUTGOING + name);
      if (known && !replace) {
        throw new LuoError('BLOB_EXISTS', `there is a blob '${name}' already`, {
          remedy: 'give --replace, or another name',
        });
      }
      if (known) await this.#dropOutgoing(name);
      session = await this.#backend.create(SESSION + name);
      await session.preserve(takenFd.fd, 0n);
      const { sizeBytes } = fstat(takenFd.fd);
      const meta: BlobMeta = { direction: 'outgoing', sizeBytes };
      await this.#custody.put(OUTGOING + name, this.#owner, meta, [takenFd], true);
      return { sizeBytes };
    } catch (error) {
      await session?.close();
      if (takenFd.isOpen) takenFd.close();
      throw error;
    }
  }

  /** luod's own log: what the last kernel's said is taken, and the memory (borrowed) for this one's is kept. */
  async keepLog(): Promise<LogRing> {
    if (this.#custody.get(INCOMING + LOG_BLOB) === undefined) await this.#retrieve(LOG_BLOB);
    if (this.#custody.get(OUTGOING + LOG_BLOB) === undefined) await this.keep(LOG_BLOB, LogRing.create(), false);
    const { fd } = this.#custody.get(OUTGOING + LOG_BLOB)!.fds[0]!;
    return new LogRing(fd, contentBytes(fd));
  }

  /** The fd is the caller's. @throws LuoError BLOB_UNKNOWN, CLAIM_LOST */
  async get(name: string): Promise<{ info: BlobInfo; fd: OwnedFd }> {
    checkBlobName(name);
    const known =
      this.#custody.get(INCOMING + name) ?? (await this.#retrieve(name)) ?? this.#custody.get(OUTGOING + name);
    if (!known) {
      throw new LuoError('BLOB_UNKNOWN', `there is no blob '${name}'`, {
        remedy: 'it was not kept, or this kernel was booted cold, or the name is another one: the kernel does not tell',
      });
    }
    const { direction, sizeBytes } = known.meta as BlobMeta;
    return { info: { name, direction, sizeBytes }, fd: known.fds[0]!.dup() };
  }

  list(): BlobInfo[] {
    return [OUTGOING, INCOMING].flatMap((prefix) =>
      this.#custody
        .withPrefix(prefix)
        .map((entry) => ({ name: entry.name.slice(prefix.length), ...(entry.meta as BlobMeta) })),
    );
  }

  /** Both what is for the next kernel and what came from the last one. @throws LuoError BLOB_UNKNOWN */
  async drop(name: string): Promise<void> {
    const isOutgoing = this.#custody.get(OUTGOING + name) !== undefined;
    const isIncoming = this.#custody.get(INCOMING + name) !== undefined;
    if (!isOutgoing && !isIncoming) throw new LuoError('BLOB_UNKNOWN', `there is no blob '${name}'`);
    if (isOutgoing) await this.#dropOutgoing(name);
    await this.#custody.dropNow([INCOMING + name]);
  }

  async #dropOutgoing(name: string): Promise<void> {
    const sessions = await this.#backend.recover();
    await sessions.find((one) => one.name === SESSION + name && one.direction === 'outgoing')?.close();
    await this.#custody.dropNow([OUTGOING + name]);
  }

  /** Taken out of its session, which is finished then; undefined: the last kernel left nothing of that name. */
  async #retrieve(name: string): Promise<ReturnType<Custody['get']>> {
    let session;
    try {
      session = await this.#backend.retrieve(SESSION + name);
    } catch (error) {
      const { errno } = LuoError.from(error);
      if (errno === 'ENOENT' || errno === 'EINVAL') return undefined;
      throw error;
    }
    const held = await session.retrieve(0n).catch((error: unknown) => {
      const { message } = LuoError.from(error);
      throw new LuoError('CLAIM_LOST', `the blob '${name}' did not come over: ${message}`, { cause: error });
    });
    const fd = new OwnedFd(held.take());
    // luod's own log has more room than it uses.
    if (name === LOG_BLOB) ftruncate(fd.fd, contentBytes(fd.fd));
    const meta: BlobMeta = { direction: 'incoming', sizeBytes: fstat(fd.fd).sizeBytes };
    await this.#custody.put(INCOMING + name, this.#owner, meta, [fd], true);
    await session.finish();
    await session.close();
    return this.#custody.get(INCOMING + name);
  }
}

function checkBlobName(name: string): void {
  checkName(name);
  if (Buffer.byteLength(name) <= NAME_BYTES_MAX) return;
  throw new LuoError('PROTO_INVALID', `the name of a blob has at most ${NAME_BYTES_MAX} bytes: '${name}'`);
}

/** Up to where there is something: memory that was reserved for more ends in zeros. */
function contentBytes(fd: number): number {
  const { sizeBytes } = fstat(fd);
  const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
  for (let end = sizeBytes; end > 0;) {
    const start = Math.max(0, end - CHUNK_BYTES);
    const count = pread(fd, chunk.subarray(0, end - start), start);
    for (let at = count - 1; at >= 0; at -= 1) if (chunk[at] !== 0) return start + at + 1;
    end = start;
  }
  return 0;
}

/** A memfd with the content of `fd`, a file or a memfd. @throws SysError ESPIPE it is of a kind that has no content to read again */
function copyOf(name: string, fd: number): OwnedFd {
  const copy = memfdCreateExecutable(`luo-blob:${name}`);
  try {
    const chunk = Buffer.allocUnsafe(CHUNK_BYTES);
    for (let offset = 0; ;) {
      const count = pread(fd, chunk, offset);
      if (count === 0) return copy;
      ftruncate(copy.fd, offset + count);
      pwriteFully(copy.fd, chunk.subarray(0, count), offset);
      offset += count;
    }
  } catch (error) {
    copy.close();
    throw error;
  }
}
