/**
 * A private luod for a test: the built program in a directory of its own, and proof afterwards that nothing of it is
 * left. Everything that it starts carries `LUO_TEST_ID` with a random value in its environment, so that every descendant is
 * found through /proc, whoever its parent is by then.
 *
 * Happy path: `startLuod`, `luoctl(...)`, `stop()`, which resolves when the last descendant has ended.
 * Unhappy path: a luod that does not answer hello within the deadline is ended and its output is in the error; what does
 * not end by itself is killed, pid by pid, and named in the result of `stop`.
 * Never here: a process ended by its name; a port; anything outside of the temporary directory.
 */
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { closeSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { FaultPoint } from '../base/fault-points.js';
import { filesBelow, processesOf, readText, signal, type LeftoverProcess, type Leftovers } from './leftovers.js';

/** What a process does at a fault point. `delay 200`: milliseconds. */
export type FaultAction = 'kill' | 'stop' | `exit ${number}` | `delay ${number}`;

export interface StartLuodOptions {
  /** Added to the environment of luod; undefined removes a variable. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Armed before luod starts. */
  readonly faults?: Readonly<Partial<Record<FaultPoint, FaultAction>>>;
  /** Further arguments of luod. */
  readonly args?: readonly string[];
  /** In which luod must answer hello; default 30 s. */
  readonly deadlineMs?: number;
  /** In which everything must have ended after SIGTERM, before it is killed; default 30 s. */
  readonly stopMs?: number;
}

export interface Ran {
  /** null: it was killed by a signal, as after `timeoutMs`. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface LuoctlOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Its standard input; by default empty. */
  readonly stdin?: string | Uint8Array;
  /** After which luoctl is killed; default 60 s. */
  readonly timeoutMs?: number;
}

export interface Stopped {
  /** Of the process that was started, usually the keeper. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  /** What had to be killed because it did not end by itself: must be empty in a test that ends in good order. */
  readonly forced: readonly LeftoverProcess[];
  /** What lay in the directory when everything had ended. */
  readonly files: readonly string[];
}

export interface TestLuod {
  /** luod's directory (LUO_DIR); does not exist any more after `stop`. */
  readonly dir: string;
  /** A directory beside it for the test's own files; goes with `stop` too. */
  readonly scratch: string;
  /** Path of luod's socket. */
  readonly socket: string;
  /** The random value of LUO_TEST_ID. */
  readonly id: string;
  /** Pid of the process that `bin/luod` became. */
  readonly pid: number;
  /** The environment that makes any luo program use this luod. */
  readonly env: Readonly<Record<string, string>>;
  /** Run luoctl against it to its end. Never rejects because of an exit code. */
  luoctl(args: readonly string[], options?: LuoctlOptions): Promise<Ran>;
  /** Start luoctl against it without waiting; the caller ends it. */
  startLuoctl(args: readonly string[], options?: LuoctlOptions): ChildProcess;
  /** One process, the first to pass `point` from now on, does `action`; then it is disarmed. */
  arm(point: FaultPoint, action: FaultAction): void;
  disarm(point: FaultPoint): void;
  /** The fault points that were hit so far. */
  hits(): readonly { readonly point: string; readonly pid: number }[];
  /** True when somebody answers hello on the socket within `timeoutMs`. */
  answers(timeoutMs?: number): Promise<boolean>;
  /** What exists now that would have to be gone after the end of luod. */
  leftovers(): Leftovers;
  /** What luod and its keeper have written to stdout and stderr, and luod's log. */
  output(): string;
  /** SIGTERM, wait for the last descendant, remove the directory. A second call gives the same result. */
  stop(): Promise<Stopped>;
  [Symbol.asyncDispose](): Promise<void>;
}

const packageRoot = findPackageRoot(dirname(fileURLToPath(import.meta.url)));
const DEADLINE_MS = 30_000;
const POLL_MS = 20;

/**
 * Start the built luod in a directory of its own and wait until it answers hello.
 * @throws Error it ended or did not answer in time; its output is in the message, and nothing of it is left
 */
export async function startLuod(options: StartLuodOptions = {}): Promise<TestLuod> {
  const deadlineMs = options.deadlineMs ?? DEADLINE_MS;
  const id = randomBytes(8).toString('hex');
  const root = mkdtempSync(join(tmpdir(), `luo-test-${id}-`));
  const paths = { root, dir: join(root, 'luo'), scratch: join(root, 'scratch'), faults: join(root, 'faults') };
  for (const path of [paths.dir, paths.scratch, paths.faults]) mkdirSync(path, { mode: 0o700 });
  const env = environment(paths, id, options.env);
  for (const [point, action] of Object.entries(options.faults ?? {})) arm(paths.faults, point, action);

  const outputPath = join(root, 'output');
  const output = openSync(outputPath, 'a', 0o600);
  const child = spawn(join(packageRoot, 'bin/luod'), ['--dir', paths.dir, ...(options.args ?? [])], {
    cwd: root,
    env,
    stdio: ['ignore', output, output],
  });
  closeSync(output);
  const exited = new Promise<{ code: number | null; signal: NodeJS.Signals | null }>((resolve) => {
    child.once('exit', (code, signal) => resolve({ code, signal }));
    child.once('error', () => resolve({ code: null, signal: null }));
  });

  let stopping: Promise<Stopped> | undefined;
  const socket = join(paths.dir, 'luod.sock');
  const luod: TestLuod = {
    dir: paths.dir,
    scratch: paths.scratch,
    socket,
    id,
    pid: child.pid ?? -1,
    env: { LUO_DIR: paths.dir, LUO_TEST_ID: id, LUO_FAULT_DIR: paths.faults },
    luoctl: (args, runOptions = {}) => runToEnd(startLuoctl(env, paths.scratch, args, runOptions), runOptions),
    startLuoctl: (args, runOptions = {}) => startLuoctl(env, paths.scratch, args, runOptions),
    arm: (point, action) => arm(paths.faults, point, action),
    disarm: (point) => rmSync(join(paths.faults, point), { force: true }),
    hits: () => readHits(paths.faults),
    answers: (timeoutMs = 1000) => answersHello(socket, timeoutMs),
    leftovers: () => ({ processes: processesOf(id), files: filesBelow(paths.dir) }),
    output: () => readText(outputPath) + readText(join(paths.dir, 'logs', 'luod.log')),
    stop: () => (stopping ??= stop(child, exited, id, paths, options.stopMs ?? DEADLINE_MS)),
    [Symbol.asyncDispose]: async () => void (await luod.stop()),
  };

  let ended = false;
  void exited.then(() => (ended = true));
  const giveUpAt = performance.now() + deadlineMs;
  while (!(await luod.answers())) {
    if (ended || performance.now() > giveUpAt) {
      const text = luod.output();
      const stopped = await luod.stop();
      const how = ended ? `ended with ${stopped.code ?? stopped.signal}` : `did not answer within ${deadlineMs} ms`;
      throw new Error(`luod ${how}; its output:\n${text}`);
    }
    await sleep(POLL_MS);
  }
  return luod;
}

function environment(
  paths: { dir: string; faults: string },
  id: string,
  extra: Readonly<Record<string, string | undefined>> = {},
): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [key, value] of Object.entries(process.env)) if (!key.startsWith('LUO_')) env[key] = value;
  // A test run by Node's own runner must not make its children report to that runner.
  delete env['NODE_TEST_CONTEXT'];
  env['PATH'] = `${dirname(process.execPath)}${delimiter}${env['PATH'] ?? '/usr/bin:/bin'}`;
  env['LUO_DIR'] = paths.dir;
  env['LUO_FAULT_DIR'] = paths.faults;
  env['LUO_TEST_ID'] = id;
  env['TEST_ID_OF_LUO'] = id;
  return withOverrides(env, extra);
}

function withOverrides(env: NodeJS.ProcessEnv, extra: Readonly<Record<string, string | undefined>>): NodeJS.ProcessEnv {
  const merged = { ...env };
  for (const [key, value] of Object.entries(extra)) {
    if (value === undefined) delete merged[key];
    else merged[key] = value;
  }
  return merged;
}

function startLuoctl(
  env: NodeJS.ProcessEnv,
  scratch: string,
  args: readonly string[],
  options: LuoctlOptions,
): ChildProcess {
  const child = spawn(join(packageRoot, 'bin/luoctl'), args, {
    cwd: options.cwd ?? scratch,
    env: withOverrides(env, options.env ?? {}),
    stdio: [options.stdin === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  });
  // luoctl may end without reading all of its input: that is its good right, and no error of the test.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(options.stdin);
  return child;
}

async function runToEnd(child: ChildProcess, options: LuoctlOptions): Promise<Ran> {
  const chunks: { stdout: Buffer[]; stderr: Buffer[] } = { stdout: [], stderr: [] };
  child.stdout?.on('data', (chunk: Buffer) => chunks.stdout.push(chunk));
  child.stderr?.on('data', (chunk: Buffer) => chunks.stderr.push(chunk));
  const timer = setTimeout(() => child.kill('SIGKILL'), options.timeoutMs ?? 60_000);
  try {
    const [code] = (await once(child, 'close')) as [number | null];
    return { code, stdout: Buffer.concat(chunks.stdout).toString(), stderr: Buffer.concat(chunks.stderr).toString() };
  } finally {
    clearTimeout(timer);
  }
}

/** Renamed into place: the process that looks for it never sees it half written. */
function arm(faults: string, point: string, action: string): void {
  const temporary = join(faults, `.${point}`);
  writeFileSync(temporary, action);
  renameSync(temporary, join(faults, point));
}

function readHits(faults: string): { point: string; pid: number }[] {
  return readText(join(faults, 'hits'))
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => {
      const [point = '', pid = ''] = line.split(' ');
      return { point, pid: Number(pid) };
    });
}

/** A connection of its own each time, closed at once: the answer shows that luod reads its socket now. */
function answersHello(path: string, timeoutMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection(path);
    let text = '';
    const done = (answered: boolean): void => {
      socket.destroy();
      resolve(answered);
    };
    socket.setTimeout(timeoutMs, () => done(false));
    socket.on('error', () => done(false));
    socket.on('close', () => done(false));
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString();
      if (!text.includes('\n')) return;
      done(text.includes('"result"'));
    });
    const params = { protocol: [1], client: 'luo-testing', join: false };
    socket.on('connect', () => socket.write(`${JSON.stringify({ id: 1, method: 'hello', params })}\n`));
  });
}

async function stop(
  child: ChildProcess,
  exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>,
  id: string,
  paths: { root: string; dir: string },
  stopMs: number,
): Promise<Stopped> {
  const giveUpAt = performance.now() + stopMs;
  const asked = new Set<number>();
  while (processesOf(id).length > 0 && performance.now() < giveUpAt) {
    // Again in each turn: a luod that has just lost its keeper is starting another one.
    const keeper = currentKeeper(child, id, paths.dir);
    if (keeper !== undefined && !asked.has(keeper)) signal(keeper, 'SIGTERM');
    if (keeper !== undefined) asked.add(keeper);
    await sleep(POLL_MS);
  }
  const forced: LeftoverProcess[] = [];
  // What is killed may just have started something: look again until nothing is found.
  for (let found = processesOf(id); found.length > 0; found = processesOf(id)) {
    for (const each of found) {
      if (!forced.some((known) => known.pid === each.pid)) forced.push(each);
      signal(each.pid, 'SIGKILL');
    }
    await sleep(POLL_MS);
  }
  const { code, signal: by } = await exited;
  const files = filesBelow(paths.dir);
  rmSync(paths.root, { recursive: true, force: true });
  return { code, signal: by, forced, files };
}

/** The process to ask to end: the one that was started, or after its death the keeper that took its place. */
function currentKeeper(child: ChildProcess, id: string, dir: string): number | undefined {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) return child.pid;
  const pid = Number(readText(join(dir, 'keeper.pid')).trim());
  return processesOf(id).find((each) => each.pid === pid)?.pid;
}

function findPackageRoot(from: string): string {
  for (let dir = from; dir !== dirname(dir); dir = dirname(dir)) {
    try {
      const manifest = JSON.parse(readFileSync(join(dir, 'package.json'), 'utf8')) as { name?: unknown };
      if (manifest.name === 'luo') return dir;
    } catch {
      // No package.json here, or not ours: go on upwards.
    }
  }
  throw new Error(`no package 'luo' above '${from}'`);
}
