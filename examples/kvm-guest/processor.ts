/**
 * The state of a virtual processor: how it is when a guest is booted, and all of it as JSON, from one virtual processor into
 * another one, of another process or under another kernel.
 *
 * The fd of a virtual machine and of its processors cannot travel: it belongs to the process that made it, and the kernel's live
 * update cannot preserve it. So the machine is built anew and its processor gets the old one's state: what it can do
 * (CPUID) first, as the rest is checked against it, and what is about to happen to it (events) last.
 */
import { DEBUGREGS, MP_STATE, REGS, SREGS, VCPU_EVENTS, XCRS, XSAVE, type Vcpu, type VcpuStruct } from './kvm.js';
import {
  CODE_SELECTOR,
  DATA_SELECTOR,
  GDT_AT,
  GDT_BYTES,
  IDT_AT,
  IDT_BYTES,
  PAGE_TABLES_AT,
  PROGRAM_AT,
  STACK_TOP,
} from './guest-memory.js';

/**
 * In the order in which they are set. The floating-point unit travels as kvm_xsave, not as kvm_fpu: KVM_SET_FPU does not say that
 * its registers are in use, so that a new processor begins with xmm registers of zero.
 */
const STRUCTS: readonly VcpuStruct[] = [SREGS, XCRS, XSAVE, REGS, DEBUGREGS, MP_STATE];

/**
 * Model-specific registers that a 64-bit guest sets, and the clock that it sees. arch/x86/include/asm/msr-index.h: TSC,
 * SYSENTER_CS, SYSENTER_ESP, SYSENTER_EIP, MISC_ENABLE, CR_PAT, STAR, LSTAR, CSTAR, SYSCALL_MASK, KERNEL_GS_BASE, TSC_AUX.
 */
const MSRS = [
  0x10, 0x174, 0x175, 0x176, 0x1a0, 0x277, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103,
];

/** JSON: the name of each struct with its bytes in base64. */
export type SavedProcessor = {
  readonly cpuid: string;
  readonly structs: Readonly<Record<string, string>>;
  /** Index, value in hex. */
  readonly msrs: readonly (readonly [number, string])[];
};

/** Only after {@link Vcpu.settle}. */
export function saveProcessor(vcpu: Vcpu, cpuid: Uint8Array): SavedProcessor {
  return {
    cpuid: Buffer.from(cpuid).toString('base64'),
    structs: Object.fromEntries(
      [...STRUCTS, VCPU_EVENTS].map((each) => [each.name, vcpu.get(each).toString('base64')]),
    ),
    msrs: MSRS.flatMap((index) => {
      const value = vcpu.getMsr(index);
      return value === undefined ? [] : [[index, value.toString(16)] as const];
    }),
  };
}

/**
 * Give a new virtual processor the state of another. @returns its CPUID
 * @throws Error a part is missing or of a wrong size; KvmError, Error: this kernel does not take it
 */
export function restoreProcessor(vcpu: Vcpu, saved: SavedProcessor): Buffer {
  const parts = [...STRUCTS, VCPU_EVENTS].map((which) => [which, structBytes(saved, which)] as const);
  const cpuid = Buffer.from(saved.cpuid, 'base64');
  vcpu.setCpuid(cpuid);
  for (const [which, bytes] of parts.slice(0, -1)) vcpu.set(which, bytes);
  for (const [index, value] of saved.msrs) vcpu.setMsr(index, BigInt(`0x${value}`));
  const [events, bytes] = parts.at(-1)!;
  vcpu.set(events, bytes);
  return cpuid;
}

/** @throws Error it is missing, or not of this size */
export function structBytes(saved: SavedProcessor, which: VcpuStruct): Buffer {
  const text = saved.structs[which.name];
  const bytes = text === undefined ? undefined : Buffer.from(text, 'base64');
  if (bytes?.length === which.sizeBytes) return bytes;
  throw new Error(
    `the saved processor has ${bytes === undefined ? 'no' : `${bytes.length} bytes of`} ${which.name}, not ${which.sizeBytes} bytes`,
  );
}

/** 64-bit mode from the first instruction on, with the tables that are in the memory. */
export function bootProcessor(vcpu: Vcpu, cpuid: Uint8Array): void {
  vcpu.setCpuid(cpuid);
  vcpu.set(SREGS, bootSregs(vcpu.get(SREGS)));
  vcpu.set(REGS, bootRegs());
}

const CR0 = 0x80010033n; // PG, WP, NE, ET, MP, PE
const CR4 = 0x620n; // OSXMMEXCPT, OSFXSR, PAE
const EFER = 0x500n; // LMA, LME
const CODE_TYPE = 0x0b;
const DATA_TYPE = 0x03;

/** struct kvm_sregs: eight segments of 24 bytes (cs, ds, es, fs, gs, ss, tr, ldt), gdt, idt, cr0, cr2, cr3, cr4, cr8, efer. */
export function bootSregs(atReset: Buffer): Buffer {
  const sregs = Buffer.from(atReset);
  ['cs', 'ds', 'es', 'fs', 'gs', 'ss'].forEach((name, index) => {
    const at = index * 24;
    const isCode = name === 'cs';
    sregs.fill(0, at, at + 24);
    sregs.writeUInt32LE(0xffffffff, at + 8);
    sregs.writeUInt16LE(isCode ? CODE_SELECTOR : DATA_SELECTOR, at + 12);
    // type, present, dpl, db, s, l, g
    sregs.set([isCode ? CODE_TYPE : DATA_TYPE, 1, 0, isCode ? 0 : 1, 1, isCode ? 1 : 0, 1], at + 14);
  });
  sregs.writeBigUInt64LE(BigInt(GDT_AT), 0xc0);
  sregs.writeUInt16LE(GDT_BYTES - 1, 0xc8);
  sregs.writeBigUInt64LE(BigInt(IDT_AT), 0xd0);
  sregs.writeUInt16LE(IDT_BYTES - 1, 0xd8);
  sregs.writeBigUInt64LE(CR0, 0xe0);
  sregs.writeBigUInt64LE(BigInt(PAGE_TABLES_AT), 0xf0);
  sregs.writeBigUInt64LE(CR4, 0xf8);
  sregs.writeBigUInt64LE(EFER, 0x108);
  return sregs;
}

/** struct kvm_regs: rsp is the seventh, rip and rflags the last two. */
export function bootRegs(): Buffer {
  const regs = Buffer.alloc(REGS.sizeBytes);
  regs.writeBigUInt64LE(BigInt(STACK_TOP), 6 * 8);
  regs.writeBigUInt64LE(BigInt(PROGRAM_AT), 16 * 8);
  regs.writeBigUInt64LE(2n, 17 * 8); // a bit that is always set
  return regs;
}
