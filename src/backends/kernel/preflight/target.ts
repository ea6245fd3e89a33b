/**
 * The next kernel: does it understand what this one leaves? A LUO that expects another version panics at its boot; a KHO that
 * does loses everything without a word. Both are refused here.
 */
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { PreflightCheck, PreflightInput } from '../../../ports/index.js';
import { commandLine } from '../image/command-line.js';
import { abiStrings, readKernelFacts, type KernelFacts } from '../image/kernel-facts.js';
import { unpack } from '../image/payload.js';
import { readSetupHeader } from '../image/setup-header.js';
import { readText } from '../read-text.js';
import { finding, type Machine } from './finding.js';

export interface TargetChecks {
  readonly checks: readonly PreflightCheck[];
  readonly release: string | null;
  readonly kernel: string | null;
}

interface Target {
  readonly kernel: string;
  readonly initrd: string | null;
  readonly cmdline: string;
}

export async function checkTarget(input: PreflightInput, machine: Machine): Promise<TargetChecks> {
  const { target, check } = targetOf(input, machine);
  if (!target) return { checks: [check], release: null, kernel: null };
  let image: Buffer;
  try {
    image = readFileSync(target.kernel);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const unreadable = finding(
      'image',
      'fail',
      `'${target.kernel}' cannot be read: ${code}`,
      'give the path of a bzImage',
    );
    return { checks: [check, unreadable], release: null, kernel: target.kernel };
  }
  const header = readSetupHeader(image);
  if (!header) {
    const none = finding(
      'image',
      'fail',
      `'${target.kernel}' is no bzImage`,
      'give the bzImage, not an archive or an ELF file',
    );
    return { checks: [check, none], release: null, kernel: target.kernel };
  }
  const payload = header.payload;
  const unpacked = payload
    ? await unpack(image.subarray(payload.offset, payload.offset + payload.length))
    : { ok: false as const, reason: 'its header does not say where its kernel is' };
  const facts = unpacked.ok ? readKernelFacts(unpacked.kernel) : undefined;
  const checks = [
    check,
    header.is64Bit
      ? finding('image', 'pass', `'${target.kernel}' is Linux ${header.release ?? '(unknown)'}`)
      : finding(
          'image',
          'fail',
          `'${target.kernel}' is no 64-bit kernel`,
          'another architecture cannot take over memory',
        ),
    ...(facts ? abiChecks(facts, machine) : [unreadable(unpacked.ok ? '' : unpacked.reason, header.release)]),
    ...(facts ? [configCheck(facts)] : []),
    commandLineCheck(target.cmdline, facts?.config ?? null),
    initrdCheck(target.initrd, target.cmdline),
    scratchCheck(machine, image.length + sizeOf(target.initrd), header.initBytes),
  ];
  return { checks, release: facts?.release ?? header.release, kernel: target.kernel };
}

function targetOf(input: PreflightInput, machine: Machine): { target: Target | undefined; check: PreflightCheck } {
  if (input.image) {
    const { kernel, initrd = null } = input.image;
    const cmdline = commandLine(input.image, readText(join(machine.procRoot, 'cmdline')) ?? '');
    return {
      target: { kernel, initrd, cmdline },
      check: finding('image-loaded', 'pass', 'this image is only looked at; luoctl load loads it'),
    };
  }
  if (!machine.isLoaded) {
    return { target: undefined, check: finding('image-loaded', 'fail', 'no kernel is loaded', 'luoctl load KERNEL') };
  }
  if (!input.loaded) {
    const reason = 'somebody else loaded the kernel: what is in it cannot be looked at';
    return { target: undefined, check: finding('image-loaded', 'fail', reason, 'load it with luoctl load') };
  }
  return {
    target: input.loaded,
    check: finding('image-loaded', 'pass', `'${input.loaded.kernel}' is loaded since ${input.loaded.loadedAt}`),
  };
}

function unreadable(reason: string, release: string | null): PreflightCheck {
  const [major = 0, minor = 0] = (release ?? '').split('.').map(Number);
  if (release !== null && (major < 6 || (major === 6 && minor < 19))) {
    return finding(
      'luo-abi',
      'fail',
      `Linux ${release} has no live update: it would boot cold, and everything would be lost`,
      'use Linux 6.19 or later with CONFIG_LIVEUPDATE',
    );
  }
  return finding(
    'luo-abi',
    'warn',
    `the next kernel cannot be looked at: ${reason}`,
    'make sure that both have the same ABI strings',
  );
}

function abiChecks(facts: KernelFacts, { sysRoot }: Machine): PreflightCheck[] {
  const debug = join(sysRoot, 'kernel/debug/kho/out');
  const running = {
    luo: abiIn(join(debug, 'sub_fdts/LUO'), 'luo-v'),
    kho: abiIn(join(debug, 'fdt'), 'kho-v'),
  };
  return [
    compare('luo-abi', 'LUO', facts.luo, running.luo, 'it would panic when it finds what this one leaves'),
    compare(
      'kho-abi',
      'KHO',
      facts.kho,
      running.kho,
      'it would boot cold and reuse the memory: everything lost, without a word',
    ),
    facts.memfd.length > 0
      ? finding('memfd-abi', 'pass', `the next kernel takes memfds (${facts.memfd.join(', ')})`)
      : facts.luo.length > 0
        ? finding(
            'memfd-abi',
            'fail',
            'the next kernel has no handler for memfds',
            'build it with CONFIG_LIVEUPDATE_MEMFD',
          )
        : finding(
            'memfd-abi',
            'fail',
            'the next kernel has no live update, so no memfd comes over',
            'use a kernel with CONFIG_LIVEUPDATE',
          ),
  ];
}

function compare(
  check: string,
  what: string,
  next: readonly string[],
  running: readonly string[] | null,
  consequence: string,
): PreflightCheck {
  if (next.length === 0) {
    return finding(
      check,
      'fail',
      `the next kernel has no ${what}`,
      'use a kernel with CONFIG_KEXEC_HANDOVER and CONFIG_LIVEUPDATE',
    );
  }
  if (running === null) {
    return finding(
      check,
      'warn',
      `the next kernel has ${next.join(', ')}; what the running one has cannot be read`,
      'mount debugfs (mount -t debugfs debugfs /sys/kernel/debug), with CONFIG_KEXEC_HANDOVER_DEBUGFS',
    );
  }
  if (running.some((one) => next.includes(one)))
    return finding(check, 'pass', `both kernels have ${running.join(', ')}`);
  return finding(
    check,
    'fail',
    `this kernel has ${running.join(', ')} and the next one ${next.join(', ')}: ${consequence}`,
    'use a kernel of the same ABI: there is no way from one version to another but a cold boot',
  );
}

function configCheck({ config }: KernelFacts): PreflightCheck {
  if (!config) return finding('target-config', 'warn', 'the next kernel carries no configuration (CONFIG_IKCONFIG)');
  const wanted = ['CONFIG_KEXEC_HANDOVER', 'CONFIG_LIVEUPDATE', 'CONFIG_LIVEUPDATE_MEMFD'];
  const missing = wanted.filter((option) => config.get(option) !== 'y');
  return missing.length === 0
    ? finding('target-config', 'pass', 'the next kernel is configured for live updates')
    : finding('target-config', 'fail', `the next kernel is built without ${missing.join(', ')}`, 'build it with these');
}

function commandLineCheck(cmdline: string, config: ReadonlyMap<string, string> | null): PreflightCheck {
  const last = (name: string): string | undefined =>
    [...cmdline.matchAll(new RegExp(`(?:^|\\s)${name}=(\\S+)`, 'g'))].at(-1)?.[1];
  const isOn = (value: string | undefined): boolean => value !== undefined && /^(on|1|y|yes|true)$/i.test(value);
  const liveupdate = last('liveupdate');
  if (!isOn(liveupdate)) {
    return finding(
      'command-line',
      'fail',
      `the next command line has ${liveupdate === undefined ? 'no liveupdate=' : `liveupdate=${liveupdate}`}: what is preserved would stay pinned and out of reach`,
      'luoctl load KERNEL --append liveupdate=on',
    );
  }
  const kho = last('kho');
  const byDefault = config?.get('CONFIG_KEXEC_HANDOVER_ENABLE_DEFAULT');
  if (kho === undefined ? byDefault === undefined && config !== null : !isOn(kho)) {
    return finding(
      'command-line',
      'fail',
      'KHO is off in the next kernel: live update is off with it',
      'luoctl load KERNEL --append kho=on',
    );
  }
  return finding('command-line', 'pass', 'liveupdate=on, and KHO is on');
}

function initrdCheck(initrd: string | null, cmdline: string): PreflightCheck {
  if (initrd === null) {
    const hasRoot = /(^|\s)root=/.test(cmdline);
    return hasRoot
      ? finding('initrd', 'pass', 'no initrd: the command line names a root')
      : finding(
          'initrd',
          'warn',
          'neither an initrd nor root= on the command line',
          'give --initrd, or root= on the command line',
        );
  }
  const sizeBytes = sizeOf(initrd);
  return sizeBytes > 0
    ? finding('initrd', 'pass', `'${initrd}' has ${sizeBytes} bytes`)
    : finding('initrd', 'fail', `'${initrd}' cannot be read`, 'give the path of an initrd that luod can read');
}

/** The next kernel and its initrd are placed in scratch memory, and boot with nothing else at first. */
function scratchCheck({ sysRoot }: Machine, imageBytes: number, initBytes: number): PreflightCheck {
  const text = readText(join(sysRoot, 'kernel/debug/kho/out/scratch_len'));
  if (text === undefined)
    return finding('scratch', 'warn', 'the size of the scratch memory cannot be read', 'mount debugfs');
  const scratch = text.split(/\s+/).reduce((sum, part) => sum + (Number(part) || 0), 0);
  const needed = imageBytes + initBytes;
  return scratch >= needed
    ? finding('scratch', 'pass', `scratch memory has ${scratch} bytes; kernel and initrd take ${needed}`)
    : finding(
        'scratch',
        'fail',
        `scratch memory has ${scratch} bytes; kernel and initrd take ${needed}`,
        'boot with a larger kho_scratch=',
      );
}

function abiIn(path: string, prefix: string): readonly string[] | null {
  try {
    const found = abiStrings(readFileSync(path), prefix);
    return found.length > 0 ? found : null;
  } catch {
    return null;
  }
}

function sizeOf(path: string | null): number {
  try {
    return path === null ? 0 : statSync(path).size;
  } catch {
    return 0;
  }
}
