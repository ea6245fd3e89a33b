/** Why a machine does not let an emulator hold up calls, as an error that says what to do. PURE. */
import { LuoError } from '../../base/errors.js';
import { errnoName } from '../../abi/errno.js';

const REASONS: Readonly<Record<string, { why: string; remedy: string }>> = {
  EBUSY: {
    why: 'a filter with a listener is on this process already: it runs under an emulator, or under a container runtime that answers calls',
    remedy: 'Run it outside; programs can be started side by side under one emulator.',
  },
  EINVAL: {
    why: 'this kernel knows no listener of that kind (Linux 5.19 and newer do)',
    remedy: 'Use a newer kernel.',
  },
  ENOSYS: { why: 'this kernel has no seccomp', remedy: 'Use a kernel with CONFIG_SECCOMP_FILTER.' },
  EPERM: {
    why: 'a policy forbids seccomp(2) here',
    remedy: 'In a container, allow the call seccomp, or run it with another seccomp profile.',
  },
};

/** The error for `errno` of `syscall` at putting on the filter. */
export function unable(errno: number, syscall: string): LuoError {
  const name = errnoName(errno);
  const { why, remedy } = REASONS[name] ?? {
    why: `${syscall} failed: ${name}`,
    remedy: 'See what luoctl emulate --check says.',
  };
  return new LuoError('EMULATOR_UNABLE', `calls of programs cannot be held up here: ${why}`, { errno: name, remedy });
}
