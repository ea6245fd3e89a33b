// Goal: any stream of commands, cut into any pieces, yields the same commands; what is no RESP is refused, bounded.
// Method: property tests with fast-check (a failing run prints its seed), and the refused inputs by name.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { CommandParser, PARSER_LIMITS, ProtocolError } from '../../examples/cache/resp-parser.js';

function frame(args: readonly Buffer[]): Buffer {
  const parts = args.flatMap((arg) => [Buffer.from(`$${arg.length}\r\n`), arg, Buffer.from('\r\n')]);
  return Buffer.concat([Buffer.from(`*${args.length}\r\n`), ...parts]);
}

function take(parser: CommandParser): string[][] {
  const commands: string[][] = [];
  while (parser.next()) {
    commands.push(
      Array.from({ length: parser.count }, (_, i) =>
        parser.bytes.toString('latin1', parser.start(i), parser.start(i) + parser.length(i)),
      ),
    );
  }
  return commands;
}

/** Cut `bytes` at the given fractions. */
function cut(bytes: Buffer, at: readonly number[]): Buffer[] {
  const points = [0, ...at.map((fraction) => Math.floor(fraction * bytes.length)), bytes.length].sort((a, b) => a - b);
  return points.slice(1).map((end, i) => Buffer.from(bytes.subarray(points[i]!, end)));
}

const commandsArbitrary = fc.array(
  fc.array(
    fc.uint8Array({ maxLength: 40 }).map((bytes) => Buffer.from(bytes)),
    { minLength: 1, maxLength: 20 },
  ),
  { minLength: 1, maxLength: 8 },
);
const cutsArbitrary = fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 30 });

test('commands in any pieces are the commands that were sent', () => {
  fc.assert(
    fc.property(commandsArbitrary, cutsArbitrary, (commands, cuts) => {
      const parser = new CommandParser();
      const found = cut(Buffer.concat(commands.map(frame)), cuts).flatMap((piece) => {
        parser.push(piece);
        return take(parser);
      });
      assert.deepEqual(
        found,
        commands.map((command) => command.map((arg) => arg.toString('latin1'))),
      );
      assert.equal(parser.pendingBytes, 0);
    }),
  );
});

test('the rest of a half-read stream continues it in another parser', () => {
  fc.assert(
    fc.property(commandsArbitrary, cutsArbitrary, fc.double({ min: 0, max: 1, noNaN: true }), (commands, cuts, at) => {
      const stream = Buffer.concat(commands.map(frame));
      const middle = Math.floor(stream.length * at);
      const first = new CommandParser();
      const before = cut(stream.subarray(0, middle), cuts).flatMap((piece) => {
        first.push(piece);
        return take(first);
      });
      const second = new CommandParser();
      second.push(first.rest());
      const after = take(second);
      second.push(stream.subarray(middle));
      after.push(...take(second));
      assert.deepEqual(
        [...before, ...after],
        commands.map((command) => command.map((arg) => arg.toString('latin1'))),
      );
    }),
  );
});

test('commands that wait are given back with the half-read one behind them', () => {
  const parser = new CommandParser();
  parser.push(Buffer.from('PING\r\n*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI'));
  assert.equal(parser.next(), true);
  assert.equal(parser.rest().toString(), '*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI');
});

test('a large value in many pieces is put together in linear time', () => {
  const value = Buffer.alloc(8 * 1024 * 1024, 'v');
  const stream = frame([Buffer.from('SET'), Buffer.from('k'), value]);
  const parser = new CommandParser();
  for (let at = 0; at < stream.length - 1; at += 16_384) {
    parser.push(stream.subarray(at, Math.min(at + 16_384, stream.length - 1)));
    assert.equal(parser.next(), false);
  }
  parser.push(stream.subarray(stream.length - 1));
  assert.equal(parser.next(), true);
  assert.equal(parser.length(2), value.length);
});

test('inline commands split at blanks and know both kinds of quotes', () => {
  const parser = new CommandParser();
  parser.push(Buffer.from('  set key  "a b\\n\\x41\\"" \r\n\r\nGET \'it\\\'s\'\nPING'));
  assert.deepEqual(take(parser), [
    ['set', 'key', 'a b\nA"'],
    ['GET', "it's"],
  ]);
  assert.equal(parser.rest().toString(), 'PING');
});

test('empty and negative arrays are passed over', () => {
  const parser = new CommandParser();
  parser.push(Buffer.from('*0\r\n*-1\r\n*1\r\n$4\r\nPING\r\n'));
  assert.deepEqual(take(parser), [['PING']]);
});

for (const [what, bytes] of [
  ['an argument that is no bulk string', '*1\r\n:1\r\n'],
  ['a count that is no number', '*x\r\n'],
  ['a count without digits', '*\r\n'],
  ['a count that never ends', `*${'1'.repeat(30)}`],
  ['more arguments than the limit', `*${PARSER_LIMITS.argumentsMax + 1}\r\n`],
  ['an argument above the limit', `*1\r\n$${PARSER_LIMITS.argumentBytesMax + 1}\r\n`],
  ['an argument of negative length', '*1\r\n$-1\r\n'],
  ['a bulk string that is longer than it says', '*1\r\n$4\r\nPINGS\r\n'],
  ['a line end without its line feed', '*1\rx'],
  ['an inline command that never ends', 'x'.repeat(PARSER_LIMITS.inlineBytesMax + 1)],
  ['an inline command with open quotes', 'GET "x\r\n'],
  ['quotes with something directly behind them', 'GET "x"y\r\n'],
] as const) {
  test(`refused: ${what}`, () => {
    const parser = new CommandParser();
    parser.push(Buffer.from(bytes));
    assert.throws(() => parser.next(), ProtocolError);
  });
}

test('a number line in pieces is not taken for a whole one', () => {
  const parser = new CommandParser();
  for (const piece of ['*', '1', '\r', '\n', '$', '1', '\r', '\n', 'x', '\r']) {
    parser.push(Buffer.from(piece));
    assert.equal(parser.next(), false);
  }
  parser.push(Buffer.from('\n'));
  assert.deepEqual(take(parser), [['x']]);
});

test('any bytes at all end in commands, in waiting or in a ProtocolError', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 30 }), { maxLength: 10 }), (pieces) => {
      const parser = new CommandParser();
      try {
        for (const piece of pieces) {
          parser.push(Buffer.from(piece));
          take(parser);
        }
      } catch (error) {
        assert.ok(error instanceof ProtocolError);
      }
    }),
  );
});
