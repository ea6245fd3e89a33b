/**
 * The machine of the kexec gap: the image that will be started, and the jump. Where /proc, /sys and /dev are can be changed for
 * tests. What an errno of these calls means is said in words: an operator reads it in the night.
 *
 * @source kexec_file_load(2), reboot(2), Documentation/admin-guide/kernel-parameters.txt
 */
import { openSync, closeSync } from 'node:fs';
import { release as kernelRelease } from 'node:os';
import { join } from 'node:path';
import { LuoError } from '../../base/errors.js';
import type { ImageRequest, KexecMachine, LoadedImage, PreflightInput, PreflightReport } from '../../ports/index.js';
import { SysError, kexecFileLoad, kexecUnload, rebootKexec, sync } from '../../sys/index.js';
import { chargeProblem } from './control-groups.js';
import { commandLine } from './image/command-line.js';
import { releaseOf } from './image/setup-header.js';
import { preflight } from './preflight/preflight.js';
import { readText } from './read-text.js';

export interface MachineOptions {
  readonly procRoot?: string;
  readonly sysRoot?: string;
  readonly devRoot?: string;
}

export function createKexecMachine(options: MachineOptions = {}): KexecMachine {
  return new Machine(options);
}

class Machine implements KexecMachine {
  readonly bootId: string;
  readonly release = kernelRelease();
  readonly systemd: boolean;
  readonly #proc: string;
  readonly #sys: string;
  readonly #dev: string;

  constructor({ procRoot = '/proc', sysRoot = '/sys', devRoot = '/dev' }: MachineOptions) {
    this.#proc = procRoot;
    this.#sys = sysRoot;
    this.#dev = devRoot;
    this.bootId = readText(join(procRoot, 'sys/kernel/random/boot_id')) ?? '';
    this.systemd = readText(join(procRoot, '1/comm')) === 'systemd';
  }

  async load(request: ImageRequest): Promise<LoadedImage> {
    const cmdline = commandLine(request, readText(join(this.#proc, 'cmdline')) ?? '');
    const kernel = openImage(request.kernel);
    let initrd: number | null = null;
    try {
      initrd = request.initrd === undefined ? null : openImage(request.initrd);
      kexecFileLoad({ kernelFd: kernel, initrdFd: initrd, cmdline });
    } catch (error) {
      throw error instanceof SysError ? refusedImage(error, request.kernel) : error;
    } finally {
      closeSync(kernel);
      if (initrd !== null) closeSync(initrd);
    }
    return {
      kernel: request.kernel,
      initrd: request.initrd ?? null,
      cmdline,
      release: releaseOf(request.kernel),
      loadedAt: new Date().toISOString(),
    };
  }

  async unload(): Promise<void> {
    try {
      kexecUnload();
    } catch (error) {
      throw error instanceof SysError ? refusedImage(error, '(none)') : error;
    }
  }

  isLoaded(): boolean {
    const kexec = readText(join(this.#sys, 'kernel/kexec/loaded')) ?? readText(join(this.#sys, 'kernel/kexec_loaded'));
    return kexec === '1';
  }

  preflight(input: PreflightInput): Promise<PreflightReport> {
    return preflight(input, {
      procRoot: this.#proc,
      sysRoot: this.#sys,
      devRoot: this.#dev,
      release: this.release,
      systemd: this.systemd,
      isLoaded: this.isLoaded(),
    });
  }

  sync(): void {
    sync();
  }

  jump(): never {
    try {
      return rebootKexec();
    } catch (error) {
      throw error instanceof SysError ? returned(error) : error;
    }
  }

  chargeProblem(sizeBytes: number, pid: number): string | null {
    return chargeProblem(sizeBytes, pid, { procRoot: this.#proc, sysRoot: this.#sys });
  }
}

function openImage(path: string): number {
  try {
    return openSync(path, 'r');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw new LuoError('IMAGE_MISSING', `'${path}' cannot be opened: ${code}`, {
      cause: error,
      ...(code === undefined ? {} : { errno: code }),
      remedy: 'give the path of a bzImage or initrd that luod can read',
    });
  }
}

/** @source errnos of kexec_file_load(2), kernel/kexec_file.c */
function refusedImage(error: SysError, path: string): LuoError {
  const [why, remedy] = wordsForLoad(error.errnoName);
  return new LuoError('IMAGE_REFUSED', `'${path}' is not loaded: ${why}`, {
    cause: error,
    errno: error.errnoName,
    remedy,
  });
}

function wordsForLoad(errno: string): [why: string, remedy: string] {
  switch (errno) {
    case 'EPERM':
      return [
        'not allowed: no CAP_SYS_BOOT, or kernel.kexec_load_disabled is 1, or the kernel is locked down',
        'run luod as root; kexec_load_disabled and lockdown are undone by a reboot only',
      ];
    case 'EKEYREJECTED':
      return ['no key of this kernel signed it', 'use a kernel that is signed for this machine, or enrol its key'];
    case 'ENODATA':
      return [
        'it is not signed, and this kernel wants a signature',
        'use a signed kernel, or boot without secure boot',
      ];
    case 'EBADMSG':
    case 'ENOPKG':
      return ['its signature cannot be read', 'use a kernel that is signed for this machine'];
    case 'ENOEXEC':
      return [
        'it is no kernel image that this kernel can load',
        'give the bzImage, not an archive or an ELF of another kind',
      ];
    case 'EADDRNOTAVAIL':
      return ['there is no room for it in the scratch memory of KHO', 'boot with a larger kho_scratch='];
    case 'ENOMEM':
      return ['there is not enough memory', 'free memory, or boot with a larger kho_scratch='];
    case 'EBUSY':
      return ['another kexec operation is running', 'try again'];
    case 'ENOSYS':
      return ['this kernel has no kexec_file_load', 'run a kernel with CONFIG_KEXEC_FILE'];
    default:
      return [errno, 'the kernel log (dmesg) says more'];
  }
}

/** @source errnos of reboot(2) with LINUX_REBOOT_CMD_KEXEC, kernel/kexec_core.c, kernel/liveupdate */
function returned(error: SysError): LuoError {
  const why: Record<string, string> = {
    EINVAL: 'no image is loaded (any more), or luod is in a pid namespace of its own',
    EPERM: 'luod has no CAP_SYS_BOOT',
    EBUSY: 'another kexec operation is running',
    ENOSPC: 'there is no room for what is preserved',
  };
  return new LuoError(
    'KEXEC_RETURNED',
    `the kernel did not start the next one: ${why[error.errnoName] ?? 'a file could not be frozen'} (${error.errnoName})`,
    { cause: error, errno: error.errnoName, remedy: 'everything serves again; luoctl load, then luoctl kexec' },
  );
}
