// Goal: the program itself, as a process: its exit code, its real streams, fds and signals. Method: the built luoctl
// against the fake luod of this process.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess, type StdioOptions } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, mkdtempSync, openSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FakeLuod, NONE, WithFds } from './fake-luod.js';
import * as samples from './samples.js';

const program = fileURLToPath(new URL('../../src/bin/luoctl.js', import.meta.url));
const fake = await FakeLuod.start();
const folder = mkdtempSync(join(tmpdir(), 'luo-program-'));
after(() => {
  fake.close();
  rmSync(folder, { recursive: true });
});

function start(args: string[], stdio: StdioOptions = ['ignore', 'pipe', 'pipe']): ChildProcess {
  return spawn(process.execPath, [program, '--dir', fake.dir, ...args], { stdio });
}

async function ended(
  child: ChildProcess,
): Promise<{ code: number | null; signal: string | null; out: string; err: string }> {
  const text = { out: '', err: '' };
  child.stdout?.setEncoding('utf8').on('data', (piece: string) => (text.out += piece));
  child.stderr?.setEncoding('utf8').on('data', (piece: string) => (text.err += piece));
  const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
  return { code, signal, ...text };
}

test('the exit code of the process is that of the verb', async () => {
  fake.answers.update = () => samples.aborted;
  const { code, err } = await ended(start(['update', 'cache']));
  assert.equal(code, 3);
  assert.match(err, /SUCCESSOR_DIED/);
});

test('a content that comes through a pipe is kept whole', async () => {
  let size = 0;
  fake.answers.put = ({ fds }) => {
    size = fstatSync(fds[0]!.fd).size;
    return { type: 'memfd', sizeBytes: size };
  };
  const child = start(['put', 'keys', 'k'], ['pipe', 'pipe', 'pipe']);
  child.stdin!.end(Buffer.alloc(5_000_000));
  assert.equal((await ended(child)).code, 0);
  assert.equal(size, 5_000_000);
});

test('an fd of the caller is sent itself, and so is a file on standard input with --as-file', async () => {
  const path = join(folder, 'file');
  writeFileSync(path, 'content');
  const inode = statSync(path).ino;
  const seen: number[] = [];
  fake.answers.put = ({ fds }) => {
    seen.push(fstatSync(fds[0]!.fd).ino);
    return { type: 'file', sizeBytes: 7 };
  };
  const fd = openSync(path, 'r');
  try {
    assert.equal((await ended(start(['put', 'keys', 'k', '--fd', '3'], ['ignore', 'pipe', 'pipe', fd]))).code, 0);
    assert.equal((await ended(start(['put', 'keys', 'k', '--as-file'], [fd, 'pipe', 'pipe']))).code, 0);
  } finally {
    closeSync(fd);
  }
  assert.deepEqual(seen, [inode, inode]);
});

test('an fd that nobody gave, and that node took itself, is refused', async () => {
  fake.asked.length = 0;
  const { code, err } = await ended(start(['put', 'keys', 'k', '--fd', '3']));
  assert.equal(code, 2, err);
  assert.deepEqual(fake.asked, []);
});

test('--as-file of a pipe is a usage error', async () => {
  const child = start(['put', 'keys', 'k', '--as-file'], ['pipe', 'pipe', 'pipe']);
  const { code, err } = await ended(child);
  assert.equal(code, 2);
  assert.match(err, /is no file/);
});

test('a reader that has seen enough is no error', async () => {
  const path = join(folder, 'long.log');
  writeFileSync(path, 'line\n'.repeat(1_000_000));
  const log = openSync(path, 'r');
  fake.answers.logs = () => new WithFds({ path }, [log]);
  try {
    const child = start(['logs'], ['ignore', 'pipe', 'pipe']);
    child.stdout!.once('data', () => child.stdout!.destroy());
    const [code] = (await once(child, 'exit')) as [number];
    assert.equal(code, 0);
  } finally {
    closeSync(log);
  }
});

test('SIGINT cancels a running update, and the process ends by itself with exit code 3', async () => {
  fake.answers.update = ({ reply }) => {
    fake.answers.cancel = () => {
      reply.result(samples.aborted);
      return { stuck: [] };
    };
    child.kill('SIGINT');
    return NONE;
  };
  const child = start(['update', 'cache']);
  const { code, signal } = await ended(child);
  assert.deepEqual([code, signal], [3, null]);
});

test('SIGINT ends every other verb as it ends other programs', async () => {
  fake.answers.finish = () => {
    child.kill('SIGINT');
    return NONE;
  };
  const child = start(['finish']);
  assert.equal((await ended(child)).signal, 'SIGINT');
});
