/** The system calls that the carrier of this backend is made of. */
import type { CarrierFiles } from '../../model/index.js';
import { compareOpenFiles, isSealable } from '../../sys/compare-files.js';
import { dupFd, fstat, isSysError, type OwnedFd } from '../../sys/index.js';

export const files: CarrierFiles<OwnedFd> = {
  stat: (fd) => ({ ...fstat(fd), memfd: isSealable(fd) }),
  compare: (fdA, fdB) => {
    try {
      return compareOpenFiles(fdA, fdB);
    } catch (error) {
      // Some sandboxes refuse kcmp. Without it no file is taken for another one: a double preserve is then not noticed.
      if (isSysError(error, 'EPERM') || isSysError(error, 'ENOSYS')) return fdA - fdB;
      throw error;
    }
  },
  dup: dupFd,
  kindOf: () => 'any',
};
