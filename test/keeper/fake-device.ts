/** A liveupdate device for tests of the keeper: its sessions are eventfds, and it fails as it is told. */
import { ERRNO } from '../../src/abi/index.js';
import type { LiveupdateDevice } from '../../src/keeper/liveupdate.js';
import { encodeHeads, encodeSlot, planManifest } from '../../src/protocol/manifest.js';
import { SysError, eventfd, ftruncate, memfdCreate, pwrite, type OwnedFd } from '../../src/sys/index.js';

export class FakeDevice implements LiveupdateDevice {
  readonly calls: string[] = [];
  readonly manifest: OwnedFd;
  /** Those that the last kernel left and nobody has taken. */
  readonly sessions = new Set<string>(['luod', 'one', 'two']);
  /** Errors of the next opens, in their order. */
  readonly openErrors: number[] = [];
  readonly retrieveErrors = new Map<string, number>();
  retrieveFdError: number | undefined;
  readonly #taken = new Set<string>();
  #device: OwnedFd | undefined;

  /** @param names what the manifest says */
  constructor(names: readonly string[] = ['luod', 'one', 'two']) {
    const layout = planManifest(names, 200);
    this.manifest = memfdCreate('fake-manifest');
    ftruncate(this.manifest.fd, layout.fileBytes);
    for (const part of encodeHeads(layout, names)) pwrite(this.manifest.fd, part.bytes, part.offset);
    const slot = encodeSlot(layout, {}, { frozen: true, sequence: 1 });
    pwrite(this.manifest.fd, slot.bytes, slot.offset);
  }

  /** Does the keeper have it open? */
  get openNow(): boolean {
    return this.#device?.isOpen === true;
  }

  open(): OwnedFd {
    const errno = this.openErrors.shift() ?? (this.openNow ? ERRNO.EBUSY : undefined);
    if (errno !== undefined) throw new SysError('open', errno);
    this.calls.push('open');
    return (this.#device = eventfd(0));
  }

  create(_device: number, name: string): OwnedFd {
    this.calls.push(`create ${name}`);
    return eventfd(0);
  }

  retrieve(_device: number, name: string): OwnedFd {
    this.calls.push(`retrieve ${name}`);
    const errno = this.retrieveErrors.get(name) ?? (this.#taken.has(name) ? ERRNO.EINVAL : undefined);
    if (errno !== undefined) throw new SysError('ioctl', errno);
    if (!this.sessions.delete(name)) throw new SysError('ioctl', ERRNO.ENOENT);
    this.#taken.add(name);
    return eventfd(0);
  }

  retrieveFd(): OwnedFd {
    this.calls.push('retrieve manifest');
    if (this.retrieveFdError !== undefined) throw new SysError('ioctl', this.retrieveFdError);
    return this.manifest.dup();
  }
}
