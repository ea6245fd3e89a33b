/**
 * /dev/kvm from TypeScript: one virtual machine, one virtual processor, no interrupt controller in the kernel. Each call is one
 * ioctl; there is no policy here. A failed call throws a KvmError with its errno, which is read at once.
 *
 * KVM_RUN blocks the event loop for as long as the guest runs; who calls it makes sure that a signal comes (SliceTimer),
 * which ends it with `interrupted`. Everything is closed with the process.
 *
 * @source include/uapi/linux/kvm.h, arch/x86/include/uapi/asm/kvm.h, Documentation/virt/kvm/api.rst (Linux 7.3)
 */
import { closeSync, openSync } from 'node:fs';
import koffi from 'koffi';
import { ioctlBuffer, ioctlNumber } from '../ioctl.js';

const NONE = 0;
const WRITE = 1;
const READ = 2;
/** _IOC(direction, 0xae, number, size) of include/uapi/asm-generic/ioctl.h. */
const kvmio = (direction: number, number: number, sizeBytes: number): number =>
  (((direction << 30) | (sizeBytes << 16) | (0xae << 8) | number) >>> 0) as number;

/** A struct that is read from a virtual processor and written to one, as it is. */
export interface VcpuStruct {
  readonly name: string;
  readonly sizeBytes: number;
  readonly get: number;
  readonly set: number;
}
const struct = (name: string, get: number, set: number, sizeBytes: number): VcpuStruct => ({
  name,
  sizeBytes,
  get: kvmio(READ, get, sizeBytes),
  set: kvmio(WRITE, set, sizeBytes),
});

export const KVM = {
  GET_API_VERSION: kvmio(NONE, 0x00, 0),
  CREATE_VM: kvmio(NONE, 0x01, 0),
  GET_VCPU_MMAP_SIZE: kvmio(NONE, 0x04, 0),
  GET_SUPPORTED_CPUID: kvmio(READ | WRITE, 0x05, 8),
  CREATE_VCPU: kvmio(NONE, 0x41, 0),
  SET_USER_MEMORY_REGION: kvmio(WRITE, 0x46, 32),
  RUN: kvmio(NONE, 0x80, 0),
  INTERRUPT: kvmio(WRITE, 0x86, 4),
  GET_MSRS: kvmio(READ | WRITE, 0x88, 8),
  SET_MSRS: kvmio(WRITE, 0x89, 8),
  SET_CPUID2: kvmio(WRITE, 0x90, 8),
} as const;

export const REGS = struct('kvm_regs', 0x81, 0x82, 0x90);
export const SREGS = struct('kvm_sregs', 0x83, 0x84, 0x138);
export const MP_STATE = struct('kvm_mp_state', 0x98, 0x99, 4);
export const VCPU_EVENTS = struct('kvm_vcpu_events', 0x9f, 0xa0, 0x40);
export const DEBUGREGS = struct('kvm_debugregs', 0xa1, 0xa2, 0x80);
export const XSAVE = struct('kvm_xsave', 0xa4, 0xa5, 0x1000);
export const XCRS = struct('kvm_xcrs', 0xa6, 0xa7, 0x188);

/** KVM_GET_API_VERSION: it has been this since Linux 2.6.22, and is for ever. */
const API_VERSION = 12;
const CPUID_HEAD_BYTES = 8;
const CPUID_ENTRY_BYTES = 40;
const CPUID_ENTRIES_MAX = 256;

/** struct kvm_run: where its fields are. */
const RUN_IMMEDIATE_EXIT = 1;
const RUN_REQUEST_WINDOW = 0;
const RUN_EXIT_REASON = 8;
const RUN_READY = 12;
const RUN_DETAIL = 32;
const RUN_IO_OFFSET = 40;
const EXIT = { IO: 2, HLT: 5, WINDOW: 7, INTR: 10 } as const;
const EXIT_NAMES: Readonly<Record<number, string>> = {
  0: 'UNKNOWN',
  1: 'EXCEPTION',
  6: 'MMIO: the guest touched an address where there is no memory',
  8: 'SHUTDOWN: the guest made a triple fault',
  9: 'FAIL_ENTRY: the processor refused its state',
  17: 'INTERNAL_ERROR',
  24: 'SYSTEM_EVENT',
};
const IO_OUT = 1;
const EINTR = 4;
const EAGAIN = 11;

const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const ITIMER_REAL = 0;

const libc = koffi.load(null);
const mmap = libc.func('mmap', 'intptr', ['uintptr_t', 'size_t', 'int', 'int', 'int', 'int64']) as unknown as (
  address: bigint,
  size: number,
  protection: number,
  flags: number,
  fd: number,
  offset: number,
) => number | bigint;
const setitimer = libc.func('setitimer', 'int', ['int', 'void *', 'void *']) as unknown as (
  which: number,
  value: Uint8Array,
  old: null,
) => number;

export class KvmError extends Error {
  readonly call: string;
  readonly errno: number;

  constructor(call: string, errno: number) {
    super(`${call} failed with errno ${errno}`);
    this.name = 'KvmError';
    this.call = call;
    this.errno = errno;
  }
}

function check(result: number, call: string): number {
  if (result >= 0) return result;
  throw new KvmError(call, koffi.errno());
}

/** The device. @throws Error ENOENT, EACCES: no KVM here, or not for this user; KvmError */
export class Kvm {
  readonly #fd: number;

  constructor(path = '/dev/kvm') {
    this.#fd = openSync(path, 'r+');
    const version = check(ioctlNumber(this.#fd, KVM.GET_API_VERSION, 0), 'KVM_GET_API_VERSION');
    if (version !== API_VERSION) throw new Error(`KVM speaks version ${version} of its interface, not ${API_VERSION}`);
  }

  createVm(): KvmVm {
    return new KvmVm(check(ioctlNumber(this.#fd, KVM.CREATE_VM, 0), 'KVM_CREATE_VM'), this.#vcpuMmapBytes());
  }

  /** What processor this host can show to a guest: struct kvm_cpuid2. */
  supportedCpuid(): Buffer {
    const cpuid = Buffer.alloc(CPUID_HEAD_BYTES + CPUID_ENTRIES_MAX * CPUID_ENTRY_BYTES);
    cpuid.writeUInt32LE(CPUID_ENTRIES_MAX);
    check(ioctlBuffer(this.#fd, KVM.GET_SUPPORTED_CPUID, cpuid), 'KVM_GET_SUPPORTED_CPUID');
    return cpuid.subarray(0, CPUID_HEAD_BYTES + cpuid.readUInt32LE() * CPUID_ENTRY_BYTES);
  }

  close(): void {
    closeSync(this.#fd);
  }

  #vcpuMmapBytes(): number {
    return check(ioctlNumber(this.#fd, KVM.GET_VCPU_MMAP_SIZE, 0), 'KVM_GET_VCPU_MMAP_SIZE');
  }
}

export class KvmVm {
  readonly #fd: number;
  readonly #vcpuMmapBytes: number;

  constructor(takenFd: number, vcpuMmapBytes: number) {
    this.#fd = takenFd;
    this.#vcpuMmapBytes = vcpuMmapBytes;
  }

  /**
   * Show `sizeBytes` of this process's memory at `address` to the guest as its memory from 0. The pages are looked up when
   * the guest touches them: what is mapped read-only now and writable then, is writable for the guest.
   */
  setMemory(memory: { readonly address: bigint; readonly sizeBytes: number }): void {
    const region = Buffer.alloc(32);
    region.writeBigUInt64LE(BigInt(memory.sizeBytes), 16);
    region.writeBigUInt64LE(memory.address, 24);
    check(ioctlBuffer(this.#fd, KVM.SET_USER_MEMORY_REGION, region), 'KVM_SET_USER_MEMORY_REGION');
  }

  createVcpu(): Vcpu {
    const fd = check(ioctlNumber(this.#fd, KVM.CREATE_VCPU, 0), 'KVM_CREATE_VCPU');
    return new Vcpu(fd, this.#vcpuMmapBytes);
  }
}

/** Why the guest stopped. `in` waits for {@link Vcpu.answer}. */
export type Exit =
  | { readonly kind: 'out'; readonly port: number; readonly value: number }
  | { readonly kind: 'in'; readonly port: number }
  | { readonly kind: 'halted' | 'window' | 'interrupted' }
  | { readonly kind: 'dead'; readonly why: string };

const HALTED: Exit = { kind: 'halted' };
const WINDOW: Exit = { kind: 'window' };
const INTERRUPTED: Exit = { kind: 'interrupted' };

export class Vcpu {
  readonly #fd: number;
  /** struct kvm_run, shared with the kernel. */
  readonly #run: DataView;

  constructor(takenFd: number, mmapBytes: number) {
    this.#fd = takenFd;
    const address = BigInt(mmap(0n, mmapBytes, PROT_READ_WRITE, MAP_SHARED, takenFd, 0));
    if (address === -1n) throw new KvmError('mmap of kvm_run', koffi.errno());
    this.#run = new DataView(koffi.view(address, mmapBytes));
  }

  /** Run the guest until it wants something, or a signal comes. */
  run(): Exit {
    if (ioctlNumber(this.#fd, KVM.RUN, 0) < 0) {
      const errno = koffi.errno();
      if (errno === EINTR || errno === EAGAIN) return INTERRUPTED;
      throw new KvmError('KVM_RUN', errno);
    }
    const reason = this.#run.getUint32(RUN_EXIT_REASON, true);
    switch (reason) {
      case EXIT.IO: {
        const port = this.#run.getUint16(RUN_DETAIL + 2, true);
        if (this.#run.getUint8(RUN_DETAIL) !== IO_OUT) return { kind: 'in', port };
        return { kind: 'out', port, value: this.#run.getUint32(this.#ioOffset(), true) };
      }
      case EXIT.HLT:
        return HALTED;
      case EXIT.WINDOW:
        return WINDOW;
      case EXIT.INTR:
        return INTERRUPTED;
      default:
        return { kind: 'dead', why: `KVM_EXIT ${EXIT_NAMES[reason] ?? reason} ${this.#detail()}` };
    }
  }

  /** What the guest's `in` reads; it gets it at the next run. */
  answer(value: number): void {
    this.#run.setUint32(this.#ioOffset(), value, true);
  }

  /**
   * Let the instruction that stopped the guest come to its end, and run no other. An `in` or `out` is complete only when
   * KVM_RUN has been entered again; registers that are read before are of the middle of it.
   */
  settle(): void {
    this.#run.setUint8(RUN_IMMEDIATE_EXIT, 1);
    try {
      const { kind } = this.run();
      if (kind !== 'interrupted') throw new Error(`the guest ran on where it should have stopped (${kind})`);
    } finally {
      this.#run.setUint8(RUN_IMMEDIATE_EXIT, 0);
    }
  }

  /** Whether an interrupt can be injected now: as of the end of the last run. */
  get isReady(): boolean {
    return this.#run.getUint8(RUN_READY) !== 0;
  }

  /** Whether a run ends with `window` as soon as an interrupt can be injected. */
  set wantsWindow(wanted: boolean) {
    this.#run.setUint8(RUN_REQUEST_WINDOW, wanted ? 1 : 0);
  }

  /** Inject an interrupt. Only when {@link isReady}: the kernel would do it anyhow, whatever the guest's flags say. */
  interrupt(vector: number): void {
    const argument = Buffer.alloc(4);
    argument.writeUInt32LE(vector);
    check(ioctlBuffer(this.#fd, KVM.INTERRUPT, argument), 'KVM_INTERRUPT');
  }

  get(which: VcpuStruct): Buffer {
    const bytes = Buffer.alloc(which.sizeBytes);
    check(ioctlBuffer(this.#fd, which.get, bytes), `get ${which.name}`);
    return bytes;
  }

  set(which: VcpuStruct, bytes: Uint8Array): void {
    check(ioctlBuffer(this.#fd, which.set, bytes), `set ${which.name}`);
  }

  setCpuid(cpuid: Uint8Array): void {
    check(ioctlBuffer(this.#fd, KVM.SET_CPUID2, cpuid), 'KVM_SET_CPUID2');
  }

  /** @returns undefined: this processor has no such register */
  getMsr(index: number): bigint | undefined {
    const argument = msrs(index, 0n);
    const count = check(ioctlBuffer(this.#fd, KVM.GET_MSRS, argument), 'KVM_GET_MSRS');
    return count === 1 ? argument.readBigUInt64LE(16) : undefined;
  }

  /** @throws Error this processor has no such register, or not with this value */
  setMsr(index: number, value: bigint): void {
    const count = check(ioctlBuffer(this.#fd, KVM.SET_MSRS, msrs(index, value)), 'KVM_SET_MSRS');
    if (count !== 1) throw new Error(`MSR 0x${index.toString(16)} does not take 0x${value.toString(16)} here`);
  }

  #ioOffset(): number {
    return Number(this.#run.getBigUint64(RUN_IO_OFFSET, true));
  }

  #detail(): string {
    return `(detail 0x${this.#run.getBigUint64(RUN_DETAIL, true).toString(16)})`;
  }
}

/** struct kvm_msrs with one entry. */
function msrs(index: number, value: bigint): Buffer {
  const argument = Buffer.alloc(24);
  argument.writeUInt32LE(1);
  argument.writeUInt32LE(index, 8);
  argument.writeBigUInt64LE(value, 16);
  return argument;
}

/**
 * Ends a KVM_RUN that lasts too long, by SIGALRM to this thread. The signal is repeated as long as it is armed: one that comes
 * just before the guest is entered would be lost.
 */
export class SliceTimer {
  readonly #on: Uint8Array;
  readonly #off = Buffer.alloc(32);

  constructor(sliceMs: number) {
    // struct itimerval: interval and first time, each as seconds and microseconds.
    const on = Buffer.alloc(32);
    on.writeBigInt64LE(BigInt(sliceMs) * 1000n, 8);
    on.writeBigInt64LE(BigInt(sliceMs) * 1000n, 24);
    this.#on = on;
    // Without a listener the signal would end the process.
    process.on('SIGALRM', () => undefined);
  }

  arm(): void {
    check(setitimer(ITIMER_REAL, this.#on, null), 'setitimer');
  }

  disarm(): void {
    check(setitimer(ITIMER_REAL, this.#off, null), 'setitimer');
  }
}
