/**
 * The program `luod`. Started by a person or a service manager it becomes the keeper, which starts this program again as
 * luod proper (luod-daemon.ts). Each of the two loads only what it needs.
 *
 *   luod [--dir DIR] [--log-level LEVEL]     stays in the foreground; SIGTERM ends luod and every service
 *   luod --background                        the same, detached; returns when luod answers
 *   luod --check-journal                     (asked by the keeper) can this version read the journal behind fd 3?
 */
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { SOCKET_NAME, SYSTEM_DIRECTORY, luodDirectory } from '../base/directory.js';
import { LuoError } from '../base/errors.js';
import { isOpen, unixConnect } from '../sys/index.js';
import { packageVersion } from './version.js';

const CHANNEL_VARIABLE = 'LUO_KEEPER_CHANNEL';
const CHANNEL_FD = 3;
const BACKGROUND_MS = 20_000;

const USAGE = `usage: luod [--dir DIR] [--log-level LEVEL] [--background]
  --dir DIR          directory of sockets, state files and logs (default: LUO_DIR, /run/luo for root, else $XDG_RUNTIME_DIR/luo)
  --log-level LEVEL  fatal, error, warn, info (default), debug
  --background       detach, and return when luod answers; luoctl shutdown ends it
  --kexec            take part in live updates of the kernel also with a directory of one's own; one luod of a machine can
  --no-kexec         do not, also in /run/luo
  --version          print the version`;

/** Start luod detached from this terminal, and wait until it answers. */
async function startInBackground(dir: string, args: readonly string[]): Promise<number> {
  if (answers(dir)) {
    throw new LuoError('LUOD_RUNNING', `a luod answers in '${dir}' already`, { remedy: 'luoctl status shows it' });
  }
  const logs = join(dir, 'logs');
  mkdirSync(logs, { recursive: true, mode: 0o700 });
  const log = join(logs, 'keeper.log');
  const output = openSync(log, 'a', 0o600);
  const child = spawn(process.execPath, [...process.execArgv, process.argv[1]!, ...args], {
    detached: true,
    stdio: ['ignore', output, output],
  });
  let ended: string | undefined;
  child.on('error', (error) => (ended = error.message));
  child.on('exit', (code, signal) => (ended = `it ended with ${signal ?? code}`));
  for (let waitedMs = 0; waitedMs < BACKGROUND_MS; waitedMs += 20) {
    if (answers(dir)) {
      process.stdout.write(`luod runs in ${dir}, pid ${readFileSync(join(dir, 'luod.pid'), 'utf8').trim()}\n`);
      return 0;
    }
    if (ended !== undefined) break;
    await sleep(20);
  }
  child.kill('SIGTERM');
  throw new LuoError('LUOD_UNREACHABLE', `luod did not start: ${ended ?? `no answer within ${BACKGROUND_MS} ms`}`, {
    remedy: `read ${log} and ${join(logs, 'luod.log')}`,
  });
}

function answers(dir: string): boolean {
  try {
    unixConnect(join(dir, SOCKET_NAME)).close();
    return true;
  } catch {
    return false;
  }
}

async function main(): Promise<number> {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        dir: { type: 'string' },
        'log-level': { type: 'string', default: 'info' },
        background: { type: 'boolean', default: false },
        kexec: { type: 'boolean', default: false },
        'no-kexec': { type: 'boolean', default: false },
        'check-journal': { type: 'boolean', default: false },
        version: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }));
  } catch (error) {
    process.stderr.write(`luod: ${(error as Error).message}\n${USAGE}\n`);
    return 2;
  }
  if (values.help || values.version) {
    process.stdout.write(values.version ? `${packageVersion()}\n` : `${USAGE}\n`);
    return 0;
  }
  if (values['check-journal']) {
    (await import('./luod-daemon.js')).checkJournal(CHANNEL_FD);
    return 0;
  }
  const uid = process.getuid?.();
  const dir = resolve(luodDirectory({ dir: values.dir, env: process.env, uid }));
  const kexec = kexecWanted(dir, uid, values);
  const args = ['--dir', dir, '--log-level', values['log-level']];
  if (values.kexec) args.push('--kexec');
  if (values['no-kexec']) args.push('--no-kexec');
  const argv = [process.execPath, ...process.execArgv, process.argv[1]!, ...args];
  if (process.env[CHANNEL_VARIABLE] === '1' && isOpen(CHANNEL_FD)) {
    const { runLuod } = await import('./luod-daemon.js');
    return runLuod({ dir, logLevel: values['log-level'], takenChannelFd: CHANNEL_FD, argv, kexec });
  }
  mkdirSync(dir, { recursive: true, mode: uid === 0 ? 0o755 : 0o700 });
  if (values.background) return startInBackground(dir, args);
  const { runKeeper } = await import('./keeper.js');
  const env = { ...process.env, LUO_DIR: dir, [CHANNEL_VARIABLE]: '1' };
  return runKeeper({ dir, luodArgv: argv, env, kexec: kexec.wanted });
}

/** A private luod must never take what belongs to the system's: the names of its sessions are the same on every machine. */
function kexecWanted(
  dir: string,
  uid: number | undefined,
  options: { readonly kexec: boolean; readonly 'no-kexec': boolean },
): { wanted: boolean; reason: string } {
  if (options['no-kexec']) return { wanted: false, reason: 'it was started with --no-kexec' };
  if (uid !== 0) return { wanted: false, reason: 'it does not run as root' };
  if (options.kexec || dir === SYSTEM_DIRECTORY) return { wanted: true, reason: '' };
  return { wanted: false, reason: `its directory is not ${SYSTEM_DIRECTORY}, and it was started without --kexec` };
}

try {
  process.exit(await main());
} catch (error) {
  const { code, message, remedy } = LuoError.from(error);
  process.stderr.write(`luod: ${message} [${code}]${remedy === undefined ? '' : `\n${remedy}`}\n`);
  process.exit(1);
}
