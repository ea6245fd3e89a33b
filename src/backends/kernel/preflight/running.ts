/** The running kernel and this process: may they do it at all? */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { PreflightCheck, PreflightInput } from '../../../ports/index.js';
import { readText } from '../read-text.js';
import { finding, type Machine } from './finding.js';

const CAP_SYS_BOOT = 22n;

export function checkRunning(input: PreflightInput, machine: Machine): PreflightCheck[] {
  return [
    liveupdate(machine),
    right(machine),
    loading(machine),
    pidNamespace(machine),
    systemd(machine),
    nofile(input),
  ];
}

function liveupdate({ devRoot, procRoot }: Machine): PreflightCheck {
  if (existsSync(join(devRoot, 'liveupdate'))) {
    return finding('liveupdate', 'pass', 'this kernel has /dev/liveupdate');
  }
  const cmdline = readText(join(procRoot, 'cmdline')) ?? '';
  const isOn = /(^|\s)liveupdate=(on|1|y)/.test(cmdline);
  return finding(
    'liveupdate',
    'fail',
    'this kernel has no /dev/liveupdate: nothing can be preserved',
    isOn
      ? 'run a kernel with CONFIG_LIVEUPDATE and CONFIG_KEXEC_HANDOVER'
      : 'boot with liveupdate=on on the command line',
  );
}

function right({ procRoot }: Machine): PreflightCheck {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readText(join(procRoot, 'self/status')) ?? '')?.[1];
  const has = effective !== undefined && ((BigInt(`0x${effective}`) >> CAP_SYS_BOOT) & 1n) === 1n;
  return has
    ? finding('reboot-right', 'pass', 'luod has CAP_SYS_BOOT')
    : finding('reboot-right', 'fail', 'luod has no CAP_SYS_BOOT', 'run luod as root');
}

function loading({ procRoot, isLoaded }: Machine): PreflightCheck {
  const disabled = readText(join(procRoot, 'sys/kernel/kexec_load_disabled')) === '1';
  if (!disabled) return finding('kexec-loading', 'pass', 'kernels can be loaded');
  return isLoaded
    ? finding(
        'kexec-loading',
        'warn',
        'kernel.kexec_load_disabled is 1: the loaded image is the last one until the next boot',
      )
    : finding('kexec-loading', 'fail', 'kernel.kexec_load_disabled is 1', 'it can only be undone by a boot');
}

function pidNamespace({ procRoot }: Machine): PreflightCheck {
  const nested = /^NSpid:\s*\d+\s+\d+/m.test(readText(join(procRoot, 'self/status')) ?? '');
  return nested
    ? finding(
        'pid-namespace',
        'fail',
        'luod is in a pid namespace of its own: reboot(2) would only end that',
        'run luod outside of containers',
      )
    : finding('pid-namespace', 'pass', 'luod is in the first pid namespace');
}

function systemd({ systemd }: Machine): PreflightCheck {
  return systemd
    ? finding(
        'systemd',
        'warn',
        'systemd runs this machine: a direct jump does not stop its services',
        'luoctl kexec asks for --direct',
      )
    : finding('systemd', 'pass', 'no systemd as PID 1: luod jumps by itself');
}

function nofile({ keeper, sessions }: PreflightInput): PreflightCheck {
  const needed = keeper.fds + sessions + 1;
  return needed <= keeper.fdsMax
    ? finding('nofile', 'pass', `the keeper has room: ${needed} of ${keeper.fdsMax} fds`)
    : finding(
        'nofile',
        'fail',
        `the keeper would hold ${needed} fds and may hold ${keeper.fdsMax}`,
        'start luod with a larger RLIMIT_NOFILE (LimitNOFILE= of its unit)',
      );
}
