/** One test's share of the contract: a backend under test, and the files and directory that the test uses. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LuoError } from '../../base/errors.js';
import type { Backend, Session } from '../../ports/index.js';
import * as sys from '../../sys/index.js';
import type { OwnedFd } from '../../sys/index.js';

/** A backend under test, fresh and empty. */
export interface ContractSubject {
  readonly backend: Backend;
  /** Cross the gap with everything: outgoing sessions become incoming. Gives the backend of the other side. */
  cross(): Promise<Backend>;
  /** Let go of everything that this subject holds, fds and processes. */
  end(): Promise<void>;
}

export type MakeSubject = () => Promise<ContractSubject>;

/** The run of the test that asks. */
export type Run = () => ContractRun;

/** Files and sessions of one test, closed after it whatever happens. */
export class ContractRun {
  backend: Backend;
  readonly #subject: ContractSubject;
  readonly #owned: { close(): void }[] = [];
  readonly directory = mkdtempSync(join(tmpdir(), 'luo-contract-'));

  constructor(subject: ContractSubject) {
    this.#subject = subject;
    this.backend = subject.backend;
  }

  own<T extends { close(): void }>(file: T): T {
    this.#owned.push(file);
    return file;
  }

  /** A memfd with `text` in it, its position at the end. */
  memfd(text = ''): OwnedFd {
    const file = this.own(sys.memfdCreate('contract'));
    if (text !== '') sys.write(file.fd, Buffer.from(text));
    return file;
  }

  async retrieve(session: Session, token: bigint): Promise<number> {
    return this.own(await session.retrieve(token)).fd;
  }

  async cross(): Promise<Backend> {
    this.backend = await this.#subject.cross();
    return this.backend;
  }

  async end(): Promise<void> {
    for (const file of this.#owned) file.close();
    rmSync(this.directory, { recursive: true, force: true });
    await this.#subject.end();
  }
}

/** The content of a file, whatever its position. */
export function contentOf(fd: number): string {
  const buffer = Buffer.alloc(sys.fstat(fd).sizeBytes);
  const count = sys.pread(fd, buffer, 0);
  return buffer.subarray(0, count).toString();
}

/** The line `name: value` that the kernel shows of an open fd. */
export function fdinfoOf(fd: number, name: string): string {
  const lines = readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8').split('\n');
  return lines
    .find((line) => line.startsWith(`${name}:`))!
    .slice(name.length + 1)
    .trim();
}

/** The promise is refused with exactly this errno of the kernel. */
export async function refuses(promise: Promise<unknown>, errno: string): Promise<void> {
  await assert.rejects(promise, (error: unknown) => {
    assert.ok(error instanceof LuoError, `a LuoError, not ${String(error)}`);
    assert.deepEqual([error.code, error.errno], ['SYS', errno]);
    return true;
  });
}

/** A number that no test process has open. */
export const NO_FD = 1_000_000;
