/**
 * luod proper, as the keeper starts it: fd 3 is the channel between them. Composition only: this is where luod gets its
 * ports. Loaded only by that process, so that the keeper stays small.
 */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { SYSTEM_DIRECTORY } from '../base/directory.js';
import { LuoError } from '../base/errors.js';
import { Daemon } from '../daemon/daemon.js';
import { installHeapProbe } from '../daemon/heap-probe.js';
import { readJournal } from '../daemon/journal.js';
import { createLogger } from '../daemon/logger.js';
import type { LogTee } from '../daemon/logger.js';
import { createKernelBackend, createKexecMachine } from '../backends/kernel/index.js';
import type { KexecOptions } from '../daemon/kexec/kexec.js';
import { createDeviceResetter } from '../handles/device/index.js';
import { globalsService } from '../handles/global/index.js';
import { describers } from '../handles/index.js';
import { OwnedFd, sealContent } from '../sys/index.js';
import { readMemoryMark } from './memory-marks.js';
import { packageVersion } from './version.js';

const LIVEUPDATE = '/dev/liveupdate';

/** Be luod until it ends; returns the exit code. */
export async function runLuod(options: {
  readonly dir: string;
  readonly logLevel: string;
  /** May it cross the kexec gap, where the machine can? Why not, if not. */
  readonly kexec: { readonly wanted: boolean; readonly reason: string };
  /** The channel to the keeper, owned from now on. */
  readonly takenChannelFd: number;
  /** Command line of this luod, for the one that follows it. */
  readonly argv: readonly string[];
}): Promise<number> {
  const { dir, argv } = options;
  const tee: LogTee = {};
  const log = createLogger(options.logLevel, tee);
  const globals = fileURLToPath(new URL('./globals.js', import.meta.url));
  const keeper = fileURLToPath(new URL('./keeper.js', import.meta.url));
  try {
    const daemon = await Daemon.start({
      dir,
      uid: process.getuid?.() ?? 0,
      version: packageVersion(),
      log,
      channel: new OwnedFd(options.takenChannelFd),
      luodArgv: argv,
      keeperArgv: [process.execPath, keeper, '--dir', dir, '--adopt', '--', ...argv],
      describers,
      readMark: readMemoryMark,
      kexec: kexecOptions(options.kexec),
      globals: () => (dir === SYSTEM_DIRECTORY ? globalsService({ program: globals }) : undefined),
      teeLog: (write) => (tee.write = write),
      sealContent,
    });
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => void daemon.shutdown());
    process.on('SIGHUP', () => undefined);
    installHeapProbe(dir);
    return await daemon.ended;
  } catch (error) {
    const { code, message, remedy } = LuoError.from(error);
    log.fatal(
      { code, remedy, stack: error instanceof Error ? error.stack : undefined },
      `luod cannot start: ${message}`,
    );
    return 1;
  }
}

function kexecOptions({ wanted, reason }: { readonly wanted: boolean; readonly reason: string }): KexecOptions {
  const resetter = createDeviceResetter();
  const none = { machine: undefined, backend: undefined, resetter };
  if (!wanted) return { ...none, reason };
  const machine = createKexecMachine();
  if (existsSync(LIVEUPDATE)) return { machine, backend: createKernelBackend, resetter, reason: '' };
  return { ...none, reason: `this kernel (${machine.release}) has no ${LIVEUPDATE}` };
}

/** Can this version read the journal behind `fd`? @throws LuoError JOURNAL_TOO_NEW, JOURNAL_DAMAGED */
export function checkJournal(fd: number): void {
  readJournal(fd);
}
