// Goal: the handover backend keeps the contract, tells the keeper in the order of the calls, and loses nothing when the
// keeper or luod itself dies. Method: the contract suite, with a new backend object (a new luod) behind every gap; then
// each death and each refusal apart.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import type { HandoverSession } from '../../src/backends/handover/index.js';
import { HandoverBackend } from '../../src/backends/handover/index.js';
import type { Session } from '../../src/ports/index.js';
import { eventfd, memfdCreate, pwrite, type OwnedFd } from '../../src/sys/index.js';
import { backendContract } from '../../src/testing/backend-contract.js';
import { contentOf, refuses } from '../../src/testing/contract/run.js';
import { FakeKeeper } from './fake-keeper.js';

const OWNER = '0:luod';

backendContract('handover, a keeper in this process', async () => {
  const keeper = new FakeKeeper();
  let backend = await HandoverBackend.open({ keeper, owner: OWNER });
  return {
    backend,
    cross: async () => {
      await backend.cross();
      // The other side is another program: it knows what the keeper knows.
      backend.close();
      backend = await HandoverBackend.open({ keeper, owner: OWNER });
      return backend;
    },
    end: async () => {
      backend.close();
      keeper.close();
    },
  };
});

/** A backend on a fake keeper, both ended afterwards. */
async function using_<T>(body: (backend: HandoverBackend, keeper: FakeKeeper) => Promise<T>): Promise<void> {
  const keeper = new FakeKeeper();
  const backend = await HandoverBackend.open({ keeper, owner: OWNER });
  try {
    await body(backend, keeper);
  } finally {
    backend.close();
    keeper.close();
  }
}

function file(text: string): OwnedFd {
  const made = memfdCreate('handover');
  pwrite(made.fd, Buffer.from(text), 0);
  return made;
}

function byName<T extends { name: string }>(entries: readonly T[]): T[] {
  return [...entries].sort((a, b) => (a.name < b.name ? -1 : 1));
}

async function content(session: Session, token: bigint): Promise<string> {
  const back = await session.retrieve(token);
  try {
    return contentOf(back.fd);
  } finally {
    back.close();
  }
}

suite('what the keeper is told', () => {
  test('a message for each call, sent in the turn of the call', async () => {
    await using_(async (backend, keeper) => {
      const session = await backend.create('a');
      using one = file('1');
      using two = file('2');
      keeper.sent.length = 0;
      const first = session.preserve(one.fd, 1n);
      const second = session.preserve(two.fd, 2n);
      const closed = session.close();
      assert.deepEqual(keeper.sent, ['putMany 1', 'putMany 1', 'drop session/a/1/']);
      await Promise.all([first, second, closed]);
      assert.equal(keeper.entries.size, 0);
      assert.equal(backend.heldCount, 0);
    });
  });

  test('many fds go in one message, all of them or none', async () => {
    await using_(async (backend, keeper) => {
      const session = (await backend.create('a')) as HandoverSession;
      const files = Array.from({ length: 300 }, (_, index) => eventfd(index + 1));
      keeper.sent.length = 0;
      await session.preserveMany(
        files.map((each) => each.fd),
        files.map((_, index) => BigInt(index)),
      );
      assert.deepEqual(keeper.sent, ['putMany 300']);
      await refuses(session.preserveMany([files[0]!.fd, files[1]!.fd], [500n, 501n]), 'EBUSY');
      using fresh = eventfd(1);
      await refuses(session.preserveMany([fresh.fd, files[1]!.fd], [500n, 501n]), 'EBUSY');
      assert.equal(backend.heldCount, 300);
      await session.preserve(fresh.fd, 500n);
      for (const each of files) each.close();
    });
  });

  test('finish drops the files and keeps the session, close drops the session', async () => {
    await using_(async (backend, keeper) => {
      using one = file('1');
      await (await backend.create('a')).preserve(one.fd, 1n);
      await backend.cross();
      const session = await backend.retrieve('a');
      await session.finish();
      assert.deepEqual([...keeper.entries.keys()], ['session/a/1/']);
      await session.close();
      assert.deepEqual([...keeper.entries.keys()], []);
    });
  });

  test('sessions whose names begin alike do not touch each other', async () => {
    await using_(async (backend) => {
      const session = await backend.create('a');
      using kept = file('kept');
      await (await backend.create('a/1')).preserve(kept.fd, 1n);
      await (await backend.create('ab')).close();
      await session.close();
      await backend.cross();
      assert.equal(await content(await backend.retrieve('a/1'), 1n), 'kept');
    });
  });
});

suite('refusals of the keeper', () => {
  test('its limit is ENOSPC, names the limit, and leaves token and file free', async () => {
    await using_(async (backend, keeper) => {
      const session = await backend.create('a');
      using one = file('1');
      keeper.fdsMax = 0;
      await assert.rejects(
        session.preserve(one.fd, 1n),
        (error: { errno?: string; data?: Record<string, unknown> }) => {
          assert.equal(error.errno, 'ENOSPC');
          assert.equal(error.data?.['limit'], 'keeperOwnerFdsMax');
          return true;
        },
      );
      assert.equal(backend.heldCount, 0);
      keeper.fdsMax = 1;
      await session.preserve(one.fd, 1n);
    });
  });

  test('a refused preserve of a session that was closed meanwhile changes nothing more', async () => {
    await using_(async (backend, keeper) => {
      const session = await backend.create('a');
      using one = file('1');
      keeper.fdsMax = 0;
      const refused = refuses(session.preserve(one.fd, 1n), 'ENOSPC');
      await session.close();
      await refused;
      await backend.create('a');
      assert.equal(backend.heldCount, 0);
    });
  });

  test('a session that the keeper refused does not exist', async () => {
    await using_(async (backend, keeper) => {
      keeper.lost = true;
      await assert.rejects(backend.create('a'), { code: 'KEEPER_LOST' });
      keeper.lost = false;
      await backend.create('a');
    });
  });
});

suite('death of luod', () => {
  test('a new backend finds outgoing, waiting and retrieved sessions with their files', async () => {
    const keeper = new FakeKeeper();
    const old = await HandoverBackend.open({ keeper, owner: OWNER });
    using outgoing = file('outgoing');
    using waiting = file('waiting');
    using retrieved = file('retrieved');
    await (await old.create('waiting')).preserve(waiting.fd, 7n);
    await (await old.create('retrieved')).preserve(retrieved.fd, 7n);
    await old.cross();
    await old.retrieve('retrieved');
    await (await old.create('outgoing')).preserve(outgoing.fd, 7n);
    old.close();

    const backend = await HandoverBackend.open({ keeper, owner: OWNER });
    assert.deepEqual(backend.waiting(), ['waiting']);
    const sessions = await backend.recover();
    assert.deepEqual(
      sessions.map((session) => `${session.direction} ${session.name}`),
      ['incoming retrieved', 'outgoing outgoing'],
    );
    assert.equal(await content(sessions[0]!, 7n), 'retrieved');
    await refuses(sessions[1]!.preserve(waiting.fd, 8n), 'EBUSY');
    await refuses(sessions[1]!.preserve(outgoing.fd, 8n), 'EBUSY');
    await refuses(backend.create('outgoing'), 'EEXIST');
    await refuses(backend.retrieve('retrieved'), 'EINVAL');
    assert.equal(await content(await backend.retrieve('waiting'), 7n), 'waiting');
    backend.close();
    keeper.close();
  });

  test('tokens keep their order over a restart, and new sessions get new entries', async () => {
    const keeper = new FakeKeeper();
    const old = await HandoverBackend.open({ keeper, owner: OWNER });
    const files = Array.from({ length: 5 }, (_, index) => file(`${index}`));
    const session = await old.create('a');
    for (const [index, each] of files.entries()) await session.preserve(each.fd, BigInt(100 - index));
    old.close();
    const backend = await HandoverBackend.open({ keeper, owner: OWNER });
    await backend.create('b');
    assert.ok(keeper.entries.has('session/b/2/'));
    await backend.cross(['a']);
    const incoming = await backend.retrieve('a');
    for (const index of files.keys()) assert.equal(await content(incoming, BigInt(100 - index)), `${index}`);
    for (const each of files) each.close();
    backend.close();
    keeper.close();
  });

  test('a crossing that was cut in the middle is finished by crossing again', async () => {
    const keeper = new FakeKeeper();
    const old = await HandoverBackend.open({ keeper, owner: OWNER });
    for (const name of ['a', 'b', 'c']) await old.create(name);
    await old.cross(['a']);
    old.close();
    const backend = await HandoverBackend.open({ keeper, owner: OWNER });
    await backend.cross();
    assert.deepEqual(backend.waiting().sort(), ['a', 'b', 'c']);
    backend.close();
    keeper.close();
  });

  test('entries of a newer version and damaged ones are left alone and named', async () => {
    const keeper = new FakeKeeper();
    using one = file('1');
    const names = ['session/new/1/', 'session/x/1/zz', 'session/%E0%A4%A/1/', 'session/orphan/9/0000000000000001'];
    await keeper.put({ name: names[0]!, owner: OWNER, meta: { v: 2 } }, []);
    for (const name of names.slice(1)) await keeper.put({ name, owner: OWNER, meta: { v: 1 } }, [one.fd]);
    const backend = await HandoverBackend.open({ keeper, owner: OWNER });
    assert.deepEqual([...backend.unread].sort(), [...names].sort());
    assert.deepEqual(await backend.recover(), []);
    assert.equal(keeper.entries.size, 4);
    backend.close();
    keeper.close();
  });

  test('a keeper that is lost while everything is read leaves no fd open here', async () => {
    const keeper = new FakeKeeper();
    const old = await HandoverBackend.open({ keeper, owner: OWNER });
    for (const name of ['a', 'b']) {
      using one = file(name);
      await (await old.create(name)).preserve(one.fd, 1n);
    }
    old.close();
    const getMany = keeper.getMany;
    let calls = 0;
    keeper.getMany = (names) => {
      calls += 1;
      if (calls === 2) keeper.lost = true;
      return getMany(names);
    };
    const { readdirSync } = await import('node:fs');
    const before = readdirSync('/proc/self/fd').length;
    await assert.rejects(HandoverBackend.open({ keeper, owner: OWNER }), { code: 'KEEPER_LOST' });
    assert.equal(readdirSync('/proc/self/fd').length, before);
    keeper.close();
  });
});

suite('death of the keeper', () => {
  test('a new keeper is refilled from the copies here: nothing is missing', async () => {
    const keeper = new FakeKeeper();
    const backend = await HandoverBackend.open({ keeper, owner: OWNER });
    using one = file('1');
    using two = file('2');
    const outgoing = await backend.create('out');
    await outgoing.preserve(one.fd, 1n);
    await (await backend.create('in')).preserve(two.fd, 2n);
    await backend.cross(['in']);
    const before = await keeper.list();
    keeper.lost = true;
    keeper.close();

    const next = new FakeKeeper();
    await backend.refill(next);
    assert.deepEqual(byName((await next.list()).entries), byName(before.entries));
    using three = file('3');
    await outgoing.preserve(three.fd, 3n);
    backend.close();
    const other = await HandoverBackend.open({ keeper: next, owner: OWNER });
    assert.equal(await content(await other.retrieve('in'), 2n), '2');
    await other.cross(['out']);
    assert.equal(await content(await other.retrieve('out'), 3n), '3');
    other.close();
    next.close();
  });

  test('a preserve while it is gone is KEEPER_LOST and undone; a retrieve works from the copy here', async () => {
    await using_(async (backend, keeper) => {
      using one = file('1');
      await (await backend.create('a')).preserve(one.fd, 1n);
      await backend.cross();
      const session = await backend.create('next');
      keeper.lost = true;
      using two = file('2');
      await assert.rejects(session.preserve(two.fd, 1n), { code: 'KEEPER_LOST' });
      const incoming = await backend.retrieve('a');
      assert.equal(await content(incoming, 1n), '1');
      const next = new FakeKeeper();
      await backend.refill(next);
      await session.preserve(two.fd, 1n);
      const again = await HandoverBackend.open({ keeper: next, owner: OWNER });
      assert.deepEqual(again.waiting(), [], 'the retrieve is remembered by the next keeper');
      again.close();
      next.close();
    });
  });

  test('a session that was closed while it was gone does not come back', async () => {
    await using_(async (backend, keeper) => {
      const session = await backend.create('a');
      keeper.lost = true;
      await assert.rejects(session.close(), { code: 'KEEPER_LOST' });
      const next = new FakeKeeper();
      await backend.refill(next);
      assert.equal(next.entries.size, 0);
      await backend.create('a');
      next.close();
    });
  });
});
