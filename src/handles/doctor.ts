/**
 * What this machine can preserve over which gap, and why not: the checks of `luoctl doctor`, each one finding of its own.
 * Reads files, tries harmless calls, changes nothing that outlives the examination. /dev/liveupdate is never opened: its
 * agent would be shut out, and the first open of a boot reads everything that came over the gap.
 *
 * Unhappy path: what cannot be read is a finding, never an exception.
 */
import { accessSync, constants, existsSync, readFileSync, statSync } from 'node:fs';
import { release } from 'node:os';
import { dirname, join } from 'node:path';
import { LIMITS } from '../base/limits.js';
import type { Gap } from '../base/words.js';
import type { Doctor, DoctorCheck } from '../ports/index.js';
import { systemCallChecks } from './doctor-calls.js';

export interface DoctorOptions {
  /** Where the machine's own trees are; others in tests. */
  readonly procRoot?: string;
  readonly sysRoot?: string;
  readonly devRoot?: string;
  readonly kernelRelease?: string;
  readonly nodeVersion?: string;
  /** By default tried on this machine. */
  readonly calls?: () => Promise<readonly DoctorCheck[]>;
}

type Machine = Required<DoctorOptions>;

const HANDOVER_KERNEL = [5, 6] as const;
const KEXEC_KERNEL = [6, 19] as const;
const NODE_VERSION = [20, 19] as const;
/** sun_path of a unix socket, with its NUL. @source include/uapi/linux/un.h */
const SOCKET_PATH_BYTES = 108;
const CAP_SYS_BOOT = 22n;

export function createDoctor(options: DoctorOptions = {}): Doctor {
  const machine: Machine = {
    procRoot: '/proc',
    sysRoot: '/sys',
    devRoot: '/dev',
    kernelRelease: release(),
    nodeVersion: process.versions.node,
    calls: systemCallChecks,
    ...options,
  };
  return {
    examine: async ({ dir }) => [
      ...checkKernel(machine),
      checkNode(machine),
      ...(await machine.calls()),
      checkOpenFiles(machine),
      ...checkDirectory(dir),
      checkMemfdNoexec(machine),
      ...checkLiveUpdate(machine),
      ...checkKexec(machine),
      ...checkKho(machine),
      checkMemoryMax(machine),
    ],
  };
}

/** One finding. A remedy without need is left out. */
export function finding(
  check: string,
  gap: Gap | null,
  result: DoctorCheck['result'],
  reason: string,
  remedy: string | null = null,
): DoctorCheck {
  return { check, gap, result, reason, remedy };
}

function checkKernel(machine: Machine): DoctorCheck[] {
  const version = machine.kernelRelease;
  const check = (gap: Gap, least: readonly [number, number], what: string): DoctorCheck =>
    atLeast(version, least)
      ? finding('kernel version', gap, 'pass', `Linux ${version}`)
      : finding(
          'kernel version',
          gap,
          'fail',
          `Linux ${version} is older than ${least.join('.')}, which is the first with ${what}`,
          `run Linux ${least.join('.')} or later`,
        );
  return [
    check('handover', HANDOVER_KERNEL, 'everything that the keeper needs (pidfd_getfd)'),
    check('kexec', KEXEC_KERNEL, '/dev/liveupdate'),
  ];
}

function checkNode(machine: Machine): DoctorCheck {
  const version = machine.nodeVersion;
  return atLeast(version, NODE_VERSION)
    ? finding('node version', null, 'pass', `Node.js ${version}`)
    : finding('node version', null, 'fail', `Node.js ${version} is older than 20.19`, 'install Node.js 20.19 or later');
}

function checkOpenFiles(machine: Machine): DoctorCheck {
  const hard = /^Max open files\s+\S+\s+(\S+)/m.exec(readText(join(machine.procRoot, 'self/limits')) ?? '')?.[1];
  const wanted = LIMITS.keeperOwnerFdsMax + LIMITS.keeperFdsReserve;
  if (hard === undefined) return finding('open files', null, 'warn', 'the limit of open files cannot be read');
  if (hard === 'unlimited' || Number(hard) >= wanted)
    return finding('open files', null, 'pass', `up to ${hard} open files in a process`);
  return finding(
    'open files',
    null,
    'warn',
    `at most ${hard} open files in a process: the keeper cannot hold the ${wanted} that one owner may give it`,
    'raise the hard limit: LimitNOFILE= of the unit, or /etc/security/limits.conf',
  );
}

function checkDirectory(dir: string): DoctorCheck[] {
  const socket = join(dir, 'keeper.sock');
  const bytes = Buffer.byteLength(socket) + 1;
  const findings: DoctorCheck[] = [];
  let existing = dir;
  while (!existsSync(existing) && dirname(existing) !== existing) existing = dirname(existing);
  try {
    accessSync(existing, constants.W_OK | constants.X_OK);
    const made = existing === dir ? 'exists and' : `can be made in '${existing}', which`;
    findings.push(
      statSync(existing).isDirectory()
        ? finding('directory', null, 'pass', `'${dir}' ${made} can be written`)
        : finding('directory', null, 'fail', `'${existing}' is no directory`, 'give another one with --dir'),
    );
  } catch (error) {
    findings.push(
      finding(
        'directory',
        null,
        'fail',
        `'${existing}' cannot be written: ${(error as NodeJS.ErrnoException).code}`,
        'give another one with --dir or LUO_DIR, or set XDG_RUNTIME_DIR',
      ),
    );
  }
  if (bytes > SOCKET_PATH_BYTES)
    findings.push(
      finding(
        'socket path',
        null,
        'warn',
        `'${socket}' has ${bytes} bytes, and a socket's path may have ${SOCKET_PATH_BYTES}: some programs cannot connect`,
        'use a shorter directory',
      ),
    );
  return findings;
}

function checkMemfdNoexec(machine: Machine): DoctorCheck {
  const value = readText(join(machine.procRoot, 'sys/vm/memfd_noexec'))?.trim() ?? '0';
  if (value === '0') return finding('memfd_noexec', 'kexec', 'pass', 'memfds are made without a seal against EXEC');
  return finding(
    'memfd_noexec',
    'kexec',
    'warn',
    `vm.memfd_noexec is ${value}: a memfd made without MFD_EXEC comes back from a kexec read-only and of fixed size`,
    value === '2' ? 'set vm.memfd_noexec to 1 or 0' : 'make memfds that are to be written with MFD_EXEC',
  );
}

function checkLiveUpdate(machine: Machine): DoctorCheck[] {
  const node = join(machine.devRoot, 'liveupdate');
  if (!existsSync(node))
    return [
      finding(
        'liveupdate device',
        'kexec',
        'fail',
        `there is no ${node}`,
        'run Linux 6.19 or later with CONFIG_LIVEUPDATE, booted with kho=on liveupdate=on',
      ),
    ];
  try {
    accessSync(node, constants.R_OK | constants.W_OK);
  } catch {
    return [finding('liveupdate device', 'kexec', 'fail', `no right to open ${node}`, 'run luod as root')];
  }
  const incoming = existsSync(join(machine.sysRoot, 'kernel/debug/kho/in/sub_fdts/LUO'));
  return [
    finding('liveupdate device', 'kexec', 'pass', `${node} is there, and this user may open it`),
    ...(incoming
      ? [
          finding(
            'incoming state',
            'kexec',
            'warn' as const,
            'this kernel was started by a live update: sessions of the last one may wait, and are lost with the next jump',
            'claim and finish them first',
          ),
        ]
      : []),
  ];
}

function checkKexec(machine: Machine): DoctorCheck[] {
  const findings: DoctorCheck[] = [];
  const capabilities = /^CapEff:\s*([0-9a-f]+)/m.exec(readText(join(machine.procRoot, 'self/status')) ?? '')?.[1];
  const may = capabilities !== undefined && ((BigInt(`0x${capabilities}`) >> CAP_SYS_BOOT) & 1n) === 1n;
  findings.push(
    may
      ? finding('reboot right', 'kexec', 'pass', 'this process has CAP_SYS_BOOT')
      : finding('reboot right', 'kexec', 'fail', 'this process has no CAP_SYS_BOOT', 'run luod as root'),
  );
  if (readText(join(machine.procRoot, 'sys/kernel/kexec_load_disabled'))?.trim() === '1')
    findings.push(
      finding(
        'kexec loading',
        'kexec',
        'fail',
        'kernel.kexec_load_disabled is 1, until the next boot',
        'boot without the setting',
      ),
    );
  // The second path is the older name of the first.
  const loaded =
    readText(join(machine.sysRoot, 'kernel/kexec/loaded')) ?? readText(join(machine.sysRoot, 'kernel/kexec_loaded'));
  if (loaded === null)
    findings.push(finding('kexec', 'kexec', 'fail', 'this kernel has no kexec', 'run one with CONFIG_KEXEC_FILE'));
  else if (loaded.trim() === '1') findings.push(finding('kexec image', 'kexec', 'pass', 'a kernel is loaded'));
  else
    findings.push(
      finding('kexec image', 'kexec', 'warn', 'no kernel is loaded', 'load one with kexec_file_load before the update'),
    );
  return findings;
}

function checkKho(machine: Machine): DoctorCheck[] {
  const line = readText(join(machine.procRoot, 'cmdline'));
  const value = (name: string): boolean | null => {
    // The last one counts, as in the kernel.
    const text = [...(line ?? '').matchAll(new RegExp(`(?:^|\\s)${name}=(\\S+)`, 'g'))].at(-1)?.[1];
    return text === undefined ? null : /^(on|1|y|yes|true)$/i.test(text);
  };
  const kho = existsSync(join(machine.sysRoot, 'kernel/debug/kho')) ? true : value('kho');
  const words = { true: 'on', false: 'off', null: 'not given' } as const;
  return [
    kho === true
      ? finding('kexec handover', 'kexec', 'pass', 'KHO is on')
      : finding(
          'kexec handover',
          'kexec',
          kho === false ? 'fail' : 'warn',
          `kho= is ${words[`${kho}`]} on the kernel's command line, and debugfs shows no KHO`,
          'boot this kernel, and the next one, with kho=on',
        ),
    value('liveupdate') === true
      ? finding('liveupdate option', 'kexec', 'pass', 'liveupdate=on is given')
      : finding(
          'liveupdate option',
          'kexec',
          'fail',
          `liveupdate= is ${words[`${value('liveupdate')}`]} on the kernel's command line, and off is the default`,
          'boot this kernel, and the next one, with liveupdate=on',
        ),
  ];
}

function checkMemoryMax(machine: Machine): DoctorCheck {
  const path = /^0::(.*)$/m.exec(readText(join(machine.procRoot, 'self/cgroup')) ?? '')?.[1];
  const max = path === undefined ? null : readText(join(machine.sysRoot, 'fs/cgroup', path, 'memory.max'))?.trim();
  if (max === null || max === undefined || max === 'max')
    return finding('memory limit', 'kexec', 'pass', 'no memory.max of this control group');
  return finding(
    'memory limit',
    'kexec',
    'warn',
    `memory.max of this control group is ${max} bytes: who retrieves more than fits is killed, and the data is lost`,
    'raise memory.max of every service above what it retrieves',
  );
}

/** `6.18.44-fc` is at least 5.6. */
function atLeast(version: string, [major, minor]: readonly [number, number]): boolean {
  const [a = 0, b = 0] = version.split('.').map((part) => Number.parseInt(part, 10));
  return a > major || (a === major && b >= minor);
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return null;
  }
}
