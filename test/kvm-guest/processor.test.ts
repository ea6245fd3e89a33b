// Goal: a processor's state is given to another one complete and in the right order, or not at all.
// Method: a virtual processor that only writes down what it is told; numbers and offsets are compared with what a C
// compiler makes of linux/kvm.h and asm/kvm.h.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import * as kvm from '../../examples/kvm-guest/kvm.js';
import type { Vcpu, VcpuStruct } from '../../examples/kvm-guest/kvm.js';
import {
  bootProcessor,
  bootRegs,
  bootSregs,
  restoreProcessor,
  saveProcessor,
  structBytes,
} from '../../examples/kvm-guest/processor.js';

/** Remembers what it is given; a new one is full of zeros. */
class FakeVcpu {
  readonly calls: string[] = [];
  readonly structs = new Map<string, Buffer>();
  readonly msrs = new Map<number, bigint>();
  readonly missing: ReadonlySet<number>;
  cpuid = Buffer.alloc(0);

  constructor(missing: readonly number[] = []) {
    this.missing = new Set(missing);
  }

  get(which: VcpuStruct): Buffer {
    return this.structs.get(which.name) ?? Buffer.alloc(which.sizeBytes);
  }
  set(which: VcpuStruct, bytes: Uint8Array): void {
    assert.equal(bytes.length, which.sizeBytes);
    this.calls.push(which.name);
    this.structs.set(which.name, Buffer.from(bytes));
  }
  setCpuid(cpuid: Uint8Array): void {
    this.calls.push('cpuid');
    this.cpuid = Buffer.from(cpuid);
  }
  getMsr(index: number): bigint | undefined {
    return this.missing.has(index) ? undefined : (this.msrs.get(index) ?? 0n);
  }
  setMsr(index: number, value: bigint): void {
    if (this.missing.has(index)) throw new Error('no such register');
    if (this.calls.at(-1) !== 'msrs') this.calls.push('msrs');
    this.msrs.set(index, value);
  }
}
const asVcpu = (fake: FakeVcpu): Vcpu => fake as unknown as Vcpu;

const STRUCTS = [kvm.SREGS, kvm.XCRS, kvm.XSAVE, kvm.REGS, kvm.DEBUGREGS, kvm.MP_STATE, kvm.VCPU_EVENTS];

function used(): FakeVcpu {
  const vcpu = new FakeVcpu();
  STRUCTS.forEach((which, index) => vcpu.set(which, Buffer.alloc(which.sizeBytes, index + 1)));
  vcpu.msrs.set(0x10, 0xffff_ffff_ffff_fff1n);
  vcpu.msrs.set(0xc0000102, 0x1234n);
  return vcpu;
}

test('every register comes back, through JSON', () => {
  const from = used();
  const saved = saveProcessor(asVcpu(from), Buffer.from('cpuid'));
  const to = new FakeVcpu();
  const cpuid = restoreProcessor(asVcpu(to), JSON.parse(JSON.stringify(saved)) as typeof saved);
  assert.deepEqual(cpuid, Buffer.from('cpuid'));
  assert.deepEqual(to.cpuid, cpuid);
  assert.deepEqual([...to.structs].sort(), [...from.structs].sort());
  for (const [index, value] of from.msrs) assert.equal(to.msrs.get(index), value);
});

test('what the processor can do is set first, and what is about to happen to it last', () => {
  const to = new FakeVcpu();
  restoreProcessor(asVcpu(to), saveProcessor(asVcpu(used()), Buffer.alloc(8)));
  assert.deepEqual(to.calls, [
    'cpuid',
    'kvm_sregs',
    'kvm_xcrs',
    'kvm_xsave',
    'kvm_regs',
    'kvm_debugregs',
    'kvm_mp_state',
    'msrs',
    'kvm_vcpu_events',
  ]);
});

test('a struct that is missing or of another size is refused before anything is set', () => {
  const saved = saveProcessor(asVcpu(used()), Buffer.alloc(8));
  const without = Object.fromEntries(Object.entries(saved.structs).filter(([name]) => name !== 'kvm_vcpu_events'));
  for (const structs of [
    without,
    { ...saved.structs, kvm_regs: Buffer.alloc(0x88).toString('base64') },
    { ...saved.structs, kvm_xsave: '' },
  ]) {
    const to = new FakeVcpu();
    assert.throws(() => restoreProcessor(asVcpu(to), { ...saved, structs }), /the saved processor has/);
    assert.deepEqual(to.calls, []);
  }
});

test('a register that the first processor has not is not saved; one that the second has not is an error', () => {
  const saved = saveProcessor(asVcpu(new FakeVcpu([0xc0000103])), Buffer.alloc(8));
  assert.ok(!saved.msrs.some(([index]) => index === 0xc0000103));
  assert.ok(saved.msrs.some(([index]) => index === 0x10));
  assert.throws(() => restoreProcessor(asVcpu(new FakeVcpu([0x277])), saved), /no such register/);
});

test('a processor that is booted is in 64-bit mode with interrupts off', () => {
  const vcpu = new FakeVcpu();
  bootProcessor(asVcpu(vcpu), Buffer.from('cpuid'));
  assert.deepEqual(vcpu.calls, ['cpuid', 'kvm_sregs', 'kvm_regs']);
  const sregs = vcpu.get(kvm.SREGS);
  const [cr0, cr4, efer] = [0xe0, 0xf8, 0x108].map((at) => sregs.readBigUInt64LE(at)) as [bigint, bigint, bigint];
  assert.equal(cr0 & 0x80000001n, 0x80000001n);
  assert.equal(cr4 & 0x220n, 0x220n);
  assert.equal(efer & 0x500n, 0x500n);
  // cs: code, long, not 32 bit.
  assert.deepEqual([sregs[14], sregs[17], sregs[19]], [0x0b, 0, 1]);
  // rflags: bit 1 and no other.
  assert.equal(bootRegs().readBigUInt64LE(0x88), 2n);
});

test('booting leaves what it does not know as the kernel had it', () => {
  const reset = Buffer.alloc(kvm.SREGS.sizeBytes, 0xa5);
  const sregs = bootSregs(reset);
  // tr, ldt; cr2; cr8; the address of the interrupt controller and the pending interrupts.
  for (const [from, to] of [
    [0x90, 0xc0],
    [0xe8, 0xf0],
    [0x100, 0x108],
    [0x110, 0x138],
  ] as const)
    assert.deepEqual(sregs.subarray(from, to), reset.subarray(from, to));
});

test('the size of a struct is checked, not believed', () => {
  const saved = { cpuid: '', msrs: [], structs: { kvm_mp_state: 'AAAAAA==' } };
  assert.equal(structBytes(saved, kvm.MP_STATE).length, 4);
  assert.throws(() => structBytes(saved, kvm.REGS), /no kvm_regs/);
});

test('requests and sizes are those of the kernel’s headers', () => {
  const { KVM } = kvm;
  assert.deepEqual(
    Object.values(KVM),
    [0xae00, 0xae01, 0xae04, 0xc008ae05, 0xae41, 0x4020ae46, 0xae80, 0x4004ae86, 0xc008ae88, 0x4008ae89, 0x4008ae90],
  );
  assert.deepEqual(
    STRUCTS.map(({ name, get, set, sizeBytes }) => [name, get, set, sizeBytes]),
    [
      ['kvm_sregs', 0x8138ae83, 0x4138ae84, 312],
      ['kvm_xcrs', 0x8188aea6, 0x4188aea7, 392],
      ['kvm_xsave', 0x9000aea4, 0x5000aea5, 4096],
      ['kvm_regs', 0x8090ae81, 0x4090ae82, 144],
      ['kvm_debugregs', 0x8080aea1, 0x4080aea2, 128],
      ['kvm_mp_state', 0x8004ae98, 0x4004ae99, 4],
      ['kvm_vcpu_events', 0x8040ae9f, 0x4040aea0, 64],
    ],
  );
});

test('without KVM the device says so, by its errno', () => {
  assert.throws(() => new kvm.Kvm('/nonexistent/kvm'), { code: 'ENOENT' });
  assert.throws(() => new kvm.Kvm('/dev/null'), { name: 'KvmError', errno: 25 });
});
