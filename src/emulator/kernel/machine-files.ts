/**
 * Files of /proc and /sys in which a program looks at its machine: which boot this is, and whether a kernel is loaded. Strict
 * mode serves them, so that the emulated machine is a machine of its own to whoever looks: after a simulated kexec it is
 * another boot, and what was loaded is not loaded any more.
 *
 * Happy path: opened for reading by its usual path, such a file has the emulated machine's content, as it is at the open.
 * Unhappy: by any other path, or for anything but reading, it is the real machine's.
 * @source drivers/char/random.c (boot_id), kernel/kexec_core.c (loaded, kexec_loaded; Linux 7.3)
 */
import { MFD, O } from '../../abi/linux.js';
import { isSysError, memfdCreate, openFile, pwriteFully } from '../../sys/index.js';
import { NONE, errno, type Answer, type Call } from './call.js';
import type { Machine } from './machine.js';

const loaded = ({ image }: Machine): string => (image === null ? '0' : '1');
const CONTENTS: Readonly<Record<string, (machine: Machine) => string>> = {
  '/proc/sys/kernel/random/boot_id': ({ bootId }) => bootId,
  '/sys/kernel/kexec/loaded': loaded,
  '/sys/kernel/kexec_loaded': loaded,
};

/** Undefined: `path` is none of them, or this machine does not serve them. */
export function answerMachineFile(machine: Machine, call: Call, path: string, flags: number): Answer | undefined {
  if (!machine.strict || !Object.hasOwn(CONTENTS, path)) return undefined;
  if ((flags & O.ACCMODE) !== O.RDONLY || (flags & (O.PATH | O.CREAT)) !== 0) return undefined;
  if (!call.isValid) return NONE;
  call.details.path = path;
  try {
    using file = memfdCreate('luo-machine-file', MFD.CLOEXEC);
    pwriteFully(file.fd, Buffer.from(`${CONTENTS[path]!(machine)}\n`), 0);
    // The program's own has a position of its own, and cannot write.
    using opened = openFile(`/proc/self/fd/${file.fd}`, O.RDONLY | O.CLOEXEC);
    const fd = call.reader.sendFd(call.id, opened.fd, flags & O.CLOEXEC);
    return fd === undefined ? NONE : { kind: 'sent', fd };
  } catch (error) {
    // Its own descriptors are used up, or ours.
    if (isSysError(error, 'EMFILE')) return errno('EMFILE');
    if (isSysError(error, 'ENFILE')) return errno('ENFILE');
    throw error;
  }
}
