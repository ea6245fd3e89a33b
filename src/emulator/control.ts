/**
 * How `luoctl emulate kexec` reaches a running emulator: an abstract unix socket with its pid in the name, which leaves no file
 * behind however the emulator ends. Only its own user and root are heard. One request per connection: the word and a newline;
 * one answer: a JSON object and a newline, `{}` or `{ error }`.
 * Unhappy: the name is taken (by somebody who guessed it): the emulator runs without.
 */
import { readFileSync } from 'node:fs';
import { LuoError, type WireError } from '../base/errors.js';
import type { OwnedFd } from '../sys/index.js';
import {
  accept,
  eventLoop,
  getPeerCredentials,
  isSysError,
  read,
  unixConnect,
  unixListen,
  write,
  type Watch,
} from '../sys/index.js';

const NAME = 'luo-emulate.';
const askMs = 60_000;

function address(pid: number): string {
  return `\0${NAME}${pid}`;
}

/** Listens for the life of an emulator. */
export class ControlSocket {
  readonly #socket: OwnedFd;
  readonly #watch: Watch;
  readonly #clients = new Map<OwnedFd, Watch>();

  private constructor(takenSocket: OwnedFd, kexec: () => Promise<void>) {
    this.#socket = takenSocket;
    this.#watch = eventLoop().watch(takenSocket.fd, { readable: true, writable: false }, () => {
      const client = accept(takenSocket.fd);
      if (client !== undefined) this.#serve(client, kexec);
    });
  }

  /** Undefined: the name is taken, nobody can be heard. */
  static listen(kexec: () => Promise<void>): ControlSocket | undefined {
    try {
      return new ControlSocket(unixListen(address(process.pid)), kexec);
    } catch (error) {
      if (isSysError(error, 'EADDRINUSE')) return undefined;
      throw error;
    }
  }

  close(): void {
    this.#watch.close();
    this.#socket.close();
    for (const client of this.#clients.keys()) this.#end(client);
  }

  #serve(client: OwnedFd, kexec: () => Promise<void>): void {
    const { uid } = getPeerCredentials(client.fd);
    if (uid !== 0 && uid !== process.geteuid!()) return client.close();
    const watch = eventLoop().watch(client.fd, { readable: true, writable: false }, () => {
      // A request is one word: it comes in one piece, or whoever sends it is not luoctl.
      const word = readWord(client.fd);
      watch.close();
      if (word !== 'kexec\n') return this.#end(client);
      kexec().then(
        () => this.#answer(client, {}),
        (error: unknown) => this.#answer(client, { error: LuoError.from(error).toWire() }),
      );
    });
    this.#clients.set(client, watch);
  }

  #answer(client: OwnedFd, answer: { error?: WireError }): void {
    try {
      if (client.isOpen) write(client.fd, Buffer.from(`${JSON.stringify(answer)}\n`));
    } catch {
      // Whoever asked has gone: with the jump, if it was one of the programs.
    }
    this.#end(client);
  }

  #end(client: OwnedFd): void {
    this.#clients.get(client)?.close();
    this.#clients.delete(client);
    client.close();
  }
}

/** The pids of emulators in this network namespace. */
export function runningEmulators(): number[] {
  const names = readFileSync('/proc/net/unix', 'utf8').matchAll(/ @luo-emulate\.(\d+)$/gm);
  return [...new Set([...names].map((match) => Number(match[1])))].sort((a, b) => a - b);
}

/**
 * The emulator that is meant: `pid`, or the one around this process, or the only one there is.
 * @throws LuoError EMULATOR_UNKNOWN
 */
export function chooseEmulator(pid: number | undefined): number {
  const running = runningEmulators();
  if (pid !== undefined) {
    if (running.includes(pid)) return pid;
    throw new LuoError('EMULATOR_UNKNOWN', `process ${pid} is no emulator${listed(running)}`, { data: { running } });
  }
  const around = ancestors(process.pid).find((each) => running.includes(each));
  if (around !== undefined) return around;
  if (running.length === 1) return running[0]!;
  const message = running.length === 0 ? 'no emulator runs' : 'more than one emulator runs';
  throw new LuoError('EMULATOR_UNKNOWN', `${message}${listed(running)}`, { data: { running } });
}

function listed(running: readonly number[]): string {
  return running.length === 0 ? '' : `; these are: ${running.join(', ')}`;
}

function ancestors(pid: number): number[] {
  const found: number[] = [];
  for (let at = pid; at > 1 && found.length < 1000;) {
    try {
      at = Number(/^PPid:\s+(\d+)/m.exec(readFileSync(`/proc/${at}/status`, 'utf8'))?.[1] ?? 0);
    } catch {
      return found;
    }
    found.push(at);
  }
  return found;
}

/**
 * Ask the emulator `pid` for a simulated kexec; resolves when its next kernel has booted.
 * @throws LuoError as {@link Emulator.kexec}; EMULATOR_UNKNOWN nobody answers
 */
export async function askForKexec(pid: number): Promise<void> {
  let socket: OwnedFd;
  try {
    socket = unixConnect(address(pid));
  } catch (error) {
    throw new LuoError('EMULATOR_UNKNOWN', `no emulator answers as process ${pid}`, { cause: error });
  }
  try {
    write(socket.fd, Buffer.from('kexec\n'));
    const answer = await nextWord(socket.fd);
    if (answer === '') {
      throw new LuoError('EMULATOR_UNKNOWN', `the emulator ${pid} is another user's, or ended before it answered`);
    }
    const { error } = JSON.parse(answer) as { error?: WireError };
    if (error !== undefined) throw LuoError.fromWire(error);
  } finally {
    socket.close();
  }
}

function nextWord(fd: number): Promise<string> {
  return new Promise((resolve, reject) => {
    const done = (): void => {
      clearTimeout(timer);
      watch.close();
    };
    const watch = eventLoop().watch(fd, { readable: true, writable: false }, () => {
      done();
      resolve(readWord(fd));
    });
    const timer = setTimeout(() => {
      done();
      reject(
        new LuoError('EMULATOR_KEXEC', `the emulator has not answered within ${askMs} ms`, { errno: 'ETIMEDOUT' }),
      );
    }, askMs);
  });
}

/** Empty: the other end is closed. */
function readWord(fd: number): string {
  const bytes = Buffer.alloc(16 * 1024);
  try {
    return bytes.toString('utf8', 0, read(fd, bytes));
  } catch {
    return '';
  }
}
