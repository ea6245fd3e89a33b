/**
 * Which calls of the programs stop at the emulator, as a filter for seccomp. Everything else runs at native speed: what is
 * allowed whatever its arguments are does not even run the filter, since the kernel keeps a table of such calls.
 *
 * By default: opens for reading and writing (which is how every client opens the device), but for those that make a fresh file
 * or look at folders; openat2 and creat; ioctls of the device's type; changes of a file's size, which preserved memory forbids;
 * loading and starting a kernel; io_uring_setup, since opens through it would pass by. `strict` traps every open, stat, access,
 * readlink and ioctl as well, so that the path itself looks like a device.
 *
 * Programs of the machine's 32-bit architecture, and of x32, stop at the same calls by their own numbers.
 * PURE. @source kernel/seccomp.c (seccomp_cache_prepare), F.2 of the ABI: all ioctls are _IO(0xBA, nr)
 */
import { BpfProgram, type BpfInstruction } from '../../abi/bpf.js';
import { O, O_DIRECTORY } from '../../abi/linux.js';
import {
  ARCHS_OF_MACHINE,
  AUDIT_ARCH,
  CALLS_BY_ARCH,
  SECCOMP_DATA,
  SECCOMP_RET,
  X32_IOCTL,
  X32_SYSCALL_BIT,
  lowWordOfArgument,
  type CallNumbers,
  type WatchedCall,
} from '../../abi/seccomp.js';

export interface FilterOptions {
  readonly strict: boolean;
  /** As process.arch. */
  readonly machine: string;
}

/** Type of the device's ioctls. */
const IOCTL_TYPE = 0xba;

/** When a call stops: always, or by one argument. */
type Rule = 'always' | 'open' | 'openat' | 'ioctl';

const DEFAULT_RULES: Readonly<Partial<Record<WatchedCall, Rule>>> = {
  openat: 'openat',
  ioctl: 'ioctl',
  open: 'open',
  openat2: 'always',
  creat: 'always',
  ftruncate: 'always',
  ftruncate64: 'always',
  truncate: 'always',
  truncate64: 'always',
  fallocate: 'always',
  kexec_load: 'always',
  kexec_file_load: 'always',
  // Every one of them: a restart that a program asks for is its emulated machine's, and must not be this one's.
  reboot: 'always',
  io_uring_setup: 'always',
};
const STRICT_RULES: typeof DEFAULT_RULES = {
  ...DEFAULT_RULES,
  open: 'always',
  openat: 'always',
  ioctl: 'always',
  stat: 'always',
  lstat: 'always',
  fstat: 'always',
  newfstatat: 'always',
  stat64: 'always',
  lstat64: 'always',
  fstat64: 'always',
  fstatat64: 'always',
  statx: 'always',
  access: 'always',
  faccessat: 'always',
  faccessat2: 'always',
  readlink: 'always',
  readlinkat: 'always',
};

/** True if this machine's programs can be filtered: its numbers are known. */
export function knowsMachine(machine: string): boolean {
  return ARCHS_OF_MACHINE[machine] !== undefined;
}

/** The filter. @throws RangeError a machine that this table does not know */
export function launchFilter({ strict, machine }: FilterOptions): BpfInstruction[] {
  const archs = ARCHS_OF_MACHINE[machine];
  if (archs === undefined) throw new RangeError(`programs of '${machine}' are not known: x64 and arm64 are`);
  const rules = strict ? STRICT_RULES : DEFAULT_RULES;
  const native = CALLS_BY_ARCH.get(archs.native)!;
  const program = new BpfProgram()
    .loadWord(SECCOMP_DATA.arch)
    .ifEqual(archs.native, 'native')
    .ifEqual(archs.other, 'other', 'trap-stranger');
  program.label('trap-stranger').return(SECCOMP_RET.USER_NOTIF);
  program.label('native').loadWord(SECCOMP_DATA.nr);
  if (archs.native === AUDIT_ARCH.X86_64) program.ifAtLeast(X32_SYSCALL_BIT, 'x32');
  addCalls(program, 'native', native, rules, machine);
  if (archs.native === AUDIT_ARCH.X86_64) {
    program.label('x32').and(~X32_SYSCALL_BIT >>> 0);
    addCalls(program, 'x32', { ...native, ioctl: X32_IOCTL }, rules, machine);
  }
  program.label('other').loadWord(SECCOMP_DATA.nr);
  addCalls(program, 'other', CALLS_BY_ARCH.get(archs.other)!, rules, machine);
  return program.assemble();
}

/** Goes on with A = the number of the call; returns on every way. */
function addCalls(
  program: BpfProgram,
  prefix: string,
  numbers: CallNumbers,
  rules: typeof DEFAULT_RULES,
  machine: string,
): void {
  const used = new Set<Rule>();
  for (const [name, rule] of Object.entries(rules) as [WatchedCall, Rule][]) {
    const nr = numbers[name];
    if (nr === undefined) continue;
    used.add(rule);
    program.ifEqual(nr, `${prefix}-${rule}`);
  }
  program.label(`${prefix}-allow`).return(SECCOMP_RET.ALLOW);
  if (used.has('ioctl')) {
    program.label(`${prefix}-ioctl`).loadWord(lowWordOfArgument(1)).shiftRight(8).and(0xff);
    trapIfEqual(program, prefix, 'ioctl', IOCTL_TYPE);
  }
  for (const [rule, argument] of [
    ['open', 1],
    ['openat', 2],
  ] as const) {
    if (!used.has(rule)) continue;
    program.label(`${prefix}-${rule}`).loadWord(lowWordOfArgument(argument));
    addOpenTest(program, `${prefix}-${rule}`, machine);
  }
  program.label(`${prefix}-always`).return(SECCOMP_RET.USER_NOTIF);
}

function trapIfEqual(program: BpfProgram, prefix: string, rule: Rule, value: number): void {
  const no = `${prefix}-${rule}-no`;
  program.ifEqual(value, undefined, no).return(SECCOMP_RET.USER_NOTIF).label(no).return(SECCOMP_RET.ALLOW);
}

/** A = the flags: O_RDWR stops, unless it looks at a folder (or makes a nameless file in one), or makes a fresh file. */
function addOpenTest(program: BpfProgram, name: string, machine: string): void {
  const no = `${name}-no`;
  const yes = `${name}-yes`;
  program
    .ifAnyBit(O.RDONLY | O.WRONLY | O_DIRECTORY[machine]!, no)
    .ifAnyBit(O.RDWR, undefined, no)
    .ifAnyBit(O.CREAT, undefined, yes)
    .ifAnyBit(O.TRUNC, no)
    .label(yes)
    .return(SECCOMP_RET.USER_NOTIF)
    .label(no)
    .return(SECCOMP_RET.ALLOW);
}
