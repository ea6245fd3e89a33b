/** Goal: what goes out as a line comes in as the same message, and nothing else comes in. Method: facts, and random JSON. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { LuoError } from '../../src/base/errors.js';
import {
  encodeError,
  encodeEvent,
  encodeProgress,
  encodeReply,
  encodeRequest,
  parseEnvelope,
} from '../../src/protocol/envelope.js';
import { Event, KEEPER_METHODS, LUOD_METHODS, Progress, Reply, Request } from '../../src/protocol/spec.js';
import { parseEvent, parseParams, parseResult, parseValue } from '../../src/protocol/validate.js';
import { KEEPER_EVENTS } from '../../src/protocol/spec.js';

function failsWith(call: () => unknown, code: string, path?: string): void {
  assert.throws(call, (error: unknown) => {
    assert.ok(error instanceof LuoError, String(error));
    assert.equal(error.code, code);
    if (path !== undefined) assert.equal(error.data?.['path'], path);
    return true;
  });
}

test('each kind of message comes back as it went', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.string(), fc.integer({ min: 1 }), fc.nat(8192), (value, name, id, fds) => {
      const data = JSON.parse(JSON.stringify(value)) as unknown;
      assert.deepEqual(parseEnvelope(encodeRequest(id, name, data, fds)), {
        kind: 'request',
        id,
        method: name,
        params: data,
        fds,
      });
      assert.deepEqual(parseEnvelope(encodeReply(id, data, fds)), {
        kind: 'reply',
        re: id,
        result: data,
        error: undefined,
        fds,
      });
      assert.deepEqual(parseEnvelope(encodeEvent(name, data, fds)), { kind: 'event', event: name, data, fds });
      assert.deepEqual(parseEnvelope(encodeProgress(id, data)), { kind: 'progress', progress: id, data, fds: 0 });
    }),
  );
});

test('a message never has a newline inside, whatever it carries', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), (text) => {
      assert.ok(!encodeRequest(1, text, { text }, 0).includes('\n'));
    }),
  );
});

test('what JSON cannot say at the top is null', () => {
  assert.equal(encodeReply(1, undefined, 0), '{"re":1,"result":null}');
  assert.equal(
    encodeEvent('e', () => {}, 0),
    '{"event":"e","data":null}',
  );
});

test('an error keeps what it says over the wire', () => {
  const error = new LuoError('LIMIT_REACHED', 'no', {
    handle: 'a/fd:b',
    remedy: 'less',
    data: { limit: 'lineBytesMax' },
  });
  const back = parseEnvelope(encodeError(3, error.toWire()));
  assert.ok(back.kind === 'reply' && back.error);
  assert.deepEqual(LuoError.fromWire(back.error).toWire(), error.toWire());
});

for (const [what, line] of [
  ['no JSON', '{'],
  ['nothing', ''],
  ['a number', '1'],
  ['null', 'null'],
  ['a list', '[]'],
  ['a text', '"x"'],
] as const) {
  test(`${what} is malformed`, () => failsWith(() => parseEnvelope(line), 'PROTO_MALFORMED'));
}

for (const [what, line, path] of [
  ['an empty object', '{}', ''],
  ['a request without a method', '{"id":1}', '/method'],
  ['a request whose method is a number', '{"id":1,"method":2}', '/method'],
  ['id 0', '{"id":0,"method":"x"}', '/id'],
  ['a negative id', '{"id":-1,"method":"x"}', '/id'],
  ['a fractional id', '{"id":1.5,"method":"x"}', '/id'],
  ['an id that is a text', '{"id":"1","method":"x"}', '/id'],
  ['an id beyond exact integers', '{"id":9007199254740993,"method":"x"}', '/id'],
  ['a reply to nothing', '{"re":null,"result":1}', '/re'],
  ['an error without a code', '{"re":1,"error":{"message":"x"}}', '/error'],
  ['an error that is a text', '{"re":1,"error":"x"}', '/error'],
  ['an error whose phase is no text', '{"re":1,"error":{"code":"A","message":"x","phase":{}}}', '/error'],
  ['an error whose data is a list', '{"re":1,"error":{"code":"A","message":"x","data":[]}}', '/error'],
  ['negative fds', '{"id":1,"method":"x","fds":-1}', '/fds'],
  ['fds that are a list', '{"event":"x","fds":[]}', '/fds'],
  ['an event without a name', '{"event":5,"data":1}', ''],
] as const) {
  test(`${what} is invalid, with its path`, () => failsWith(() => parseEnvelope(line), 'PROTO_INVALID', path));
}

test('checking by hand takes what the spec takes, for every envelope that we write', () => {
  fc.assert(
    fc.property(fc.jsonValue(), fc.integer({ min: 1 }), fc.nat(100), (data, id, fds) => {
      parseValue(Request, JSON.parse(encodeRequest(id, 'm', data, fds)), 'request');
      parseValue(Reply, JSON.parse(encodeReply(id, data, fds)), 'reply');
      parseValue(Progress, JSON.parse(encodeProgress(id, data)), 'progress');
      parseValue(Event, JSON.parse(encodeEvent('e', data, fds)), 'event');
    }),
  );
});

test('fields that the spec does not know are kept', () => {
  const params = { attempt: 1, key: 'k', future: [1] };
  assert.equal(parseParams(KEEPER_METHODS, 'decide', params), params);
});

test('a missing field, a wrong type and a word outside of its set are refused with their path', () => {
  failsWith(() => parseParams(KEEPER_METHODS, 'decide', { attempt: 1 }), 'PROTO_INVALID', '/key');
  failsWith(() => parseParams(KEEPER_METHODS, 'decide', { attempt: '1', key: 'k' }), 'PROTO_INVALID', '/attempt');
  failsWith(
    () => parseParams(KEEPER_METHODS, 'decide', { attempt: 1, key: 'k', want: 'maybe' }),
    'PROTO_INVALID',
    '/want',
  );
  failsWith(() => parseParams(KEEPER_METHODS, 'decide', undefined), 'PROTO_INVALID', '');
  failsWith(() => parseResult(KEEPER_METHODS, 'decide', {}), 'PROTO_INVALID', '/outcome');
  failsWith(() => parseEvent(KEEPER_EVENTS, 'exit', { pid: 1 }), 'PROTO_INVALID');
});

test('an unknown method is refused by name, also one that every object has', () => {
  failsWith(() => parseParams(LUOD_METHODS, 'nonsense' as 'hello', {}), 'PROTO_UNKNOWN_METHOD');
  failsWith(() => parseParams(LUOD_METHODS, 'toString' as 'hello', {}), 'PROTO_UNKNOWN_METHOD');
  failsWith(() => parseParams(LUOD_METHODS, '__proto__' as 'hello', {}), 'PROTO_UNKNOWN_METHOD');
  failsWith(() => parseEvent(KEEPER_EVENTS, 'toString' as 'exit', {}), 'PROTO_UNKNOWN_METHOD');
});

test('every schema of the spec compiles', () => {
  for (const table of [LUOD_METHODS, KEEPER_METHODS]) {
    for (const name of Object.keys(table)) {
      for (const parse of [parseParams, parseResult]) {
        try {
          parse(table as typeof KEEPER_METHODS, name as 'decide', null);
        } catch (error) {
          assert.ok(error instanceof LuoError && error.code === 'PROTO_INVALID', `${name}: ${String(error)}`);
        }
      }
    }
  }
});
