/**
 * Goal: lines and their fds arrive whole and in order however they are cut, and a peer that breaks a rule harms only its own
 * connection. Method: a connection opposite a bare socket; random chunkings print their seed.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { closeAll, getFileLimit, memfdCreate, setFileLimit } from '../../src/sys/index.js';
import { deadlines } from '../../src/transport/index.js';
import { Bench, event, leakCheck, limitWithFree, until, withMemfd } from './support.js';

leakCheck();

const data = (bench: Bench): unknown[] =>
  bench.got.map(({ envelope }) => (envelope.kind === 'event' ? envelope.data : envelope));

test('two messages cut at every byte arrive as two messages', async () => {
  const text = event('ä€😀') + event({ deep: [1, 'x\ny'] });
  const bytes = Buffer.from(text);
  for (let cut = 1; cut < bytes.length; cut += 1) {
    const bench = new Bench();
    bench.write(bytes.subarray(0, cut));
    await new Promise((resolve) => setImmediate(resolve));
    bench.write(bytes.subarray(cut));
    await until(() => bench.got.length === 2, `cut at ${cut}`);
    assert.deepEqual(data(bench), ['ä€😀', { deep: [1, 'x\ny'] }]);
    bench.end();
  }
});

test('a message byte by byte, and a hundred in one write, arrive', async () => {
  const bench = new Bench();
  for (const byte of Buffer.from(event('slow'))) bench.write(Buffer.from([byte]));
  bench.write(Array.from({ length: 100 }, (_, index) => event(index)).join(''));
  await until(() => bench.got.length === 101, 'all');
  assert.deepEqual(data(bench), ['slow', ...Array.from({ length: 100 }, (_, index) => index)]);
  bench.end();
});

test('empty lines mean nothing', async () => {
  const bench = new Bench();
  bench.write(`\n\n${event(1)}\n\n\n${event(2)}\n`);
  await until(() => bench.got.length === 2, 'both');
  assert.equal(bench.closed, undefined);
  bench.end();
});

test('random chunkings of random messages with fds arrive whole, each with its own fds', async () => {
  const memfd = memfdCreate('sent');
  const messages = fc.array(
    fc.record({ text: fc.string({ unit: 'grapheme', maxLength: 200 }), fds: fc.nat(6), pieces: fc.nat(4) }),
    { maxLength: 20 },
  );
  await fc.assert(
    fc.asyncProperty(messages, fc.array(fc.nat(50), { minLength: 1, maxLength: 20 }), async (list, cuts) => {
      const bench = new Bench();
      let turn = 0;
      for (const message of list) {
        const bytes = Buffer.from(event(message.text, message.fds));
        let at = 0;
        // The fds go with the first byte; the rest of the line follows in pieces, some in later turns.
        for (let piece = 0; at < bytes.length; piece += 1) {
          const size = piece < message.pieces ? 1 + cuts[turn++ % cuts.length]! : bytes.length;
          const fds = piece === 0 ? new Array<number>(message.fds).fill(memfd.fd) : [];
          at += bench.write(bytes.subarray(at, at + size), fds);
          if (size % 3 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
      }
      await until(() => bench.got.length === list.length || bench.closed !== undefined, 'all messages');
      assert.equal(bench.closed, undefined, String(bench.closed));
      assert.deepEqual(
        data(bench),
        list.map((message) => message.text),
      );
      assert.deepEqual(
        bench.got.map((got) => got.fds),
        list.map((message) => message.fds),
      );
      bench.end();
    }),
    { numRuns: 150 },
  );
  memfd.close();
});

test('1,000 fds of one message arrive in chunks on empty lines', async () => {
  const receiving = new Bench();
  await withMemfd((fd) => {
    const fds = new Array<number>(253).fill(fd);
    for (let chunk = 0; chunk < 3; chunk += 1) receiving.write('\n', fds);
    receiving.write(event('many', 1000), fds.slice(0, 241));
  });
  await until(() => receiving.got.length === 1, 'the message');
  assert.equal(receiving.got[0]!.fds, 1000);
  receiving.end();
});

test('the connection sends more than 253 fds the same way', async () => {
  const bench = new Bench();
  await withMemfd((fd) => bench.connection.send(event('many', 600).trimEnd(), new Array<number>(600).fill(fd)));
  assert.deepEqual(bench.read(), { text: `\n\n${event('many', 600)}`, fds: 600 });
  bench.end();
});

test('sent fds are borrowed: they may be closed at once, even while the message waits', async () => {
  const bench = new Bench();
  const line = JSON.stringify({ event: 'e', data: 'x'.repeat(300_000) });
  bench.connection.send(line);
  await withMemfd((fd) => bench.connection.send(event('later', 1).trimEnd(), [fd]));
  assert.ok(bench.connection.outputBytes > 0);
  let text = '';
  let fds = 0;
  await until(() => {
    const part = bench.read();
    text += part.text;
    fds += part.fds;
    return text.endsWith(event('later', 1));
  }, 'everything');
  assert.equal(fds, 1);
  assert.equal(bench.connection.outputBytes, 0);
  bench.end();
});

test('lines of one turn leave together, in order with those that carry fds', async () => {
  const bench = new Bench();
  bench.connection.send(event(1).trimEnd());
  bench.connection.send(event(2).trimEnd());
  assert.equal(bench.read().text, '', 'not yet');
  await withMemfd((fd) => bench.connection.send(event(3, 1).trimEnd(), [fd]));
  assert.equal(bench.read().text, event(1) + event(2) + event(3, 1));
  bench.end();
});

test('what answers a message of many fds leaves before the next message is looked at', async () => {
  const bench = new Bench();
  const before: string[] = [];
  bench.onMessage = (envelope) => {
    before.push(bench.read().text);
    bench.connection.send(`answer to ${(envelope as { data: string }).data}`);
  };
  await withMemfd(async (fd) => {
    const fds = new Array<number>(100).fill(fd);
    for (const name of ['1', '2', '3']) bench.write(event(name, fds.length), fds);
    for (const name of ['4', '5']) bench.write(event(name, 1), [fd]);
    await until(() => bench.got.length === 5, 'all messages');
  });
  assert.deepEqual(before, ['', 'answer to 1\n', 'answer to 2\n', 'answer to 3\n', ''], 'few fds can wait');
  await until(() => bench.connection.outputBytes === 0, 'the last answers');
  assert.equal(bench.read().text, 'answer to 4\nanswer to 5\n');
  bench.end();
});

// ------------------------------------------------------------------------------------------------ fds that do not fit

test('fds that no message declares are closed and end the connection', async () => {
  for (const line of [event('x'), event('x', 1)]) {
    const bench = new Bench();
    await withMemfd((fd) => {
      bench.write(line, [fd, fd]);
    });
    await until(() => bench.closed !== undefined, 'the end');
    assert.equal(bench.closed?.code, 'PROTO_FDS');
    assert.equal(bench.farewell()?.['code'], 'PROTO_FDS');
    bench.end();
  }
});

test('fds that came with an earlier message are not taken for a later one', async () => {
  const bench = new Bench();
  await withMemfd((fd) => {
    bench.write(event('first'), [fd]);
    bench.write(event('second', 1));
  });
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'PROTO_FDS');
  assert.equal(bench.got.length, 0, 'the message that brought them is not delivered');
  bench.end();
});

test('plain bytes before a message with fds do not make them undeclared', async () => {
  const bench = new Bench();
  await withMemfd((fd) => {
    bench.write(event(1) + event(2).slice(0, 5));
    bench.write(event(2).slice(5));
    bench.write(event(3, 2), [fd, fd]);
    bench.write(event(4));
  });
  await until(() => bench.got.length === 4, 'all');
  assert.deepEqual(
    bench.got.map((got) => got.fds),
    [0, 0, 2, 0],
  );
  bench.end();
});

test('several messages with fds in one write take theirs in order', async () => {
  const bench = new Bench();
  await withMemfd((fd) => {
    bench.write(event(1, 1) + event(2) + event(3, 2), [fd, fd, fd]);
  });
  await until(() => bench.got.length === 3, 'all');
  assert.deepEqual(
    bench.got.map((got) => got.fds),
    [1, 0, 2],
  );
  bench.end();
});

test('a write larger than our buffer does not make its fds undeclared', async () => {
  const bench = new Bench();
  const filler = event('f'.repeat(70_000));
  await withMemfd((fd) => {
    bench.write(event('a', 1), [fd]);
    const bytes = filler + event('b', 1);
    bench.write(event('c', 1) + bytes.slice(0, 60_000), [fd, fd]);
    bench.write(bytes.slice(60_000));
  });
  await until(() => bench.got.length === 4 || bench.closed !== undefined, 'all');
  assert.deepEqual(bench.got.map((got) => got.fds).slice(0, 2), [1, 1]);
  bench.end();
});

test('fewer fds than declared end the connection, and those that came are closed', async () => {
  const bench = new Bench();
  await withMemfd((fd) => {
    bench.write(event('x', 3), [fd, fd]);
  });
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'PROTO_FDS');
  bench.end();
});

test('a flood of fds on empty lines is cut off at the limit', async () => {
  const bench = new Bench({ limits: { messageFdsMax: 500 } });
  await withMemfd((fd) => {
    for (let count = 0; count < 4; count += 1) bench.write('\n', new Array<number>(253).fill(fd));
  });
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'PROTO_FDS');
  bench.end();
});

test('more fds in a message than the limit are refused by its name', async () => {
  const bench = new Bench({ limits: { messageFdsMax: 2 } });
  await withMemfd((fd) => {
    bench.write(event('x', 3), [fd, fd, fd]);
  });
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'LIMIT_REACHED');
  assert.equal(bench.closed?.data?.['limit'], 'messageFdsMax');
  bench.end();
});

test('fds that this process has no descriptor for are lost, their message says so, and the next is whole', async () => {
  const bench = new Bench();
  const memfd = memfdCreate('sent');
  bench.write(event('lost', 300).replace('\n', ''), new Array<number>(253).fill(memfd.fd));
  bench.write('\n');
  const limits = getFileLimit();
  setFileLimit({ soft: limitWithFree(3), hard: limits.hard });
  try {
    await until(() => bench.got.length === 1 || bench.closed !== undefined, 'the message');
  } finally {
    setFileLimit(limits);
  }
  assert.equal(bench.got[0]?.fds, 0);
  assert.equal(bench.got[0].lost?.code, 'LIMIT_REACHED');
  assert.equal(bench.got[0].lost.errno, 'EMFILE');
  bench.write(event('whole', 2), [memfd.fd, memfd.fd]);
  await until(() => bench.got.length === 2, 'the next');
  assert.equal(bench.got[1]!.fds, 2);
  assert.equal(bench.got[1]!.lost, undefined);
  memfd.close();
  bench.end();
});

// ------------------------------------------------------------------------------------------------ hostile and slow

for (const [what, bytes, code] of [
  ['no JSON', 'hello\n', 'PROTO_MALFORMED'],
  ['no object', '5\n', 'PROTO_MALFORMED'],
  ['no envelope', '{"a":1}\n', 'PROTO_INVALID'],
  ['bytes that are no UTF-8', Buffer.from([0x22, 0xff, 0x22, 10]), 'PROTO_MALFORMED'],
  [
    'half a character',
    Buffer.concat([Buffer.from('{"event":"e","data":"'), Buffer.from([0xe2, 0x82]), Buffer.from('"}\n')]),
    'PROTO_MALFORMED',
  ],
] as const) {
  test(`${what} ends the connection with the reason told`, async () => {
    const bench = new Bench();
    bench.write(event('before'));
    bench.write(bytes);
    await until(() => bench.closed !== undefined, 'the end');
    assert.equal(bench.closed?.code, code);
    assert.equal(bench.farewell()?.['code'], code);
    assert.deepEqual(data(bench), ['before']);
    bench.end();
  });
}

test('the replacement character itself is welcome', async () => {
  const bench = new Bench();
  bench.write(event('\ufffd'));
  await until(() => bench.got.length === 1, 'the message');
  assert.deepEqual(data(bench), ['\ufffd']);
  bench.end();
});

test('a line of the longest length passes, one byte more is refused by the limit’s name', async () => {
  const fit = `${JSON.stringify({ event: 'e', data: 'x'.repeat(1000) })}\n`;
  const bench = new Bench({ limits: { lineBytesMax: fit.length } });
  bench.write(fit);
  await until(() => bench.got.length === 1, 'the longest');
  bench.write(`x${fit}`);
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'PROTO_TOO_LONG');
  assert.equal(bench.closed?.data?.['limit'], 'lineBytesMax');
  bench.end();
});

test('a line without an end is refused before it fills memory', async () => {
  const bench = new Bench({ limits: { lineBytesMax: 10_000 } });
  let sent = 0;
  while (bench.closed === undefined) {
    try {
      sent += Math.max(0, bench.write('x'.repeat(1000)));
    } catch {
      break;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'PROTO_TOO_LONG');
  assert.ok(sent < 100_000);
  bench.end();
});

test('half a line and then silence ends the connection after its time', async () => {
  const bench = new Bench({ limits: { lineMs: 20 } });
  bench.write(event('whole') + '{"ev');
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'PROTO_TIMEOUT');
  assert.deepEqual(data(bench), ['whole']);
  bench.end();
});

test('fds and then silence end the connection after its time', async () => {
  const bench = new Bench({ limits: { lineMs: 20 } });
  await withMemfd((fd) => {
    bench.write('\n', [fd]);
  });
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'PROTO_TIMEOUT');
  bench.end();
});

test('a stream of whole lines that always ends inside one is not slow', async () => {
  const bench = new Bench({ limits: { lineMs: 60 } });
  const line = event('x');
  const end = performance.now() + 300;
  bench.write(line.slice(0, 5));
  while (performance.now() < end) {
    bench.write(line.slice(5) + line.slice(0, 5));
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.equal(bench.closed, undefined);
  bench.end();
});

test('silence between lines is no fault, and leaves no deadline behind', async () => {
  const pending = deadlines.pending;
  const bench = new Bench({ limits: { lineMs: 10 } });
  bench.write(event('x'));
  await until(() => bench.got.length === 1, 'the message');
  await new Promise((resolve) => setTimeout(resolve, 40));
  assert.equal(bench.closed, undefined);
  bench.end();
  assert.equal(deadlines.pending, pending);
});

test('a peer that never reads is dropped at the limit, and takes nothing with it', async () => {
  const bench = new Bench({ limits: { outputBytesMax: 1_000_000 } });
  const line = JSON.stringify({ event: 'e', data: 'x'.repeat(10_000) });
  for (let count = 0; count < 1000 && bench.connection.isOpen; count += 1) {
    bench.connection.send(line);
    await Promise.resolve();
  }
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'LIMIT_REACHED');
  assert.equal(bench.closed?.data?.['limit'], 'outputBytesMax');
  bench.end();
});

test('fds that wait for a peer that never reads are bounded and closed with it', async () => {
  const bench = new Bench({ limits: { messageFdsMax: 1000 } });
  bench.connection.send(JSON.stringify({ event: 'e', data: 'x'.repeat(1_000_000) }));
  await withMemfd((fd) => {
    for (let count = 0; count < 10; count += 1) {
      bench.connection.send(event('x', 200).trimEnd(), new Array<number>(200).fill(fd));
    }
  });
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'LIMIT_REACHED');
  assert.equal(bench.closed?.data?.['limit'], 'messageFdsMax');
  bench.end();
});

test('a flooding connection does not keep another from being heard', async () => {
  const flood = new Bench();
  const quiet = new Bench();
  const block = event('flood').repeat(2000);
  let heardAfter = -1;
  quiet.onMessage = () => (heardAfter = flood.got.length);
  const pour = (): void => {
    if (heardAfter >= 0 || flood.closed !== undefined) return;
    flood.write(block.slice(0, block.length));
    setImmediate(pour);
  };
  flood.onMessage = () => {
    if (flood.got.length === 1) quiet.write(event('quiet'));
  };
  pour();
  await until(() => heardAfter >= 0, 'the quiet one');
  assert.ok(heardAfter < 5000, `${heardAfter} messages of the flood came first`);
  flood.end();
  quiet.end();
});

// ------------------------------------------------------------------------------------------------ pause and close

test('a paused connection delivers nothing until it is resumed, then everything in order', async () => {
  const bench = new Bench();
  bench.onMessage = () => {
    if (bench.got.length === 2) bench.connection.pause();
  };
  await withMemfd((fd) => {
    bench.write(event(1) + event(2) + event(3) + event(4).slice(0, 4));
    bench.write(event(4).slice(4) + event(5, 1), [fd]);
  });
  await until(() => bench.got.length === 2, 'two');
  await new Promise((resolve) => setTimeout(resolve, 10));
  assert.equal(bench.got.length, 2);
  bench.connection.resume();
  bench.connection.resume();
  await until(() => bench.got.length === 5, 'the rest');
  assert.deepEqual(data(bench), [1, 2, 3, 4, 5]);
  assert.equal(bench.got[4]!.fds, 1);
  bench.end();
});

test('pausing at each message of a long stream loses none', async () => {
  const bench = new Bench();
  bench.onMessage = () => {
    bench.connection.pause();
    setImmediate(() => bench.connection.resume());
  };
  for (let index = 0; index < 200; index += 1) bench.write(event(index));
  await until(() => bench.got.length === 200, 'all');
  assert.deepEqual(
    data(bench),
    Array.from({ length: 200 }, (_, index) => index),
  );
  bench.end();
});

test('a hang-up is noticed while paused', async () => {
  const bench = new Bench();
  bench.connection.pause();
  bench.raw.close();
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'PROTO_CLOSED');
});

test('what was sent before the other end closed is still delivered', async () => {
  const bench = new Bench();
  bench.write(event('last words'));
  bench.raw.close();
  await until(() => bench.closed !== undefined, 'the end');
  assert.deepEqual(data(bench), ['last words']);
  assert.equal(bench.closed?.code, 'PROTO_CLOSED');
});

test('the reason that the other end gives is the reason of the close, even when writing failed first', async () => {
  const bench = new Bench();
  bench.write(`${JSON.stringify({ event: 'closing', data: { code: 'LIMIT_REACHED', message: 'too much' } })}\n`);
  bench.raw.close();
  for (let count = 0; count < 3; count += 1) {
    bench.connection.send(event('x').trimEnd());
    await Promise.resolve();
  }
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'LIMIT_REACHED');
  assert.equal(bench.closed?.message, 'too much');
});

test('close sends what waits if it can, closes received fds, and is told once', async () => {
  const bench = new Bench();
  await withMemfd((fd) => {
    bench.write('{"begun', [fd, fd]);
  });
  await new Promise((resolve) => setTimeout(resolve, 5));
  bench.connection.send(event('bye').trimEnd());
  bench.connection.close();
  bench.connection.close();
  bench.connection.send(event('ignored').trimEnd());
  assert.equal(bench.closed, undefined, 'not from inside close');
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed, null);
  assert.equal(bench.read().text, event('bye'));
  bench.end();
});

test('end waits for output that the other end is slow to take', async () => {
  const bench = new Bench();
  bench.connection.send(JSON.stringify({ event: 'e', data: 'x'.repeat(1_000_000) }));
  bench.connection.end();
  assert.equal(bench.connection.isOpen, true);
  let size = 0;
  await until(() => {
    size += bench.read().text.length;
    return bench.closed !== undefined;
  }, 'the end');
  size += bench.read().text.length;
  assert.ok(size > 1_000_000);
  bench.end();
});

test('an exception of the receiver ends the connection and closes the fds of its message', async () => {
  const bench = new Bench();
  bench.onMessage = () => {
    throw new Error('receiver is broken');
  };
  await withMemfd((fd) => {
    bench.write(event('x', 1), [fd]);
  });
  await until(() => bench.closed !== undefined, 'the end');
  assert.equal(bench.closed?.code, 'INTERNAL');
  closeAll([]);
  bench.end();
});

test('the other end is known by its credentials', () => {
  const bench = new Bench();
  assert.equal(bench.connection.credentials().pid, process.pid);
  bench.end();
});
