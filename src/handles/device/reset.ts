/**
 * Reset a device that nobody claimed after a kexec, through sysfs: bus mastering off first, so that whatever it was told to
 * do by the last kernel ends, then the kernel's own reset.
 *
 * Happy path: one write to `reset`; the kernel takes the first method of `reset_method` that it can use. If that fails, each method is
 * chosen in turn, and the list is put back afterwards. A device without any method is left with its DMA off, and the answer says so.
 * Unhappy path: a device that a driver of this kernel has was started anew by it, and a bridge with devices behind it would take
 * them along: both are refused. Never here: which devices were not claimed.
 * @source Documentation/ABI/testing/sysfs-bus-pci (reset, reset_method, config), drivers/pci/pci.c (__pci_reset_function_locked)
 */
import { existsSync, readdirSync } from 'node:fs';
import { open, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { LuoError } from '../../base/errors.js';
import type { DeviceReset, DeviceResetter } from '../../ports/index.js';
import { isDevice, isPassedThrough, linkName, resolveDevice, words } from './topology.js';

export interface DeviceResetterOptions {
  /** Where sysfs is; another one in tests. */
  readonly sysRoot?: string;
  /** How long a reset may take, ms. */
  readonly deadlineMs?: number;
  /** Write an attribute of a device; replaced in tests. */
  readonly write?: (path: string, text: string) => Promise<void>;
}

/** A function level reset waits up to a minute for the device. @source drivers/pci/pci.c, PCIE_RESET_READY_POLL_MS */
const DEADLINE_MS = 65_000;
/** @source include/uapi/linux/pci_regs.h */
const PCI_COMMAND = 4;
const PCI_COMMAND_MASTER = 0x4;

export function createDeviceResetter(options: DeviceResetterOptions = {}): DeviceResetter {
  const root = options.sysRoot ?? '/sys';
  const write = options.write ?? ((path, text) => writeFile(path, text));
  return {
    reset: (sysfsPath) => withDeadline(sysfsPath, options.deadlineMs ?? DEADLINE_MS, reset(root, sysfsPath, write)),
  };
}

/** {@link DeviceResetter.reset} on this machine. */
export function resetDevice(sysfsPath: string): Promise<DeviceReset> {
  return createDeviceResetter().reset(sysfsPath);
}

type Write = NonNullable<DeviceResetterOptions['write']>;

async function reset(root: string, sysfsPath: string, write: Write): Promise<DeviceReset> {
  const directory = resolveDevice(root, sysfsPath);
  refuseInUse(directory, sysfsPath);
  const busMasterOff = linkName(join(directory, 'subsystem')) === 'pci' && (await stopBusMaster(directory));
  const methods = words(join(directory, 'reset_method'));
  if (methods.length === 0 || !existsSync(join(directory, 'reset'))) return { method: 'none', busMasterOff };
  const first = await failureOf(write(join(directory, 'reset'), '1'));
  if (first === undefined) return { method: methods[0]!, busMasterOff };
  const { method, failure } = await tryEach(directory, methods, write);
  if (method !== undefined) return { method, busMasterOff };
  const { errno } = LuoError.from(failure ?? first);
  throw new LuoError(
    'SYS',
    `'${sysfsPath}' cannot be reset (${methods.join(', ')}): ${errno ?? String(failure ?? first)}`,
    {
      ...(errno === undefined ? {} : { errno }),
      cause: failure ?? first,
      data: { path: sysfsPath, tried: methods, busMasterOff },
      remedy: 'unbind what uses it, or power it off and on; its DMA is off',
    },
  );
}

/** The kernel stops at the first method that fails in earnest: choose them one by one. */
async function tryEach(
  directory: string,
  methods: readonly string[],
  write: Write,
): Promise<{ method?: string; failure?: unknown }> {
  const list = join(directory, 'reset_method');
  let failure: unknown;
  try {
    // The first one is what has just failed.
    for (const method of methods.slice(1)) {
      failure = await failureOf(write(list, method).then(() => write(join(directory, 'reset'), '1')));
      if (failure === undefined) return { method };
    }
    return { failure };
  } finally {
    await failureOf(write(list, methods.join(' ')));
  }
}

/** @throws LuoError HANDLE_BUSY */
function refuseInUse(directory: string, sysfsPath: string): void {
  const data = { path: sysfsPath };
  const driver = linkName(join(directory, 'driver'));
  if (driver !== null && !isPassedThrough(driver))
    throw new LuoError('HANDLE_BUSY', `'${sysfsPath}' is not reset: the driver '${driver}' of this kernel has it`, {
      data,
    });
  const behind = readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && isDevice(join(directory, entry.name)))
    .filter((entry) => linkName(join(directory, entry.name, 'subsystem')) === 'pci')
    .map((entry) => entry.name)
    .sort();
  if (behind.length === 0) return;
  throw new LuoError('HANDLE_BUSY', `'${sysfsPath}' is not reset: ${behind.join(', ')} would be reset with it`, {
    data: { ...data, behind },
  });
}

/** @returns whether it was on */
async function stopBusMaster(directory: string): Promise<boolean> {
  const file = await open(join(directory, 'config'), 'r+');
  try {
    const command = Buffer.alloc(2);
    await file.read(command, 0, 2, PCI_COMMAND);
    const value = command.readUInt16LE();
    if ((value & PCI_COMMAND_MASTER) === 0) return false;
    command.writeUInt16LE(value & ~PCI_COMMAND_MASTER);
    await file.write(command, 0, 2, PCI_COMMAND);
    return true;
  } finally {
    await file.close();
  }
}

async function failureOf(work: Promise<unknown>): Promise<unknown> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return error;
  }
}

async function withDeadline<T>(sysfsPath: string, deadlineMs: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      const message = `the reset of '${basename(sysfsPath)}' takes longer than ${deadlineMs} ms`;
      reject(new LuoError('CALL_TIMEOUT', message, { data: { path: sysfsPath } }));
    }, deadlineMs);
  });
  try {
    return await Promise.race([work, late]);
  } catch (error) {
    throw LuoError.from(error, 'SYS');
  } finally {
    clearTimeout(timer);
  }
}
