/**
 * VFIO from TypeScript, as far as a device without an IOMMU needs it: one container, one group, one device; its regions are read and
 * written through its fd, and one of its interrupts goes to an eventfd. Each call is one ioctl; errno is read at once.
 *
 * Without an IOMMU nothing stands between the device and all of the machine's memory: the kernel wants CAP_SYS_RAWIO and the
 * parameter `enable_unsafe_noiommu_mode`, and says so in its log.
 *
 * @source include/uapi/linux/vfio.h (Linux 7.3)
 */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import koffi from 'koffi';
import { ioctlBuffer, ioctlNumber } from '../ioctl.js';

/** _IO(';', 100 + n): the size of an argument is in the argument. */
const vfioio = (number: number): number => (0x3b << 8) | (100 + number);
const VFIO = {
  GET_API_VERSION: vfioio(0),
  CHECK_EXTENSION: vfioio(1),
  SET_IOMMU: vfioio(2),
  GROUP_GET_STATUS: vfioio(3),
  GROUP_SET_CONTAINER: vfioio(4),
  GROUP_GET_DEVICE_FD: vfioio(6),
  DEVICE_GET_REGION_INFO: vfioio(8),
  DEVICE_SET_IRQS: vfioio(10),
} as const;
const API_VERSION = 0;
const NOIOMMU_IOMMU = 8;
const GROUP_FLAGS_VIABLE = 1;
const IRQ_SET_DATA_EVENTFD = 1 << 2;
const IRQ_SET_ACTION_TRIGGER = 1 << 5;
const EFD_CLOEXEC_NONBLOCK = 0o2004000;
const EAGAIN = 'EAGAIN';

/** Regions of a PCI device, by VFIO's numbers. */
export const REGION = { BAR0: 0, CONFIG: 7 } as const;
/** Kinds of interrupts of a PCI device. */
export const IRQ = { INTX: 0, MSI: 1 } as const;

const libc = koffi.load(null);
const eventfd = libc.func('eventfd', 'int', ['uint', 'int']) as unknown as (start: number, flags: number) => number;

function check(result: number, call: string): number {
  if (result >= 0) return result;
  throw new Error(`${call} failed with errno ${koffi.errno()}`);
}

/** An eventfd that a device's interrupt adds to. */
export class Interrupts {
  readonly fd = check(eventfd(0, EFD_CLOEXEC_NONBLOCK), 'eventfd');

  /** How many came since the last call. */
  take(): number {
    const count = Buffer.alloc(8);
    try {
      readSync(this.fd, count);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== EAGAIN) throw error;
    }
    return Number(count.readBigUInt64LE());
  }
}

export class VfioDevice {
  readonly #container: number;
  readonly #group: number;
  readonly #device: number;
  /** Where each region is in the device's fd. */
  readonly #regions = new Map<number, { readonly sizeBytes: number; readonly offset: number }>();

  /**
   * @param group name below /dev/vfio: `noiommu-0`
   * @param address as PCI names it: `0000:02:01.0`
   */
  constructor(group: string, address: string) {
    this.#container = openSync('/dev/vfio/vfio', 'r+');
    this.#group = openSync(`/dev/vfio/${group}`, 'r+');
    const version = check(ioctlNumber(this.#container, VFIO.GET_API_VERSION, 0), 'VFIO_GET_API_VERSION');
    if (version !== API_VERSION) throw new Error(`VFIO speaks version ${version} of its interface`);
    if (check(ioctlNumber(this.#container, VFIO.CHECK_EXTENSION, NOIOMMU_IOMMU), 'VFIO_CHECK_EXTENSION') === 0) {
      throw new Error('VFIO does not do without an IOMMU here: enable_unsafe_noiommu_mode is off');
    }
    const status = Buffer.alloc(8);
    status.writeUInt32LE(status.length);
    check(ioctlBuffer(this.#group, VFIO.GROUP_GET_STATUS, status), 'VFIO_GROUP_GET_STATUS');
    if ((status.readUInt32LE(4) & GROUP_FLAGS_VIABLE) === 0) throw new Error(`the group '${group}' is not viable`);
    const container = Buffer.alloc(4);
    container.writeInt32LE(this.#container);
    check(ioctlBuffer(this.#group, VFIO.GROUP_SET_CONTAINER, container), 'VFIO_GROUP_SET_CONTAINER');
    check(ioctlNumber(this.#container, VFIO.SET_IOMMU, NOIOMMU_IOMMU), 'VFIO_SET_IOMMU');
    const name = Buffer.from(`${address}\0`);
    this.#device = check(ioctlBuffer(this.#group, VFIO.GROUP_GET_DEVICE_FD, name), 'VFIO_GROUP_GET_DEVICE_FD');
  }

  read(region: number, at: number, bytes: number): Buffer {
    const into = Buffer.alloc(bytes);
    const count = readSync(this.#device, into, 0, bytes, this.#place(region, at, bytes));
    if (count !== bytes) throw new Error(`${count} of ${bytes} bytes were read of region ${region}`);
    return into;
  }

  write(region: number, at: number, from: Uint8Array): void {
    const count = writeSync(this.#device, from, 0, from.length, this.#place(region, at, from.length));
    if (count !== from.length) throw new Error(`${count} of ${from.length} bytes were written to region ${region}`);
  }

  /** Let its one message-signalled interrupt add to an eventfd. */
  setMsi(to: Interrupts): void {
    this.#setIrqs(IRQ_SET_DATA_EVENTFD, IRQ.MSI, [to.fd]);
  }

  close(): void {
    for (const fd of [this.#device, this.#group, this.#container]) closeSync(fd);
  }

  #place(region: number, at: number, bytes: number): number {
    let known = this.#regions.get(region);
    if (!known) {
      // struct vfio_region_info: argsz, flags, index, cap_offset, size, offset.
      const info = Buffer.alloc(32);
      info.writeUInt32LE(info.length);
      info.writeUInt32LE(region, 8);
      check(ioctlBuffer(this.#device, VFIO.DEVICE_GET_REGION_INFO, info), 'VFIO_DEVICE_GET_REGION_INFO');
      known = { sizeBytes: Number(info.readBigUInt64LE(16)), offset: Number(info.readBigUInt64LE(24)) };
      this.#regions.set(region, known);
    }
    if (at < 0 || at + bytes > known.sizeBytes) throw new RangeError(`region ${region} has ${known.sizeBytes} bytes`);
    return known.offset + at;
  }

  #setIrqs(data: number, index: number, fds: readonly number[]): void {
    // struct vfio_irq_set: argsz, flags, index, start, count, data.
    const set = Buffer.alloc(20 + 4 * fds.length);
    set.writeUInt32LE(set.length);
    set.writeUInt32LE(data | IRQ_SET_ACTION_TRIGGER, 4);
    set.writeUInt32LE(index, 8);
    set.writeUInt32LE(fds.length, 16);
    for (const [at, fd] of fds.entries()) set.writeInt32LE(fd, 20 + 4 * at);
    check(ioctlBuffer(this.#device, VFIO.DEVICE_SET_IRQS, set), 'VFIO_DEVICE_SET_IRQS');
  }
}
