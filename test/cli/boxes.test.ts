// Goal: put and take move content and fds exactly, and never lose what could not be delivered.
import assert from 'node:assert/strict';
import { closeSync, mkdtempSync, openSync, readFileSync, readSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { LuoError } from '../../src/base/errors.js';
import { memfdCreate, write, type OwnedFd } from '../../src/sys/index.js';
import { FakeLuod, WithFds } from './fake-luod.js';
import { luoctl } from './luoctl.js';

const fake = await FakeLuod.start();
const folder = mkdtempSync(join(tmpdir(), 'luo-boxes-'));
after(() => {
  fake.close();
  rmSync(folder, { recursive: true });
});

/** What arrived with the last put. */
let received = '';
fake.answers.put = ({ fds }) => {
  const chunk = Buffer.alloc(4 * 1024 * 1024);
  const bytes = readSync(fds[0]!.fd, chunk, 0, chunk.length, 0);
  received = chunk.subarray(0, bytes).toString();
  return { type: 'memfd', sizeBytes: bytes };
};

function memfdOf(text: string): OwnedFd {
  const memfd = memfdCreate('test');
  write(memfd.fd, Buffer.from(text));
  return memfd;
}
/** Answers take with `fd`; counts how often it was taken out. */
function serve(fd: number, type = 'memfd'): { removed: number } {
  const counts = { removed: 0 };
  fake.answers.take = ({ params }) => {
    if ((params as { remove?: boolean }).remove) counts.removed += 1;
    return new WithFds({ type, sizeBytes: null, digest: null }, [fd]);
  };
  return counts;
}

test('put sends the content of standard input as memory', async () => {
  fake.asked.length = 0;
  const text = 'x'.repeat(3_000_000);
  const { code, out, err } = await luoctl(fake.dir, ['put', 'keys', 'k', '--replace'], { stdin: text });
  assert.equal(code, 0, err);
  assert.equal(out, 'keys/k: memfd, 2.9 MiB\n');
  assert.equal(received, text);
  assert.deepEqual(fake.asked, [{ method: 'put', params: { box: 'keys', name: 'k', replace: true }, fds: 1 }]);
});

test('put of nothing keeps an empty entry', async () => {
  assert.equal((await luoctl(fake.dir, ['put', 'keys', 'k'], { stdin: '' })).code, 0);
  assert.equal(received, '');
});

test('put --fd sends the caller’s own fd', async () => {
  const path = join(folder, 'own');
  writeFileSync(path, 'own file');
  const fd = openSync(path, 'r');
  try {
    const { code, err } = await luoctl(fake.dir, ['put', 'keys', 'k', '--fd', String(fd)]);
    assert.equal(code, 0, err);
    assert.equal(received, 'own file');
  } finally {
    closeSync(fd);
  }
});

test('a put that is refused is told with its code', async () => {
  const good = fake.answers.put!;
  fake.answers.put = () => {
    throw new LuoError('BOX_SEALED', 'the box keys is sealed');
  };
  const { code, err } = await luoctl(fake.dir, ['put', 'keys', 'k'], { stdin: 'x' });
  fake.answers.put = good;
  assert.equal(code, 1);
  assert.match(err, /BOX_SEALED, EPERM/);
});

test('take writes the whole content, whatever the offset of the shared fd, and leaves the entry in', async () => {
  using memfd = memfdOf('content');
  const counts = serve(memfd.fd);
  const { code, out } = await luoctl(fake.dir, ['take', 'keys', 'k']);
  assert.equal(code, 0);
  assert.equal(out, 'content');
  assert.equal(counts.removed, 0);
});

test('take --remove takes it out once it was written', async () => {
  using memfd = memfdOf('content');
  const counts = serve(memfd.fd);
  assert.equal((await luoctl(fake.dir, ['take', 'keys', 'k', '--remove'])).out, 'content');
  assert.equal(counts.removed, 1);
});

test('take --remove of a thing without content leaves it in and is a usage error', async () => {
  using memfd = memfdOf('');
  const counts = serve(memfd.fd, 'socket');
  const { code, err } = await luoctl(fake.dir, ['take', 'keys', 'k', '--remove']);
  assert.equal(code, 2);
  assert.match(err, /is a socket: .*--exec/);
  assert.equal(counts.removed, 0);
});

test('binary content is not written to a terminal, and stays in the box', async () => {
  using memfd = memfdOf('PK\u0003\u0004');
  const counts = serve(memfd.fd);
  const terminal = await luoctl(fake.dir, ['take', 'keys', 'k', '--remove'], { tty: true });
  assert.equal(terminal.code, 2);
  assert.match(terminal.err, /is binary.*> FILE/);
  assert.equal(terminal.out, '');
  assert.equal(counts.removed, 0);
  assert.equal((await luoctl(fake.dir, ['take', 'keys', 'k'])).out, 'PK\u0003\u0004');
});

test('text is written to a terminal', async () => {
  using memfd = memfdOf('zwölf\n\tdreizehn\r\n');
  serve(memfd.fd);
  assert.equal((await luoctl(fake.dir, ['take', 'keys', 'k'], { tty: true })).out, 'zwölf\n\tdreizehn\r\n');
});

test('take --exec gives the entry as fd 3 and ends as the command does', async () => {
  using memfd = memfdOf('content');
  const counts = serve(memfd.fd, 'socket');
  const target = join(folder, 'out');
  const command = `cat /proc/self/fd/3 > ${target}; exit 7`;
  const { code } = await luoctl(fake.dir, ['take', 'keys', 'k', '--remove', '--exec', command]);
  assert.equal(code, 7);
  assert.equal(readFileSync(target, 'utf8'), 'content');
  assert.equal(counts.removed, 1);
});

test('a command that a signal ends gives 128 and its number', async () => {
  using memfd = memfdOf('');
  serve(memfd.fd);
  assert.equal((await luoctl(fake.dir, ['take', 'keys', 'k', '--exec', 'kill -TERM $$'])).code, 128 + 15);
});

test('take --json describes the entry and does not mix its content in', async () => {
  using memfd = memfdOf('content');
  serve(memfd.fd);
  const { json } = await luoctl(fake.dir, ['take', 'keys', 'k', '--json']);
  assert.deepEqual(json(), [{ box: 'keys', name: 'k', type: 'memfd', sizeBytes: null, digest: null }]);
});

test('an unknown box is told with its code', async () => {
  fake.answers.take = () => {
    throw new LuoError('BOX_UNKNOWN', "there is no box 'nope'");
  };
  assert.match((await luoctl(fake.dir, ['take', 'nope', 'k'])).err, /BOX_UNKNOWN/);
});

test('neither put nor take nor a refusal leaves an fd open', async () => {
  using memfd = memfdOf('content');
  const open = (): number => readdirSync('/proc/self/fd').length;
  const round = async (): Promise<void> => {
    serve(memfd.fd);
    await luoctl(fake.dir, ['put', 'keys', 'k'], { stdin: 'x' });
    await luoctl(fake.dir, ['take', 'keys', 'k', '--remove']);
    await luoctl(fake.dir, ['take', 'keys', 'k', '--exec', 'true']);
    serve(memfd.fd, 'pipe');
    await luoctl(fake.dir, ['take', 'keys', 'k']);
    await luoctl(fake.dir, ['update']);
  };
  await round();
  const before = open();
  for (let times = 0; times < 5; times += 1) await round();
  // The fake's ends of the connections close when it has read their end.
  for (let turns = 0; turns < 200 && open() > before; turns += 1) await setTimeout(10);
  assert.ok(open() <= before, `${open()} fds are open, ${before} were`);
});
