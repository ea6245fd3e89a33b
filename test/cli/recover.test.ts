// Goal: recover gives the operator's word, and where nobody is left to hear it, it says what is dead and brings luod back, but never
// beside a keeper that lives, and never where nothing was left. Method: folders as dead luods leave them, and a luod by script.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { LuoError } from '../../src/base/errors.js';
import { isKeeperAlive, isLeftBehind } from '../../src/cli/remains.js';
import { FakeLuod } from './fake-luod.js';
import { luoctl } from './luoctl.js';
import * as samples from './samples.js';

const fake = await FakeLuod.start();
after(() => fake.close());

async function inFolder(files: Record<string, string>, use: (dir: string) => Promise<void>): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), 'luo-recover-'));
  try {
    for (const [name, text] of Object.entries(files)) writeFileSync(join(dir, name), text);
    await use(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

/** The number of a process that has ended. */
async function deadPid(): Promise<number> {
  const child = spawn('true');
  await once(child, 'exit');
  return child.pid!;
}

test('where keeper and luod died, luod is started and then asked; the result is its', async () => {
  fake.answers.recover = () => ({ stuck: [], state: 'normal', lost: ['0:a/fd:one'] });
  fake.vanish();
  writeFileSync(join(fake.dir, 'journal'), 'x');
  writeFileSync(join(fake.dir, 'keeper.pid'), `${await deadPid()}\n`);
  const started: string[] = [];
  const startLuod = (dir: string): Promise<void> => {
    started.push(dir);
    return fake.listen();
  };
  const { code, out, err } = await luoctl(fake.dir, ['recover'], { startLuod });
  assert.deepEqual(started, [fake.dir]);
  assert.equal(code, 0, err);
  assert.equal(out, 'state normal\nlost: 0:a/fd:one\n');
  assert.match(err, /are dead; starting a luod/);
});

test('a luod that cannot be started is an error that says why, with exit code 4', async () => {
  await inFolder({ journal: 'x' }, async (dir) => {
    const startLuod = (): Promise<void> => Promise.reject(new LuoError('LUOD_UNREACHABLE', 'it is damaged'));
    const { code, err } = await luoctl(dir, ['recover'], { startLuod });
    assert.equal(code, 4);
    assert.match(err, /it is damaged/);
  });
});

test('nothing is started where nothing was left, nor beside a keeper that lives, nor when luod answers', async () => {
  await inFolder({}, async (dir) => assert.equal((await luoctl(dir, ['recover'])).code, 4));
  const keeper = spawn('/bin/sh', ['-c', 'printf luo-keeper > /proc/$$/comm; read line'], {
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  await once(keeper, 'spawn');
  try {
    await inFolder({ journal: 'x', 'keeper.pid': `${keeper.pid}\n` }, async (dir) => {
      let told = '';
      // The name is there as soon as the shell has run its first command.
      for (let tries = 0; tries < 200 && !told.includes('keeper lives'); tries += 1) {
        const { code, err } = await luoctl(dir, ['recover'], { startLuod: () => Promise.resolve() });
        assert.equal(code, 4);
        told = err;
      }
      assert.match(told, /its keeper lives/);
    });
  } finally {
    keeper.stdin!.end();
    await once(keeper, 'exit');
  }
  fake.answers.recover = () => ({ stuck: [], state: 'normal' });
  assert.equal((await luoctl(fake.dir, ['recover'])).out, 'state normal\n');
});

test('a keeper that has ended is dead, although nobody has asked for its status yet', async () => {
  // The parent of the ended one becomes a program that never asks.
  const ended = `sh -c 'printf luo-keeper > /proc/$$/comm; read -r _'`;
  const commands = `exec 3<&0; ${ended} <&3 & echo $!; exec sleep 60 3<&-`;
  const parent = spawn('/bin/sh', ['-c', commands], { stdio: ['pipe', 'pipe', 'ignore'] });
  const pid = Number(String(((await once(parent.stdout!, 'data')) as [Buffer])[0]));
  try {
    const isSleep = (): boolean => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n';
    for (let tries = 0; tries < 500 && !isSleep(); tries += 1) await setTimeout(10);
    parent.stdin!.end();
    const state = (): string => readFileSync(`/proc/${pid}/stat`, 'utf8');
    for (let tries = 0; tries < 500 && !state().includes(') Z '); tries += 1) await setTimeout(10);
    assert.match(state(), /\(luo-keeper\) Z /);
    await inFolder({ journal: 'x', 'keeper.pid': `${pid}\n` }, async (dir) => {
      assert.equal(isKeeperAlive(dir), false);
      assert.equal(isLeftBehind(dir), true);
    });
  } finally {
    parent.kill('SIGKILL');
    await once(parent, 'exit');
  }
});

test('status names what is lost, and what makes it silent', async () => {
  fake.answers.status = () => ({ ...samples.status, lost: ['box/notes', '0:a/fd:one'] });
  const { out } = await luoctl(fake.dir, ['status']);
  assert.match(out, /lost +box\/notes, 0:a\/fd:one; luoctl recover/);
});
