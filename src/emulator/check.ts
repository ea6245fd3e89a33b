/**
 * `luoctl emulate --check`: what the emulator needs of this machine, condition by condition, and one real attempt at the end.
 * Leaves nothing behind: the filter of the attempt goes with the process that carried it.
 */
import { readFileSync } from 'node:fs';
import { LuoError } from '../base/errors.js';
import { SECCOMP_FILTER_FLAG, SECCOMP_RET } from '../abi/seccomp.js';
import type { EmulatorCheck } from '../ports/emulator.js';
import { SysError, pidfdGetfd, pidfdOpen, seccompKnowsAction, seccompKnowsFlags } from '../sys/index.js';
import { knowsMachine } from './launch/filter.js';
import { readInheritance } from './launch/inheritance.js';
import { Launcher } from './launch/launcher.js';

/** What is looked at; tests give their own. */
export interface Surroundings {
  readonly machine: string;
  /** Text of /proc/self/status. */
  readonly status: string;
  /** Text of /proc/sys/kernel/yama/ptrace_scope; null: there is no Yama. */
  readonly ptraceScope: string | null;
  readonly knowsAction: (action: number) => boolean;
  readonly knowsFlags: (flags: number) => boolean;
  /** Holds up a program and takes a descriptor out of it; what failed, or null. */
  readonly attempt: () => Promise<LuoError | null>;
}

/** Bits of CapEff. */
const CAP_SYS_PTRACE = 1n << 19n;
const CAP_SYS_ADMIN = 1n << 21n;

export async function checkEmulator(around: Surroundings = thisMachine()): Promise<EmulatorCheck[]> {
  const checks = [checkMachine(around), checkKernel(around), checkRights(around), checkTracing(around)];
  if (checks.every(({ result }) => result !== 'fail')) checks.push(await checkAttempt(around));
  return checks;
}

function checkMachine({ machine }: Surroundings): EmulatorCheck {
  return knowsMachine(machine)
    ? pass('machine', `programs of ${machine} are known`)
    : fail('machine', `programs of ${machine} are not known: x64 and arm64 are`, 'Run it on such a machine.');
}

function checkKernel({ knowsAction, knowsFlags }: Surroundings): EmulatorCheck {
  if (!knowsAction(SECCOMP_RET.USER_NOTIF)) {
    return fail(
      'kernel',
      'seccomp is missing, forbidden, or has no user notification',
      'Use Linux 5.19 or newer with CONFIG_SECCOMP_FILTER; in a container, allow the call seccomp.',
    );
  }
  if (!knowsFlags(SECCOMP_FILTER_FLAG.NEW_LISTENER | SECCOMP_FILTER_FLAG.WAIT_KILLABLE_RECV)) {
    return fail(
      'kernel',
      'seccomp has no WAIT_KILLABLE_RECV: a signal could interrupt a call of which half was done',
      'Use Linux 5.19 or newer.',
    );
  }
  return pass('kernel', 'seccomp has user notification and WAIT_KILLABLE_RECV');
}

function checkRights({ status }: Surroundings): EmulatorCheck {
  if ((capabilities(status) & CAP_SYS_ADMIN) !== 0n) {
    return pass('rights', 'CAP_SYS_ADMIN: programs keep the right to gain rights');
  }
  if (field(status, 'NoNewPrivs') === '1') return pass('rights', 'no_new_privs is set here already');
  return {
    check: 'rights',
    result: 'warn',
    reason: 'without CAP_SYS_ADMIN programs get no_new_privs: sudo and setuid programs gain nothing under the emulator',
    remedy: 'Nothing, unless a program needs them; then run it as root.',
  };
}

function checkTracing({ status, ptraceScope }: Surroundings): EmulatorCheck {
  const mayTrace = (capabilities(status) & CAP_SYS_PTRACE) !== 0n;
  const scope = Number(ptraceScope ?? 0);
  if (scope <= 1) {
    const why = ptraceScope === null ? 'no Yama' : `Yama's ptrace_scope is ${scope}`;
    return pass('tracing', `${why}: the memory of descendants can be read`);
  }
  if (scope === 2 && mayTrace) return pass('tracing', "Yama's ptrace_scope is 2, and CAP_SYS_PTRACE is here");
  return fail(
    'tracing',
    `Yama's ptrace_scope is ${scope}: the memory of programs cannot be read`,
    scope === 2
      ? 'Run it as root, or: sysctl kernel.yama.ptrace_scope=1'
      : 'Boot with another setting: 3 cannot be changed in a running kernel.',
  );
}

async function checkAttempt({ attempt }: Surroundings): Promise<EmulatorCheck> {
  const failure = await attempt();
  return failure === null
    ? pass('attempt', 'a program was held up, looked into and let go')
    : fail('attempt', failure.message, failure.remedy ?? 'The name of the error number says why.');
}

function thisMachine(): Surroundings {
  return {
    machine: process.arch,
    status: readFileSync('/proc/self/status', 'utf8'),
    ptraceScope: readOr('/proc/sys/kernel/yama/ptrace_scope', null),
    knowsAction: seccompKnowsAction,
    knowsFlags: seccompKnowsFlags,
    attempt,
  };
}

async function attempt(): Promise<LuoError | null> {
  let launcher: Launcher | undefined;
  try {
    launcher = await Launcher.start({ strict: false, ownsProcess: true, inheritance: readInheritance(undefined) });
    const sleeper = await launcher.spawn({ argv: ['/bin/sleep', '60'], env: [], cwd: null, searchPath: null });
    const pidfd = pidfdOpen(sleeper.pid);
    try {
      pidfdGetfd(pidfd.fd, 2).close();
    } finally {
      pidfd.close();
    }
    return null;
  } catch (error) {
    if (error instanceof LuoError) return error;
    if (!(error instanceof SysError)) throw error;
    return new LuoError('EMULATOR_UNABLE', `descriptors of programs cannot be taken: ${error.message}`, {
      errno: error.errnoName,
      remedy: 'Run it as root, or allow ptrace where it is forbidden (a container’s capabilities, Yama).',
    });
  } finally {
    await launcher?.close();
  }
}

function capabilities(status: string): bigint {
  return BigInt(`0x${field(status, 'CapEff') || '0'}`);
}

function field(status: string, name: string): string {
  return new RegExp(`^${name}:\\s+(\\S+)`, 'm').exec(status)?.[1] ?? '';
}

function readOr(path: string, otherwise: null): string | null {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return otherwise;
  }
}

function pass(check: string, reason: string): EmulatorCheck {
  return { check, result: 'pass', reason, remedy: null };
}

function fail(check: string, reason: string, remedy: string): EmulatorCheck {
  return { check, result: 'fail', reason, remedy };
}
