// Goal: scripts and units can follow luod by its files: one marker at every instant, every file whole, nothing stale. Method:
// a tight loop of readdir and inotify beside updates, kills and a shutdown of the built luod.
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { IN } from '../../src/abi/linux.js';
import { inotifyAddWatch, inotifyInit, inotifyRead, memfdCreate, type InotifyEvent } from '../../src/sys/index.js';
import type { TestLuod } from '../../src/testing/index.js';
import { ask, connect, json, killLuod, read, run, status, until, withLuod } from './harness.js';

/** Looks at DIR all the time from a thread of its own, until it is told to stop. */
function watchMarkers(dir: string): { stop: () => Promise<{ looks: number; wrong: string[]; seen: string[] }> } {
  const worker = new Worker(
    `const { parentPort, workerData: dir } = require('node:worker_threads');
     const { readdirSync, readFileSync } = require('node:fs');
     let looks = 0, wrong = [], seen = new Set(), done = false;
     parentPort.on('message', () => (done = true));
     const turn = () => {
       for (let n = 0; n < 50; n += 1) {
         const markers = readdirSync(dir).filter((name) => name.startsWith('in-'));
         looks += 1;
         if (markers.length !== 1) wrong.push(markers.join() || 'none');
         seen.add(markers[0]);
         const word = readFileSync(dir + '/state', 'utf8');
         if (!/^(normal|prepared|frozen|updated)\\n$/.test(word)) wrong.push('state ' + JSON.stringify(word));
       }
       if (done) { parentPort.postMessage({ looks, wrong, seen: [...seen] }); parentPort.close(); }
       else setTimeout(turn, 1);
     };
     turn();`,
    { eval: true, workerData: dir },
  );
  return {
    stop: () =>
      new Promise((resolve, reject) => {
        worker.once('message', resolve);
        worker.once('error', reject);
        worker.postMessage('stop');
      }),
  };
}

const shown = (luod: TestLuod, name: string): string => read(join(luod.dir, name));

test('there is exactly one marker at every instant: in updates, prepared, cancelled, killed, replaced', () =>
  withLuod(async (luod) => {
    await run(luod, 'a', 'exec sleep 1000');
    const markers = watchMarkers(luod.dir);
    await json(luod, ['update', 'a']);
    await json(luod, ['prepare', 'a']);
    await until('the marker', () => readdirSync(luod.dir).includes('in-prepared'));
    assert.equal(shown(luod, 'state'), 'prepared\n');
    await killLuod(luod);
    await until('normal again', () => shown(luod, 'state') === 'normal\n');
    await json(luod, ['prepare', 'a']);
    await json(luod, ['cancel']);
    await json(luod, ['update', 'luod']);
    const { looks, wrong, seen } = await markers.stop();
    assert.deepEqual(wrong, [], `${looks} looks`);
    assert.ok(looks > 1000);
    assert.ok(seen.includes('in-normal') && seen.includes('in-prepared'), seen.join());
    console.log(`# looked ${looks} times, one marker each time: ${seen.join(', ')}`);
  }));

test('files are renamed into place, never written where they stand, as inotify tells', () =>
  withLuod(async (luod) => {
    await run(luod, 'a', 'exec sleep 1000');
    const queue = inotifyInit();
    inotifyAddWatch(queue.fd, luod.dir, IN.MODIFY | IN.MOVED_TO | IN.CREATE | IN.DELETE);
    await json(luod, ['prepare', 'a']);
    await until('prepared', () => shown(luod, 'state') === 'prepared\n');
    await json(luod, ['cancel']);
    await until('normal', () => shown(luod, 'state') === 'normal\n');
    const events: InotifyEvent[] = [];
    for (let got = inotifyRead(queue.fd); got.length > 0; got = inotifyRead(queue.fd)) events.push(...got);
    queue.close();
    const names = (mask: number): string[] => events.filter((one) => one.mask & mask).map((one) => one.name);
    for (const file of ['state', 'phase', 'in-prepared', 'in-normal'])
      assert.equal(names(IN.MODIFY | IN.CREATE).includes(file), false, `${file} is not written in place`);
    assert.ok(names(IN.MOVED_TO).includes('state'));
    assert.deepEqual(
      names(IN.MOVED_TO).filter((name) => name.startsWith('in-')),
      ['in-prepared', 'in-normal'],
    );
  }));

test('handles and participants have a file each while they exist, under names of any kind', () =>
  withLuod(async (luod) => {
    const peer = await connect(luod);
    const names = ['plain', 'with space', 'ü🚀', 'n'.repeat(200), '..'];
    const { owner } = await ask(peer, 'hello', { protocol: [1], client: 't', join: true, service: 'raw 🚀' });
    const memfd = memfdCreate('m');
    const handles = names.map((name) => ({ kind: 'fd' as const, name, compatible: 'x/1', fds: 1 }));
    await ask(
      peer,
      'register',
      { handles },
      names.map(() => memfd.fd),
    );
    memfd.close();
    const files = (folder: string): string[] => readdirSync(join(luod.dir, folder));
    await until('five files', () => files('handles').filter((name) => !name.endsWith('.new')).length === names.length);
    const told = files('handles').map((name) => JSON.parse(shown(luod, `handles/${name}`)) as { handle: string });
    assert.deepEqual(told.map((one) => one.handle).sort(), names.map((name) => `${owner}/fd:${name}`).sort());
    await until('one file', () => files('participants').filter((name) => !name.endsWith('.new')).length === 1);
    await ask(peer, 'unregister', { kind: 'fd', name: 'plain' });
    await until('four files', () => files('handles').length === names.length - 1);
    peer.close();
    await until('no files', () => files('handles').length === 0 && files('participants').length === 0);
  }));

test('the generation counts commits, also over a killed luod, and not what was rolled back', () =>
  withLuod(async (luod) => {
    // The check takes longer than a broken version lives.
    await run(luod, 'a', 'exec sleep 1000', { readyCheck: 'sleep 0.3' });
    assert.equal(shown(luod, 'generation'), '0\n');
    await json(luod, ['update', 'a']);
    await until('generation 1', () => shown(luod, 'generation') === '1\n');
    assert.equal((await luod.luoctl(['update', 'a', '--', 'sh', '-c', 'exit 1'])).code, 3);
    await killLuod(luod);
    assert.equal((await status(luod)).generation, Number(shown(luod, 'generation')));
    assert.equal(shown(luod, 'generation'), '1\n');
    await json(luod, ['update', 'a']);
    await until('one more', () => shown(luod, 'generation') === '2\n');
    // The generation counts from the commit on; the update may take a while yet.
    await until('no phase', () => shown(luod, 'phase') === '-\n');
    assert.equal(readFileSync(join(luod.dir, 'luod.pid'), 'utf8').trim(), String((await status(luod)).luod.pid));
  }));
