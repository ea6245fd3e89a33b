/**
 * The checks of the doctor that try a system call. src/sys is loaded here, and not before: a machine on which its foreign
 * function library does not load gets that as a finding.
 */
import type { DoctorCheck } from '../ports/index.js';
import type * as Sys from '../sys/index.js';

export async function systemCallChecks(): Promise<readonly DoctorCheck[]> {
  let sys: typeof Sys;
  try {
    sys = await import('../sys/index.js');
  } catch (error) {
    return [
      {
        check: 'koffi',
        gap: null,
        result: 'fail',
        reason: `koffi, which calls the kernel for luo, does not load: ${firstLine(error)}`,
        remedy: 'install the package again on this machine: npm ci',
      },
    ];
  }
  const { compareOpenFiles } = await import('../sys/compare-files.js');
  return [
    { check: 'koffi', gap: null, result: 'pass', reason: 'koffi loads', remedy: null },
    attempt('pidfd', 'fail', 'processes can be watched and ended by fd', () => {
      using own = sys.pidfdOpen(process.pid);
      sys.pidfdSendSignal(own.fd, 0);
    }),
    attempt('pidfd_getfd', 'warn', 'fds of own processes can be duplicated', () => {
      using own = sys.pidfdOpen(process.pid);
      sys.pidfdGetfd(own.fd, own.fd).close();
    }),
    attempt('memfd', 'fail', 'memory with an fd can be made, and sealed', () => {
      using memory = sys.memfdCreate('luo-doctor');
      sys.addSeals(memory.fd, sys.getSeals(memory.fd) | 2 | 4);
    }),
    attempt('passing fds', 'fail', 'fds can be passed over unix sockets', () => {
      const [one, other] = sys.socketpair();
      one.close();
      other.close();
    }),
    attempt('event loop', 'fail', 'epoll, eventfd and timerfd can be made', () => {
      for (const make of [sys.epollCreate, sys.eventfd, sys.timerfdCreate]) make().close();
    }),
    attempt('kcmp', 'warn', 'fds of one open file can be recognised', () => {
      using memory = sys.memfdCreate('luo-doctor');
      using again = memory.dup();
      compareOpenFiles(memory.fd, again.fd);
    }),
    attempt('subreaper', 'fail', 'the keeper can adopt the orphans of its services', () => {
      // Put back at once: whoever runs the doctor has no orphans to wait for.
      sys.becomeSubreaper(true);
      sys.becomeSubreaper(false);
    }),
  ];
}

/** `worst` is the result when the call fails. */
function attempt(check: string, worst: 'warn' | 'fail', good: string, call: () => void): DoctorCheck {
  try {
    call();
    return { check, gap: null, result: 'pass', reason: good, remedy: null };
  } catch (error) {
    return {
      check,
      gap: null,
      result: worst,
      reason: `${firstLine(error)}: it must work, so that ${good}`,
      remedy: 'look for a sandbox or a seccomp filter that refuses the call',
    };
  }
}

function firstLine(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split('\n')[0] ?? '';
}
