/** What the tests of the built luod share: one luod per file, requests as luoctl or as a raw peer, and waiting for facts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { LuoError } from '../../src/base/errors.js';
import {
  LUOD_METHODS,
  MEMBER_CALLS,
  type LuodMethod,
  type LuodParams,
  type LuodResult,
  type ServiceStatus,
  type Status,
} from '../../src/protocol/spec.js';
import type { OwnedFd } from '../../src/sys/index.js';
import { connectPeer, type Peer, type RequestHandler } from '../../src/transport/index.js';
import { startLuod, type StartLuodOptions, type TestLuod } from '../../src/testing/index.js';

export const root = join(dirname(fileURLToPath(import.meta.url)), '../../..');
export const echo = join(root, 'examples/sd-notify/echo.py');

/** Path of a built program of test/integration/programs. */
export function program(name: string): string {
  return join(root, 'dist/test/integration/programs', `${name}.js`);
}

const WAIT_MS = 30_000;

/** Resolves with the first truthy value of `look`; `what` is in the error if there is none for long. */
export async function until<T>(
  what: string,
  look: () => T | Promise<T>,
  waitMs = WAIT_MS,
): Promise<Exclude<T, false | null | undefined>> {
  const end = performance.now() + waitMs;
  for (;;) {
    const value = await look();
    if (value !== undefined && value !== null && value !== false) return value as Exclude<T, false | null | undefined>;
    if (performance.now() > end) assert.fail(`waited ${waitMs} ms for: ${what}`);
    await sleep(20);
  }
}

/** A luod that must end in good order: nothing left behind, nothing that had to be killed. */
export async function withLuod(use: (luod: TestLuod) => Promise<void>, options: StartLuodOptions = {}): Promise<void> {
  const luod = await startLuod(options);
  try {
    await use(luod);
  } catch (error) {
    process.stderr.write(`${luod.output().split('\n').slice(-25).join('\n')}\n`);
    await luod.stop();
    throw error;
  }
  const stopped = await luod.stop();
  assert.deepEqual(stopped.forced, [], 'everything ends by itself');
  assertNothingLeft(stopped.files);
}

/** Only logs may stay. */
export function assertNothingLeft(files: readonly string[]): void {
  assert.deepEqual(
    files.filter((path) => path !== 'logs' && !path.startsWith('logs/')),
    [],
    'no file but logs is left',
  );
}

/** luoctl with --json: its last line, and its exit code as expected. */
export async function json<T = Record<string, unknown>>(
  luod: TestLuod,
  args: readonly string[],
  code = 0,
  options: Parameters<TestLuod['luoctl']>[1] = {},
): Promise<T> {
  const at = args.indexOf('--');
  const words = at < 0 ? [...args, '--json'] : [...args.slice(0, at), '--json', ...args.slice(at)];
  const ran = await luod.luoctl(words, options);
  assert.equal(ran.code, code, `luoctl ${args.join(' ')}: ${ran.stdout}${ran.stderr}`);
  return JSON.parse(ran.stdout.trim().split('\n').at(-1)!) as T;
}

/** A raw connection to luod; `hello` is up to the caller. */
export function connect(luod: TestLuod, onRequest?: RequestHandler): Promise<Peer> {
  return connectPeer(luod.socket, {
    calls: LUOD_METHODS,
    serves: MEMBER_CALLS,
    waitMs: WAIT_MS,
    ...(onRequest ? { onRequest } : {}),
  });
}

/** One request over `peer`, typed. */
export async function ask<M extends LuodMethod>(
  peer: Peer,
  method: M,
  params: LuodParams<M>,
  fds: readonly number[] = [],
): Promise<LuodResult<M> & { fds?: OwnedFd[] }> {
  const { result, fds: got } = await peer.request<LuodResult<M>>(method, params, { fds, deadlineMs: WAIT_MS });
  return got.length > 0 ? { ...result, fds: got } : result;
}

/** A connection that said hello as an operator. */
export async function operator(luod: TestLuod): Promise<Peer> {
  const peer = await connect(luod);
  await ask(peer, 'hello', { protocol: [1], client: 'test', join: false });
  return peer;
}

/** Run `use` with an operator's connection. */
export async function asOperator<T>(luod: TestLuod, use: (peer: Peer) => Promise<T>): Promise<T> {
  const peer = await operator(luod);
  try {
    return await use(peer);
  } finally {
    peer.close();
  }
}

/** Status; asked again while luod is being replaced. */
export async function status(luod: TestLuod): Promise<Status> {
  return until('a status', async () => {
    try {
      return await asOperator(luod, (peer) => ask(peer, 'status', {}));
    } catch (error) {
      if (error instanceof LuoError && ['PROTO_CLOSED', 'LUOD_UNREACHABLE'].includes(error.code)) return undefined;
      throw error;
    }
  });
}

export async function service(luod: TestLuod, name: string): Promise<ServiceStatus> {
  const found = (await status(luod)).services.find((each) => each.name === name);
  assert.ok(found, `service '${name}' is known`);
  return found;
}

/** `run` over a raw connection: a shell script as a service, ready at once unless told otherwise. */
export async function run(
  luod: TestLuod,
  name: string,
  script: string,
  more: Partial<LuodParams<'run'>> = {},
): Promise<ServiceStatus> {
  return asOperator(luod, async (peer) => {
    const { service: started } = await ask(peer, 'run', {
      name,
      argv: ['/bin/sh', '-c', script],
      cwd: luod.scratch,
      env: { PATH: process.env['PATH'] ?? '/usr/bin:/bin' },
      readyCheck: 'true',
      ...more,
    });
    return started;
  });
}

/** Assert that a promise is rejected with this code; gives the error. */
export async function refused(promise: Promise<unknown>, code: string): Promise<LuoError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof LuoError, String(error));
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail(`was not refused with ${code}`);
}

/** SIGKILL for luod; resolves when another one answers. */
export async function killLuod(luod: TestLuod): Promise<Status> {
  const { luod: before } = await status(luod);
  process.kill(before.pid, 'SIGKILL');
  return until('another luod', async () => {
    const now = await status(luod);
    return now.luod.pid !== before.pid && now;
  });
}

export function isAlive(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+Z/m.test(read(`/proc/${pid}/status`));
}

/** Open descriptors of a process. */
export function fdCount(pid: number): number {
  return readdirSync(`/proc/${pid}/fd`).length;
}

/** Empty for what is not there. */
export function read(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

export const hasPython = ((): boolean => {
  try {
    execFileSync('python3', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();
