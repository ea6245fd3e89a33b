/**
 * kexec_file_load(2), kexec_load(2) and reboot(2). The image is recorded, not looked at: nothing of it will run. What a real
 * kernel would check of it is the business of the machine that it is meant for.
 *
 * Happy path: an image is loaded; reboot(LINUX_REBOOT_CMD_KEXEC) freezes and serialises, and never returns.
 * Unhappy path: no image is EINVAL; a file that refuses to freeze is its errno, and everything stays as it was.
 * Difference: there is no check of CAP_SYS_BOOT, so that tests need not be root.
 * @source kernel/kexec_file.c, kernel/kexec.c, kernel/kexec_core.c, kernel/reboot.c (Linux 7.3)
 */
import { COMMAND_LINE_BYTES_MAX, KEXEC_FILE, REBOOT } from '../../abi/kexec.js';
import { O } from '../../abi/linux.js';
import { fstat, getStatusFlags } from '../../sys/index.js';
import { DONE, NONE, errno, type Answer, type Call } from './call.js';
import type { RebootKind } from './image.js';
import type { Machine } from './machine.js';

/** UNLOAD, ON_CRASH, NO_INITRAMFS, DEBUG, NO_CMA, FORCE_DTB. @source include/uapi/linux/kexec.h */
const KEXEC_FILE_FLAGS = 0x3fn;
const KEXEC_FLAGS = 0xfn;
const KEXEC_ON_CRASH = 1n;
const KEXEC_ARCH_MASK = 0xffff0000n;
const KEXEC_ARCHS: Readonly<Record<string, bigint>> = { x64: 62n << 16n, arm64: 183n << 16n };
const KEXEC_SEGMENTS_MAX = 16n;
const MAGIC2 = [REBOOT.MAGIC2, 85072278, 369367448, 537993216];
const COMMAND = { CAD_ON: 0x89abcdef, CAD_OFF: 0, HALT: 0xcdef0123, RESTART2: 0xa1b2c3d4 } as const;
const TYPE_MASK = 0o170000;
const TYPE_REGULAR = 0o100000;

export function answerKexecFileLoad(machine: Machine, call: Call): Answer {
  const flags = call.long(4);
  if ((flags & ~KEXEC_FILE_FLAGS) !== 0n) return errno('EINVAL');
  const onCrash = (flags & BigInt(KEXEC_FILE.ON_CRASH)) !== 0n;
  if ((flags & BigInt(KEXEC_FILE.UNLOAD)) !== 0n) {
    if (!onCrash) machine.image = null;
    call.details.detail = 'unload';
    return DONE;
  }
  const kernel = fileErrno(call, call.int(0));
  if (kernel !== null) return errno(kernel);
  const initrd = (flags & BigInt(KEXEC_FILE.NO_INITRAMFS)) !== 0n ? null : fileErrno(call, call.int(1));
  if (initrd !== null) return errno(initrd);
  const commandLine = commandLineOf(call);
  if (typeof commandLine !== 'string') return commandLine;
  // Memory is set aside for a crash kernel by the boot loader's word, which nobody has given.
  if (onCrash) return errno('EADDRNOTAVAIL');
  call.details.detail = `command line ${JSON.stringify(commandLine)}`;
  const fault = call.isValid ? machine.fault(call, 'load') : NONE;
  if (fault !== undefined) return fault;
  machine.image = { carries: true, commandLine };
  return DONE;
}

/** What reading a whole file from an fd of the caller's would fail with. @source fs/kernel_read_file.c */
function fileErrno(call: Call, fd: number): string | null {
  using file = call.target.take(fd);
  if (file === null) return 'EBADF';
  const flags = getStatusFlags(file.fd);
  if ((flags & O.PATH) !== 0 || (flags & O.ACCMODE) === O.WRONLY) return 'EBADF';
  const stat = fstat(file.fd);
  return (stat.mode & TYPE_MASK) !== TYPE_REGULAR || stat.sizeBytes === 0 ? 'EINVAL' : null;
}

function commandLineOf(call: Call): string | Answer {
  const sizeBytes = call.long(2);
  if (sizeBytes === 0n) return '';
  // Of a longer one the kernel's own loader for this architecture says EINVAL, after it has read it.
  const wanted = Number(sizeBytes < 4096n ? sizeBytes : 4096n);
  const bytes = call.target.peek(call.long(3), wanted);
  if (bytes.length < wanted) return errno('EFAULT');
  if (sizeBytes > BigInt(COMMAND_LINE_BYTES_MAX) || bytes[wanted - 1] !== 0) return errno('EINVAL');
  return bytes.toString('utf8', 0, wanted - 1);
}

export function answerKexecLoad(machine: Machine, call: Call): Answer {
  const [segments, flags] = [call.long(1), call.long(3)];
  const arch = flags & KEXEC_ARCH_MASK;
  if ((flags & ~KEXEC_ARCH_MASK & ~KEXEC_FLAGS) !== 0n || segments > KEXEC_SEGMENTS_MAX) return errno('EINVAL');
  if (arch !== 0n && arch !== KEXEC_ARCHS[process.arch]) return errno('EINVAL');
  if ((flags & KEXEC_ON_CRASH) !== 0n) return segments === 0n ? DONE : errno('EADDRNOTAVAIL');
  if (segments === 0n) {
    machine.image = null;
    call.details.detail = 'unload';
    return DONE;
  }
  machine.image = { carries: false, commandLine: null };
  machine.options.note(
    'kexec_load(2): the next kernel will find no handover data, and everything preserved is lost',
    call,
  );
  return DONE;
}

export function answerReboot(machine: Machine, call: Call): Answer {
  const command = call.word(2);
  if (call.word(0) !== REBOOT.MAGIC1 || !MAGIC2.includes(call.word(1))) return errno('EINVAL');
  call.details.detail = commandName(command);
  switch (command) {
    case COMMAND.CAD_ON:
    case COMMAND.CAD_OFF:
      return DONE;
    case REBOOT.KEXEC: {
      const failure = jump(machine);
      if (failure !== null) return errno(failure);
      return leave(machine, call, machine.image!.carries ? 'kexec' : 'restart');
    }
    case REBOOT.RESTART:
    case COMMAND.RESTART2:
      return leave(machine, call, 'restart');
    case COMMAND.HALT:
    case REBOOT.POWER_OFF:
      return leave(machine, call, 'powerOff');
    default:
      return errno('EINVAL');
  }
}

function leave(machine: Machine, call: Call, kind: RebootKind): Answer {
  machine.options.reboot(kind, call);
  return NONE;
}

function commandName(command: number): string {
  const all = { ...REBOOT, ...COMMAND };
  const name = Object.entries(all).find(([key, number]) => number === command && !key.startsWith('MAGIC'))?.[0];
  return name ?? `0x${command.toString(16)}`;
}

/** Freeze and serialise for the jump into the loaded image. @returns null, or why it cannot be, and nothing has changed */
export function jump(machine: Machine): string | null {
  if (machine.image === null) return 'EINVAL';
  const result = machine.sessions.jump((session, file) =>
    machine.faultErrno('freeze', { session: session.name, token: file.token }),
  );
  return result.ok ? null : result.errno;
}
