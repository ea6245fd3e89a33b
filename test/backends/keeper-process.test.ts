// Goal: the contract holds over a real keeper, a process of its own. Method: one keeper for the whole suite, adopted over
// a socketpair as luod would; every case leaves it empty, which is asked of it; behind every gap a new backend object.
import assert from 'node:assert/strict';
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { HandoverBackend } from '../../src/backends/handover/index.js';
import { eventfd, socketpair } from '../../src/sys/index.js';
import { backendContract } from '../../src/testing/backend-contract.js';
import { KeeperClient } from '../../src/transport/index.js';

const KEEPER = join(dirname(fileURLToPath(import.meta.url)), '../../src/bin/keeper.js');
const OWNER = '0:luod';

interface KeeperProcess {
  readonly dir: string;
  readonly child: ChildProcess;
  readonly client: KeeperClient;
}

let running: KeeperProcess | undefined;

async function keeperProcess(): Promise<KeeperProcess> {
  if (running !== undefined) return running;
  const dir = mkdtempSync(join(tmpdir(), 'luo-keeper-'));
  const [ours, theirs] = socketpair();
  const args = [KEEPER, '--dir', dir, '--adopt', '--', process.execPath, '-e', ''];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'inherit', theirs.fd] });
  theirs.close();
  running = { dir, child, client: new KeeperClient(ours, { deadlineMs: 20_000 }) };
  await running.client.list();
  return running;
}

after(async () => {
  if (running === undefined) return;
  const { client, child, dir } = running;
  // Not by `shutdown`: a keeper that ends in good order ends its luod too, which is this process.
  const ended = once(child, 'exit');
  child.kill('SIGKILL');
  await ended;
  client.close();
  rmSync(dir, { recursive: true, force: true });
});

backendContract('handover, a keeper process', async () => {
  const keeper = (await keeperProcess()).client;
  let backend = await HandoverBackend.open({ keeper, owner: OWNER });
  return {
    backend,
    cross: async () => {
      await backend.cross();
      backend.close();
      backend = await HandoverBackend.open({ keeper, owner: OWNER });
      return backend;
    },
    end: async () => {
      backend.close();
      await keeper.drop({ prefix: 'session/' });
      assert.deepEqual((await keeper.list()).entries, []);
    },
  };
});

test('the keeper holds exactly what the sessions hold, and nothing after their close', async () => {
  const { client: keeper, child } = await keeperProcess();
  const fdsOfKeeper = (): number => readdirSync(`/proc/${child.pid}/fd`).length;
  await keeper.list();
  const before = fdsOfKeeper();
  const backend = await HandoverBackend.open({ keeper, owner: OWNER });
  const session = await backend.create('many');
  const files = Array.from({ length: 400 }, () => eventfd());
  await Promise.all(files.map((file, index) => session.preserve(file.fd, BigInt(index))));
  await keeper.list();
  assert.equal(fdsOfKeeper() - before, 400);
  await session.close();
  await keeper.list();
  assert.equal(fdsOfKeeper(), before);
  for (const file of files) file.close();
  backend.close();
});
