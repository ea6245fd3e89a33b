/**
 * What programs that only know systemd's protocols keep with luod: fds sent by FDSTORE=1, given back as LISTEN_FDS to the
 * next process of the service. Each is a handle (`compatible` sd-fdstore/1) like any other: it is in status and plan, waits
 * when its process is gone, and is viable over a gap or not.
 * @source sd_pid_notify_with_fds(3), sd_listen_fds(3)
 */
import { handleKey } from '../base/words.js';
import type { FdDescriber } from '../ports/index.js';
import { closeAll, isSysError, sameOpenFile } from '../sys/index.js';
import type { OwnedFd } from '../sys/index.js';
import type { Custody } from './custody.js';
import { handleEntryName } from './handles.js';
import type { Handle, Handles } from './handles.js';
import type { Instance } from './instance.js';
import type { NotifyMessage } from './notify-message.js';

const COMPATIBLE = 'sd-fdstore/1';
/** The name of an fd that came without one. @source sd_pid_notify_with_fds(3), FDNAME= */
const UNNAMED = 'stored';

export class FdStore {
  readonly #handles: Handles;
  readonly #custody: Custody;
  readonly #describer: FdDescriber;

  constructor(handles: Handles, custody: Custody, describer: FdDescriber) {
    this.#handles = handles;
    this.#custody = custody;
    this.#describer = describer;
  }

  /**
   * A notification came with fds to keep, or names what is to go.
   * @param onTrial the instance is a successor that nothing was decided for: what it says counts from the commit on, and a
   *   rollback finds everything as it was
   */
  told(instance: Instance, owner: string, message: NotifyMessage, takenFds: OwnedFd[], onTrial: boolean): void {
    const fdName = message.fdName ?? UNNAMED;
    if (message.fdStoreRemove) {
      closeAll(takenFds);
      for (const handle of this.#stored(owner)) {
        if (fdNameOf(handle) !== fdName) continue;
        if (onTrial) this.#handles.claim(instance.id, handle.key, 'released');
        else this.#drop(handle);
      }
      for (const handle of this.#handles.declared(instance.id)) {
        if (fdNameOf(handle) === fdName) this.#drop(handle);
      }
      return;
    }
    for (const fd of takenFds) this.#keep(instance, owner, fdName, fd, onTrial);
  }

  #drop(handle: Handle): void {
    this.#handles.remove(handle.key);
    this.#custody.drop([handleEntryName(handle.key)]);
  }

  /** Names and fds (borrowed) for the next process, in the order in which they were stored. */
  listenFds(owner: string): { names: string[]; fds: number[] } {
    const names: string[] = [];
    const fds: number[] = [];
    for (const handle of this.#stored(owner).sort((a, b) => a.seq - b.seq)) {
      const entry = this.#custody.get(handleEntryName(handle.key));
      if (!entry) continue;
      names.push(fdNameOf(handle));
      fds.push(entry.fds[0]!.fd);
    }
    return { names, fds };
  }

  /** The process got them all as LISTEN_FDS: they are its own now, or (`onTrial`) will be at the commit. */
  claimAll(instance: Instance, owner: string, onTrial: boolean): void {
    const claims = this.#handles.claims(instance.id);
    for (const handle of this.#stored(owner)) {
      if (handle.holder === instance.id || claims.has(handle.key)) continue;
      if (onTrial) this.#handles.claim(instance.id, handle.key, 'claimed');
      else this.#handles.update(handle.key, { holder: instance.id });
    }
  }

  #keep(instance: Instance, owner: string, fdName: string, fd: OwnedFd, onTrial: boolean): void {
    const declared = this.#handles.declared(instance.id);
    const stored = [...this.#stored(owner), ...declared];
    // The same file under the same name is kept once, as systemd does.
    if (stored.some((handle) => fdNameOf(handle) === fdName && this.#isSame(handle, fd))) return fd.close();
    try {
      this.#handles.checkRoom(owner, instance.id, 1);
    } catch {
      instance.statusText = 'an fd was not stored: the limit handlesPerOwnerMax is reached';
      return fd.close();
    }
    let name = fdName.replaceAll('/', '_');
    const isTaken = (key: string): boolean =>
      this.#handles.get(key) !== undefined || declared.some((handle) => handle.key === key);
    for (let n = 2; isTaken(handleKey({ owner, kind: 'fd', name })); n += 1)
      name = `${fdName.replaceAll('/', '_')}#${n}`;
    const key = handleKey({ owner, kind: 'fd', name });
    const { type, sizeBytes, viable } = this.#describer.describe(fd.fd);
    const made: Handle = {
      key,
      owner,
      kind: 'fd',
      name,
      compatible: COMPATIBLE,
      policy: 'hold',
      wants: { handover: 'keep', kexec: viable.kexec.ok ? 'keep' : 'leave' },
      requested: null,
      type,
      sizeBytes,
      viable,
      dependencies: [],
      marked: false,
      hasFd: true,
      meta: { fdName },
      seq: this.#handles.nextSeq(),
      holder: instance.id,
      leftDirty: false,
    };
    if (onTrial) this.#handles.declare(instance.id, made);
    else this.#handles.register(made);
    this.#custody.put(handleEntryName(key), owner, { key }, [fd]).catch(() => this.#handles.remove(key));
  }

  #stored(owner: string): Handle[] {
    return this.#handles.ofOwner(owner).filter((handle) => handle.compatible === COMPATIBLE);
  }

  #isSame(handle: Handle, fd: OwnedFd): boolean {
    const kept = this.#custody.get(handleEntryName(handle.key))?.fds[0];
    if (!kept) return false;
    try {
      // Not the inode: all eventfds, timerfds and epolls of a machine share one.
      return sameOpenFile({ pid: process.pid, fd: kept.fd }, { pid: process.pid, fd: fd.fd });
    } catch (error) {
      // Without kcmp the same file may be kept twice, which loses nothing.
      if (isSysError(error, 'EPERM') || isSysError(error, 'ENOSYS')) return false;
      throw error;
    }
  }
}

function fdNameOf(handle: Handle): string {
  return (handle.meta as { fdName?: string } | undefined)?.fdName ?? handle.name;
}
