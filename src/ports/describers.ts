/**
 * What a handle is and whether it can cross, asked when it is registered. Types only; src/handles implements them.
 * Describing saves nothing and changes nothing: the answer holds for the moment in which it was given.
 */
import type { Call, Gap } from '../base/words.js';

/** Whether something can cross a gap, and in words why, or what is lost on the way. */
export interface Viability {
  readonly ok: boolean;
  /** One sentence. Of a viable thing: empty, or what does not come along. */
  readonly reason: string;
}
export type ViabilityByGap = Readonly<Record<Gap, Viability>>;

/** The kinds of thing an fd can be; `listener`, `memfd`, … as shown in every status. */
export type FdType =
  | 'memfd'
  | 'hugetlb'
  | 'file'
  | 'directory'
  | 'listener'
  | 'socket'
  | 'pipe'
  | 'eventfd'
  | 'timerfd'
  | 'epoll'
  | 'inotify'
  | 'pidfd'
  | 'session'
  | 'chardev'
  | 'blockdev'
  | 'other';

export interface FdDescription {
  readonly type: FdType;
  /** Bytes of content; null where that has no meaning. */
  readonly sizeBytes: number | null;
  /** What a person would call it: a path, an address, the kernel's link text. */
  readonly label: string;
  readonly viable: ViabilityByGap;
}

export interface FdDescriber {
  /**
   * @param fd borrowed
   * @throws LuoError SYS EBADF not an open fd
   */
  describe(fd: number): FdDescription;
}

export interface DeviceDescription {
  /** Path below /sys, links resolved: `/sys/devices/pci0000:00/0000:00:04.0`. */
  readonly path: string;
  /** The devices that it hangs on, the nearest first: what must be preserved with it. */
  readonly ancestors: readonly string[];
  readonly driver: string | null;
  readonly subsystem: string | null;
  /** What the kernel may do to a device that nobody claims: `flr`, `bus`, `pm`, …; empty: nothing. */
  readonly resetMethods: readonly string[];
  /** Number of its IOMMU group: devices of one group can only cross together. */
  readonly iommuGroup: string | null;
  /** The other devices of that group. */
  readonly iommuPeers: readonly string[];
  readonly viable: ViabilityByGap;
}

export interface DeviceDescriber {
  /**
   * @param sysfsPath `/sys/devices/…`, or a link to it such as `/sys/bus/pci/devices/0000:00:04.0`
   * @throws LuoError HANDLE_UNKNOWN no such device; PROTO_INVALID a path outside of /sys, or of no device
   */
  describe(sysfsPath: string): DeviceDescription;
}

/** What was done to a device that nobody claimed. */
export interface DeviceReset {
  /** The kernel's name of the method: `flr`, `pm`, `bus`, …; `none`: it has none, so that its registers stay as they are. */
  readonly method: string;
  /** Of a PCI device: it could do DMA, and cannot any more. */
  readonly busMasterOff: boolean;
}

/** What luod does at finish to a device of the last kernel that nobody claimed. */
export interface DeviceResetter {
  /**
   * Stop its DMA and reset it. A device that the kernel drives, or that others hang on, is not touched.
   * @param sysfsPath as in {@link DeviceDescriber}
   * @throws LuoError HANDLE_UNKNOWN, PROTO_INVALID; HANDLE_BUSY a driver of the kernel has it, or devices are behind it; SYS every
   *   method failed (`errno` of the last, `data.tried`); CALL_TIMEOUT it goes on, and nobody waits any more
   */
  reset(sysfsPath: string): Promise<DeviceReset>;
}

export interface GlobalDescription {
  readonly name: string;
  /** The calls in which its participant saves it and brings it back: nobody else can. */
  readonly hooks: readonly Call[];
  readonly viable: ViabilityByGap;
}

export interface GlobalDescriber {
  /** @throws LuoError PROTO_INVALID the name is no name of a global handle */
  describe(name: string): GlobalDescription;
}

/** The three of them, as luod gets them. */
export interface Describers {
  readonly fd: FdDescriber;
  readonly device: DeviceDescriber;
  readonly global: GlobalDescriber;
}
