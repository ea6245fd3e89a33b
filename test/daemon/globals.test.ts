// Goal: the service that runs the hooks is started by what depends on a hook, once, and by nothing else.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Globals } from '../../src/daemon/globals.js';
import type { Logger } from '../../src/daemon/logger.js';
import type { LuodParams } from '../../src/protocol/spec.js';

const COMMAND = { name: 'luo-globals', argv: ['globals'], cwd: '/', env: {} } satisfies LuodParams<'run'>;

function make(options: { known?: boolean; none?: boolean; fails?: boolean; acts?: () => boolean } = {}) {
  const started: string[] = [];
  const said: string[] = [];
  let done: () => void = () => undefined;
  const globals = new Globals({
    command: () => (options.none ? undefined : COMMAND),
    ownerOf: (service) => `0:${service}`,
    has: () => options.known === true,
    run: ({ name }) => {
      started.push(name);
      return new Promise((resolve, reject) => {
        done = options.fails ? () => reject(new Error('no such program')) : () => resolve(undefined);
      });
    },
    acts: options.acts ?? (() => true),
    waitMs: 1_000,
    log: { info: () => undefined, error: (_: unknown, words: string) => said.push(words) } as unknown as Logger,
  });
  return { globals, started, said, done: () => done() };
}

test('a dependency on a hook starts it once, and a plan waits for that', async () => {
  const { globals, started, done } = make();
  globals.needed(['0:app/fd:other', '0:luo-globals/global:sysctl']);
  globals.needed(['0:luo-globals/global:other']);
  assert.deepEqual(started, ['luo-globals']);
  let settled = false;
  const waiting = globals.settled().then(() => (settled = true));
  await new Promise((resolve) => setImmediate(resolve));
  assert.equal(settled, false);
  done();
  await waiting;
});

test('other dependencies, a service that is known already, and a machine without hooks start nothing', async () => {
  for (const [options, dependencies] of [
    [{}, ['0:app/fd:data', '0:app/device:0000:00:01.0', '0:app/global:own', '1000:luo-globals/global:sysctl']],
    [{ known: true }, ['0:luo-globals/global:sysctl']],
    [{ none: true }, ['0:luo-globals/global:sysctl']],
  ] as const) {
    const { globals, started } = make(options);
    globals.needed(dependencies);
    assert.deepEqual(started, []);
    await globals.settled();
  }
});

test('one that does not start is said to be that, and nobody waits for it', async () => {
  const { globals, said, done } = make({ fails: true });
  globals.needed(['0:luo-globals/global:sysctl']);
  done();
  await globals.settled();
  assert.match(said[0]!, /no such program/);
});

test('a process that was started and has not registered the hooks yet is waited for, and not for ever', async () => {
  let looks = 0;
  const soon = make({ acts: () => (looks += 1) > 3 });
  soon.globals.needed(['0:luo-globals/global:sysctl']);
  soon.done();
  await soon.globals.settled();
  assert.deepEqual([looks, soon.said], [4, []]);
  const never = make({ acts: () => false });
  never.globals.needed(['0:luo-globals/global:sysctl']);
  never.done();
  await never.globals.settled();
  assert.match(never.said[0]!, /has not registered the hooks/);
});
