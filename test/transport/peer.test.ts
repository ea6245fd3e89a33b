/**
 * Goal: a request ends exactly once, whatever happens to it, and no fd is lost on the way. Method: two peers in one process, or
 * one opposite a bare socket that says what it should not.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Type } from '@sinclair/typebox';
import { LuoError } from '../../src/base/errors.js';
import { LIMITS } from '../../src/base/limits.js';
import type { MethodSpec } from '../../src/protocol/spec.js';
import { closeAll, fstat, memfdCreate, socketpair } from '../../src/sys/index.js';
import { Peer, deadlines, type PeerOptions, type RequestHandler, type Responder } from '../../src/transport/index.js';
import { leakCheck, rejectsWith, until, withMemfd } from './support.js';

leakCheck();

interface Pair {
  readonly asking: Peer;
  readonly answering: Peer;
}

async function withPair(
  onRequest: RequestHandler,
  use: (pair: Pair) => Promise<void>,
  options: { asking?: PeerOptions; answering?: PeerOptions } = {},
): Promise<void> {
  const [a, b] = socketpair();
  const pair = { asking: new Peer(a, options.asking), answering: new Peer(b, { ...options.answering, onRequest }) };
  try {
    await use(pair);
  } finally {
    pair.asking.close();
    pair.answering.close();
    await Promise.all([pair.asking.closed, pair.answering.closed]);
  }
}

const echo: RequestHandler = (method, params, fds, reply) => {
  reply.result(
    { method, params },
    fds.map((owned) => owned.fd),
  );
  closeAll(fds);
};

test('a request is answered, with the fds of both ways', () =>
  withPair(echo, async ({ asking }) => {
    const memfd = memfdCreate('x');
    const { result, fds } = await asking.request('m', { a: 1 }, { fds: [memfd.fd, memfd.fd] });
    assert.deepEqual(result, { method: 'm', params: { a: 1 } });
    assert.equal(fds.length, 2);
    assert.equal(fstat(fds[1]!.fd).ino, fstat(memfd.fd).ino);
    closeAll([memfd, ...fds]);
  }));

test('1,000 fds go in one request and come back in one reply', () =>
  withPair(echo, async ({ asking }) => {
    await withMemfd(async (fd) => {
      const { fds } = await asking.request('m', null, { fds: new Array<number>(1000).fill(fd) });
      assert.equal(fds.length, 1000);
      closeAll(fds);
    });
  }));

test('both ends ask at the same time', () =>
  withPair(echo, async ({ asking, answering }) => {
    asking.onRequest(echo);
    const answers = await Promise.all([asking.request('there', 1), answering.request('back', 2)]);
    assert.deepEqual(
      answers.map((answer) => answer.result),
      [
        { method: 'there', params: 1 },
        { method: 'back', params: 2 },
      ],
    );
  }));

test('pipelined requests find their own answers, in whatever order these come', () => {
  const waiting: { value: unknown; reply: Responder }[] = [];
  return withPair(
    (_method, params, _fds, reply) => {
      waiting.push({ value: params, reply });
      if (waiting.length === 50) for (const { value, reply } of waiting.reverse()) reply.result(value);
    },
    async ({ asking, answering }) => {
      const answers = await Promise.all(Array.from({ length: 50 }, (_, index) => asking.request('m', index)));
      assert.deepEqual(
        answers.map((answer) => answer.result),
        Array.from({ length: 50 }, (_, index) => index),
      );
      assert.equal(answering.openRequests, 0);
      assert.equal(asking.pendingRequests, 0);
    },
  );
});

test('an error travels with its code, its place and its data', () =>
  withPair(
    (_method, _params, _fds, reply) =>
      reply.error(new LuoError('HANDLE_BUSY', 'busy', { handle: '0:a/fd:b', data: { by: 7 } })),
    async ({ asking }) => {
      const error = await rejectsWith(asking.request('m', {}), 'HANDLE_BUSY');
      assert.equal(error.handle, '0:a/fd:b');
      assert.deepEqual(error.data, { by: 7 });
      assert.equal(error.errno, 'EBUSY');
    },
  ));

for (const [how, handler] of [
  ['throws', () => assert.fail('broken')],
  ['is rejected', () => Promise.reject(new Error('broken'))],
] as [string, RequestHandler][]) {
  test(`a handler that ${how} answers INTERNAL and its fds are closed`, () =>
    withPair(handler, async ({ asking }) => {
      await withMemfd(async (fd) => {
        await rejectsWith(asking.request('m', {}, { fds: [fd] }), 'INTERNAL');
      });
      assert.equal(asking.isOpen, true);
    }));
}

test('an answer that JSON cannot write is INTERNAL, not silence', () => {
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  return withPair(
    (_method, _params, _fds, reply) => reply.result(cyclic),
    async ({ asking }) => {
      await rejectsWith(asking.request('m', {}), 'INTERNAL');
      await assert.rejects(asking.request('m', cyclic), { name: 'TypeError' });
      assert.equal(asking.pendingRequests, 0);
    },
  );
});

test('only the first answer counts', () =>
  withPair(
    (_method, _params, _fds, reply) => {
      reply.result(1);
      reply.result(2);
      reply.error(new Error('3'));
      reply.progress(4);
      assert.equal(reply.isDone, true);
    },
    async ({ asking }) => {
      const seen: unknown[] = [];
      assert.equal((await asking.request('m', {}, { onProgress: (data) => seen.push(data) })).result, 1);
      assert.equal((await asking.request('m', {})).result, 1);
      assert.deepEqual(seen, []);
    },
  ));

test('progress comes before the answer and to its own request', () =>
  withPair(
    (_method, params, _fds, reply) => {
      reply.progress(`${String(params)}-1`);
      reply.progress(`${String(params)}-2`);
      reply.result(null);
    },
    async ({ asking }) => {
      const seen: unknown[][] = [[], []];
      await Promise.all([0, 1].map((n) => asking.request('m', n, { onProgress: (data) => seen[n]!.push(data) })));
      assert.deepEqual(seen, [
        ['0-1', '0-2'],
        ['1-1', '1-2'],
      ]);
    },
  ));

test('a request without an answer ends at its deadline, and leaves none behind', () => {
  const pending = deadlines.pending;
  return withPair(
    () => {},
    async ({ asking }) => {
      await rejectsWith(asking.request('m', {}, { deadlineMs: 20 }), 'PROTO_TIMEOUT');
      assert.equal(asking.pendingRequests, 0);
      assert.equal(deadlines.pending, pending);
    },
  );
});

test('an answered request leaves no deadline behind', () => {
  const pending = deadlines.pending;
  return withPair(echo, async ({ asking }) => {
    await asking.request('m', {}, { deadlineMs: 60_000 });
    assert.equal(deadlines.pending, pending);
  });
});

test('a late answer is dropped, its fds are closed, and the connection goes on', () => {
  let late: Responder | undefined;
  return withPair(
    (method, params, fds, reply) => {
      if (late !== undefined) return echo(method, params, fds, reply);
      late = reply;
    },
    async ({ asking }) => {
      await rejectsWith(asking.request('slow', {}, { deadlineMs: 10 }), 'PROTO_TIMEOUT');
      await withMemfd((fd) => late?.result('too late', [fd, fd]));
      assert.deepEqual((await asking.request('next', 1)).result, { method: 'next', params: 1 });
    },
  );
});

test('an aborted request is rejected with the reason, also when it was aborted before', () =>
  withPair(
    () => {},
    async ({ asking }) => {
      const controller = new AbortController();
      const running = asking.request('m', {}, { signal: controller.signal });
      controller.abort(new Error('enough'));
      await assert.rejects(running, { message: 'enough' });
      await assert.rejects(asking.request('m', {}, { signal: controller.signal }), { message: 'enough' });
      assert.equal(asking.pendingRequests, 0);
    },
  ));

test('when the other end goes, every open request ends with PROTO_CLOSED, and so does the next', () =>
  withPair(
    () => {},
    async ({ asking, answering }) => {
      const open = [asking.request('a', {}), asking.request('b', {}, { deadlineMs: 60_000 })];
      await until(() => answering.openRequests === 2, 'both');
      answering.close();
      for (const request of open) await rejectsWith(request, 'PROTO_CLOSED');
      assert.equal((await asking.closed)?.code, 'PROTO_CLOSED');
      await rejectsWith(asking.request('c', {}), 'PROTO_CLOSED');
    },
  ));

test('closing our own end ends our requests too', () =>
  withPair(
    () => {},
    async ({ asking }) => {
      const open = asking.request('a', {});
      asking.close();
      await rejectsWith(open, 'PROTO_CLOSED');
      assert.equal(await asking.closed, undefined);
    },
  ));

test('answering after the other end went does nothing', () => {
  const replies: Responder[] = [];
  return withPair(
    (_method, _params, _fds, reply) => void replies.push(reply),
    async ({ asking, answering }) => {
      const open = asking.request('a', {});
      await until(() => replies.length === 1, 'the request');
      asking.close();
      await rejectsWith(open, 'PROTO_CLOSED');
      await answering.closed;
      assert.equal(replies[0]!.isDone, true);
      replies[0]!.result(1);
    },
  );
});

test('more open requests than allowed are refused by the limit’s name, the others go on', () => {
  const replies: Responder[] = [];
  return withPair(
    (_method, _params, fds, reply) => {
      closeAll(fds);
      replies.push(reply);
    },
    async ({ asking }) => {
      await withMemfd(async (fd) => {
        const open = Array.from({ length: 3 }, () => asking.request('m', {}, { fds: [fd] }));
        const error = await rejectsWith(open[2]!, 'LIMIT_REACHED');
        assert.equal(error.data?.['limit'], 'requestsMax');
        for (const reply of replies) reply.result('ok');
        assert.equal((await open[0]!).result, 'ok');
        assert.equal((await open[1]!).result, 'ok');
        const again = asking.request('m', {});
        await until(() => replies.length === 3, 'room again');
        replies[2]!.result('again');
        assert.equal((await again).result, 'again');
      });
    },
    {
      answering: { requestsMax: 2 },
    },
  );
});

// ------------------------------------------------------------------------------------------------ with a spec

const table: Record<string, MethodSpec> = {
  plain: {
    doc: '',
    access: 'any',
    params: Type.Object({ n: Type.Number() }),
    result: Type.Object({ n: Type.Number() }),
  },
  take: { doc: '', access: 'any', params: Type.Object({}), result: Type.Object({}), fdsIn: 1 },
  give: { doc: '', access: 'any', params: Type.Object({}), result: Type.Object({}), fdsOut: 1 },
};
const specified = { asking: { calls: table }, answering: { serves: table } };

test('what does not fit the spec never reaches the handler', () =>
  withPair(
    () => assert.fail('reached'),
    async ({ asking }) => {
      const error = await rejectsWith(asking.request('plain', { n: 'x' }), 'PROTO_INVALID');
      assert.equal(error.data?.['path'], '/n');
      await rejectsWith(asking.request('nonsense', {}), 'PROTO_UNKNOWN_METHOD');
      await rejectsWith(asking.request('constructor', {}), 'PROTO_UNKNOWN_METHOD');
      await rejectsWith(asking.request('take', {}), 'PROTO_FDS');
      await withMemfd(async (fd) => {
        await rejectsWith(asking.request('plain', { n: 1 }, { fds: [fd] }), 'PROTO_FDS');
        await rejectsWith(asking.request('take', {}, { fds: [fd, fd] }), 'PROTO_FDS');
      });
      assert.equal(asking.isOpen, true);
    },
    specified,
  ));

test('an answer that does not fit the spec is an error here, and its fds are closed', () =>
  withPair(
    (method, _params, fds, reply) => {
      closeAll(fds);
      const memfd = memfdCreate('x');
      if (method === 'plain') reply.result({ n: 'x' });
      else reply.result({}, method === 'give' ? [memfd.fd, memfd.fd] : [memfd.fd]);
      memfd.close();
    },
    async ({ asking }) => {
      await rejectsWith(asking.request('plain', { n: 1 }), 'PROTO_INVALID');
      await rejectsWith(asking.request('give', {}), 'PROTO_FDS');
      await withMemfd((fd) => rejectsWith(asking.request('take', {}, { fds: [fd] }), 'PROTO_FDS').then(() => {}));
      await rejectsWith(asking.request('unknown to us', {}), 'PROTO_UNKNOWN_METHOD');
    },
    specified,
  ));

test('events are told, checked if they are known, and their fds are ours', async () => {
  const events: [string, unknown, number][] = [];
  await withPair(
    echo,
    async ({ asking, answering }) => {
      answering.event('dropped before a handler is there', 1);
      await asking.request('m', {});
      asking.onEvent((name, data, fds) => {
        events.push([name, data, fds.length]);
        closeAll(fds);
      });
      await withMemfd((fd) => answering.event('known', { n: 1 }, [fd]));
      answering.event('other', 'anything');
      await until(() => events.length === 2, 'both');
      assert.deepEqual(events, [
        ['known', { n: 1 }, 1],
        ['other', 'anything', 0],
      ]);
      answering.event('known', { n: 'x' });
      assert.equal((await asking.closed)?.code, 'PROTO_INVALID');
    },
    { asking: { events: { known: Type.Object({ n: Type.Number() }) } } },
  );
});

// ------------------------------------------------------------------------------------------------ what no receiver takes

test('a message that no receiver would take is refused here, and the connection goes on', () =>
  withPair(echo, async ({ asking }) => {
    const long = await rejectsWith(asking.request('m', 'x'.repeat(LIMITS.lineBytesMax)), 'LIMIT_REACHED');
    assert.equal(long.data?.['limit'], 'lineBytesMax');
    await withMemfd(async (fd) => {
      const many = await rejectsWith(
        asking.request('m', 1, { fds: new Array<number>(LIMITS.messageFdsMax + 1).fill(fd) }),
        'LIMIT_REACHED',
      );
      assert.equal(many.data?.['limit'], 'messageFdsMax');
    });
    assert.deepEqual((await asking.request('m', 1)).result, { method: 'm', params: 1 });
  }));

test('an answer that is too long is an error to the asker', () =>
  withPair(
    (_method, _params, _fds, reply) => reply.result('x'.repeat(LIMITS.lineBytesMax)),
    async ({ asking }) => {
      const error = await rejectsWith(asking.request('m', {}), 'LIMIT_REACHED');
      assert.equal(error.data?.['limit'], 'lineBytesMax');
    },
  ));

test('3 MiB of text in one message arrive', () =>
  withPair(echo, async ({ asking }) => {
    const text = 'é'.repeat(1024 * 1024 + 512 * 1024);
    const { result } = await asking.request<{ params: string }>('m', text);
    assert.equal(result.params, text);
  }));

async function opposite(lines: string, onRequest?: RequestHandler): Promise<LuoError | undefined> {
  const [raw, ours] = socketpair();
  const peer = new Peer(ours, onRequest === undefined ? {} : { onRequest });
  const { sendBytes } = await import('../../src/sys/index.js');
  sendBytes(raw.fd, Buffer.from(lines));
  const reason = await peer.closed;
  raw.close();
  return reason;
}

test('an answer to a question that was never asked ends the connection', async () => {
  assert.equal((await opposite('{"re":5,"result":1}\n'))?.code, 'PROTO_INVALID');
});

test('the number of an open request used again ends the connection', async () => {
  const twice = '{"id":1,"method":"m"}\n'.repeat(2);
  assert.equal((await opposite(twice, () => {}))?.code, 'PROTO_INVALID');
});

test('a peer that has no handler refuses every request', async () => {
  const [a, b] = socketpair();
  const asking = new Peer(a);
  const silent = new Peer(b);
  await rejectsWith(asking.request('m', {}), 'PROTO_UNKNOWN_METHOD');
  asking.close();
  await silent.closed;
  await asking.closed;
});

test('a paused peer answers when it is resumed', () =>
  withPair(echo, async ({ asking, answering }) => {
    answering.pause();
    const open = asking.request('m', 1);
    let done = false;
    void open.then(() => (done = true));
    await new Promise((resolve) => setTimeout(resolve, 10));
    assert.equal(done, false);
    answering.resume();
    await open;
  }));

test('end answers first and then closes', async () => {
  await withPair(
    (_method, _params, _fds, reply) => {
      reply.result('x'.repeat(1_000_000));
    },
    async ({ asking, answering }) => {
      const open = asking.request<string>('m', {});
      await until(() => answering.connection.outputBytes > 0 || answering.openRequests > 0, 'the request');
      answering.end();
      assert.equal((await open).result.length, 1_000_000);
      assert.equal((await asking.closed)?.code, 'PROTO_CLOSED');
    },
  );
});

test('20,000 pipelined requests with an fd each lose none', async () => {
  let kept = 0;
  await withPair(
    (_method, _params, fds, reply) => {
      kept += fds.length;
      closeAll(fds);
      reply.result({});
    },
    async ({ asking }) => {
      await withMemfd(async (fd) => {
        for (let round = 0; round < 100; round += 1) {
          await Promise.all(Array.from({ length: 200 }, () => asking.request('m', {}, { fds: [fd] })));
        }
      });
    },
  );
  assert.equal(kept, 20_000);
});
