// Goal: what was put into a box comes out of it, the same, whatever happened to luod and keeper meanwhile; a sealed box does
// not change. Method: luoctl for content, raw connections for fds; luod and keeper killed between put and take.
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { PROT } from '../../src/abi/linux.js';
import { LIMITS } from '../../src/base/limits.js';
import { Mapping, eventfd, memfdCreate, openFile, pipe, pread, pwrite, read, write } from '../../src/sys/index.js';
import { startLuod, type TestLuod } from '../../src/testing/index.js';
import { asOperator, ask, assertNothingLeft, fdCount, json, killLuod, refused, status, until } from './harness.js';

let luod: TestLuod;
before(async () => {
  luod = await startLuod();
});
after(async () => {
  const stopped = await luod.stop();
  assert.deepEqual(stopped.forced, []);
  assertNothingLeft(stopped.files);
});

const sha256 = (content: Uint8Array): string => createHash('sha256').update(content).digest('hex');

async function put(box: string, name: string, content: string | Uint8Array, more: string[] = []): Promise<void> {
  const ran = await luod.luoctl(['put', box, name, ...more], { stdin: content });
  assert.equal(ran.code, 0, ran.stderr);
}

function discard(box: string): Promise<unknown> {
  return json(luod, ['discard', '--box', box]);
}

test('content goes in and comes out, byte by byte, also none and much', async () => {
  for (const content of ['', 'one line\n', randomBytes(3_000_000).toString('base64')]) {
    await put('b', 'content', content, ['--replace']);
    const taken = await luod.luoctl(['take', 'b', 'content']);
    assert.equal(taken.stdout, content);
  }
  const { boxes } = await json<{ boxes: { box: string; entries: { name: string; type: string }[] }[] }>(luod, ['list']);
  assert.deepEqual(
    boxes.map(({ box, entries }) => [box, entries.map(({ name, type }) => `${name}:${type}`)]),
    [['b', ['content:memfd']]],
  );
  await discard('b');
});

test('an entry of that name is refused unless it is to be replaced, and take --remove empties the box', async () => {
  await put('b', 'n', 'first');
  const again = await luod.luoctl(['put', 'b', 'n'], { stdin: 'second' });
  assert.equal(again.code, 1);
  assert.match(again.stderr, /HANDLE_EXISTS/);
  assert.equal((await luod.luoctl(['take', 'b', 'n', '--remove'])).stdout, 'first');
  assert.match((await luod.luoctl(['take', 'b', 'n'])).stderr, /BOX_UNKNOWN/);
  assert.deepEqual((await status(luod)).boxes, []);
});

test('what is not there is refused by name', async () => {
  await asOperator(luod, async (peer) => {
    await refused(ask(peer, 'take', { box: 'none', name: 'n' }), 'BOX_UNKNOWN');
    await refused(ask(peer, 'seal', { box: 'none' }), 'BOX_UNKNOWN');
    await refused(ask(peer, 'discard', { box: 'none' }), 'BOX_UNKNOWN');
    assert.deepEqual((await ask(peer, 'list', { box: 'none' })).boxes, []);
    await refused(ask(peer, 'put', { box: 'b', name: 'n' }), 'PROTO_FDS');
  });
});

test('a file can be kept as itself: its later content is what is taken', async () => {
  const path = join(luod.scratch, 'file');
  writeFileSync(path, 'before');
  const ran = await luod.luoctl(['put', 'b', 'f', '--fd', '900'], {});
  assert.equal(ran.code, 2, 'an fd that was not given is a mistake of the command line');
  await asOperator(luod, async (peer) => {
    const file = openFile(path, 0o2000000);
    const { type } = await ask(peer, 'put', { box: 'b', name: 'f' }, [file.fd]);
    assert.equal(type, 'file');
    file.close();
  });
  writeFileSync(path, 'after');
  assert.equal((await luod.luoctl(['take', 'b', 'f'])).stdout, 'after');
  await discard('b');
});

test('fds of any kind go in and out as the same open thing', async () => {
  await asOperator(luod, async (peer) => {
    const [reader, writer] = pipe();
    const counter = eventfd(0);
    await ask(peer, 'put', { box: 'fds', name: 'w' }, [writer.fd]);
    await ask(peer, 'put', { box: 'fds', name: 'e' }, [counter.fd]);
    writer.close();
    const { type, fds } = await ask(peer, 'take', { box: 'fds', name: 'w', remove: true });
    assert.equal(type, 'pipe');
    write(fds![0]!.fd, Buffer.from('through the box'));
    fds![0]!.close();
    const buffer = Buffer.alloc(100);
    assert.equal(buffer.toString('utf8', 0, read(reader.fd, buffer)), 'through the box');
    assert.equal((await ask(peer, 'take', { box: 'fds', name: 'e' })).fds?.[0]?.close(), undefined);
    reader.close();
    counter.close();
  });
  const shown = await luod.luoctl(['take', 'fds', 'e']);
  assert.equal(shown.code, 2, 'an eventfd has no content');
  const inShell = await luod.luoctl(['take', 'fds', 'e', '--exec', 'readlink /proc/self/fd/3']);
  assert.match(inShell.stdout, /eventfd/);
  await discard('fds');
});

test('a sealed box tells the sha256 of each content, and nothing goes in or out any more', async () => {
  const content = randomBytes(300_000);
  await put('s', 'big', content);
  await put('s', 'empty', '');
  const { entries } = await json<{ entries: { name: string; digest: string }[] }>(luod, ['seal', 's']);
  assert.deepEqual(
    entries.map(({ name, digest }) => [name, digest]).sort(),
    [
      ['big', sha256(content)],
      ['empty', sha256(Buffer.alloc(0))],
    ].sort(),
  );
  assert.match((await luod.luoctl(['put', 's', 'new'], { stdin: 'x' })).stderr, /BOX_SEALED/);
  assert.match((await luod.luoctl(['put', 's', 'big', '--replace'], { stdin: 'x' })).stderr, /BOX_SEALED/);
  assert.match((await luod.luoctl(['take', 's', 'big', '--remove'])).stderr, /BOX_SEALED/);
  const again = await json<{ entries: unknown[] }>(luod, ['seal', 's']);
  assert.equal(again.entries.length, 2, 'sealed twice is sealed');
  await asOperator(luod, async (peer) => {
    const { fds, digest } = await ask(peer, 'take', { box: 's', name: 'big' });
    assert.equal(digest, sha256(content));
    assert.throws(() => pwrite(fds![0]!.fd, Buffer.from('x'), 0), { errnoName: 'EPERM' });
    fds![0]!.close();
  });
  await discard('s');
});

test('an entry that somebody has mapped for writing refuses the seal; unmapped it is sealed', async () => {
  const memfd = memfdCreate('mapped');
  pwrite(memfd.fd, Buffer.alloc(4096, 1), 0);
  const mapping = Mapping.map({ fd: memfd.fd, sizeBytes: 4096, protection: PROT.READ | PROT.WRITE });
  await asOperator(luod, async (peer) => {
    await ask(peer, 'put', { box: 'm', name: 'one' }, [memfd.fd]);
    const error = await refused(ask(peer, 'seal', { box: 'm' }), 'HANDLE_BUSY');
    assert.match(error.message, /mapped for writing/);
    assert.equal((await ask(peer, 'list', {})).boxes[0]?.sealed, false);
    mapping.unmap();
    assert.equal((await ask(peer, 'seal', { box: 'm' })).entries[0]?.digest, sha256(Buffer.alloc(4096, 1)));
  });
  memfd.close();
  await discard('m');
});

test('a box is full at its limit, which is named', async () => {
  await asOperator(luod, async (peer) => {
    const memfd = memfdCreate('m');
    await Promise.all(
      Array.from({ length: 200 }, (_, n) => ask(peer, 'put', { box: 'full', name: `n${n}` }, [memfd.fd])),
    );
    for (let n = 200; n < LIMITS.boxEntriesMax; n += 100) {
      const count = Math.min(100, LIMITS.boxEntriesMax - n);
      await Promise.all(
        Array.from({ length: count }, (_, m) => ask(peer, 'put', { box: 'full', name: `n${n + m}` }, [memfd.fd])),
      );
    }
    const error = await refused(ask(peer, 'put', { box: 'full', name: 'more' }, [memfd.fd]), 'LIMIT_REACHED');
    assert.equal(error.data?.['limit'], 'boxEntriesMax');
    memfd.close();
  });
  await discard('full');
});

test('boxes, sealed and open, survive a killed luod, an update of luod, and a killed keeper', async () => {
  const content = randomBytes(100_000);
  await put('kept', 'sealed', content);
  await json(luod, ['seal', 'kept']);
  await put('open', 'n', 'changes');
  const check = async (): Promise<void> => {
    const now = await status(luod);
    assert.deepEqual(now.boxes, [
      { box: 'kept', entries: 1, sealed: true },
      { box: 'open', entries: 1, sealed: false },
    ]);
    await asOperator(luod, async (peer) => {
      const { fds, digest } = await ask(peer, 'take', { box: 'kept', name: 'sealed' });
      const buffer = Buffer.alloc(content.length);
      pread(fds![0]!.fd, buffer, 0);
      fds![0]!.close();
      assert.equal(sha256(buffer), digest);
      assert.equal(digest, sha256(content));
    });
    assert.equal((await luod.luoctl(['take', 'open', 'n'])).stdout, 'changes');
    assert.match((await luod.luoctl(['put', 'kept', 'x'], { stdin: 'x' })).stderr, /BOX_SEALED/);
  };
  await check();
  await killLuod(luod);
  await check();
  await json(luod, ['update', 'luod']);
  await check();
  const { keeper, luod: before } = await status(luod);
  process.kill(keeper.pid, 'SIGKILL');
  await until('another keeper and another luod', async () => {
    const now = await status(luod);
    return now.keeper.pid !== keeper.pid && now.luod.pid !== before.pid;
  });
  await check();
  await discard('kept');
  await discard('open');
});

test('putting and taking leaves no descriptor behind in luod and keeper', async () => {
  await put('w', 'n', 'warm');
  await discard('w');
  const { luod: own, keeper } = await status(luod);
  const counts = (): number[] => [fdCount(own.pid), fdCount(keeper.pid)];
  // The connection of that status may still be open in luod: wait for rest.
  const before = await until('rest', async () => {
    const one = counts();
    await new Promise((resolve) => setTimeout(resolve, 200));
    return String(one) === String(counts()) && one;
  });
  for (let round = 0; round < 5; round += 1) {
    await put('w', 'n', 'x', ['--replace']);
    await luod.luoctl(['put', 'w', 'n'], { stdin: 'refused' });
    await luod.luoctl(['take', 'w', 'n']);
    await json(luod, ['seal', 'w']);
    await discard('w');
  }
  await until(`the counts ${before.join()}`, () => String(counts()) === String(before), 5000);
  assert.equal(readFileSync(join(luod.dir, 'state'), 'utf8'), 'normal\n');
});
