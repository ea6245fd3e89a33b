/**
 * Loading a kernel and leaving this one.
 * @source include/uapi/linux/kexec.h, include/uapi/linux/reboot.h, arch tables of system calls
 */

/** Flags of kexec_file_load(2). */
export const KEXEC_FILE = { UNLOAD: 1, ON_CRASH: 2, NO_INITRAMFS: 4 } as const;

/** Commands of reboot(2), and the two numbers that it wants to see before it believes. */
export const REBOOT = {
  MAGIC1: 0xfee1dead,
  MAGIC2: 672274793,
  RESTART: 0x01234567,
  POWER_OFF: 0x4321fedc,
  KEXEC: 0x45584543,
} as const;

/** Numbers of system calls that the C library has no function for, by `process.arch`. */
export const KEXEC_SYSCALLS: Readonly<Record<string, { kexecFileLoad: number; reboot: number }>> = {
  x64: { kexecFileLoad: 320, reboot: 169 },
  arm64: { kexecFileLoad: 294, reboot: 142 },
};

/** Bytes of a command line on x86, its closing zero included. @source arch/x86/include/asm/setup.h */
export const COMMAND_LINE_BYTES_MAX = 2048;
