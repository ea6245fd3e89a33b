// Goal: the bytes behind the last complete request are known at any moment. Method: requests of every framing, cut at
// every byte; what is pending must always be exactly what the last complete request did not take.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { RequestFraming } from '../../src/client/http-framing.js';

const HEAD = 'GET / HTTP/1.1\r\nhost: x\r\n\r\n';
const LENGTH = 'POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n';
const CHUNKED = 'POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n';

describe('request framing', () => {
  const whole: [string, string][] = [
    ['a request without a body', HEAD],
    ['a body of a known length', `${LENGTH}\r\n\r\nX`],
    ['a body of length 0', 'POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n'],
    ['a chunked body', `${CHUNKED}5;ext=1\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n`],
    ['a chunked body with trailers', `${CHUNKED}1\r\nx\r\n0\r\nx-sum: 1\r\nx-more: 2\r\n\r\n`],
    ['empty lines before a request', `\r\n\r\n${HEAD}`],
    ['bare line feeds', 'GET / HTTP/1.1\nhost: x\n\n'],
  ];
  for (const [name, text] of whole) {
    test(`${name} ends where it ends, however it is cut`, () => {
      for (let cut = 0; cut <= text.length; cut += 1) {
        const framing = new RequestFraming();
        framing.push(Buffer.from(text.slice(0, cut)));
        framing.push(Buffer.from(text.slice(cut)));
        assert.ok(framing.betweenRequests, `cut at ${cut}`);
        assert.equal(framing.pending.length, 0, `cut at ${cut}`);
        assert.equal(framing.requests, 1);
      }
    });
  }

  test('byte by byte, three pipelined requests and a beginning are told apart', () => {
    const framing = new RequestFraming();
    const text = `${HEAD}${LENGTH}12345${CHUNKED}0\r\n\r\nGET /hal`;
    for (const byte of Buffer.from(text)) framing.push(Buffer.from([byte]));
    assert.equal(framing.requests, 3);
    assert.equal(framing.pending.toString(), 'GET /hal');
  });

  test('inside of a body nothing is pending, since the request is being handled', () => {
    const framing = new RequestFraming();
    framing.push(Buffer.from(`${LENGTH}12`));
    assert.equal(framing.betweenRequests, false);
    assert.equal(framing.pending.length, 0);
  });

  test('a head that never ends is given up, and so is the connection', () => {
    const framing = new RequestFraming();
    framing.push(Buffer.from('GET / HTTP/1.1\r\n'));
    for (let part = 0; part < 20 && !framing.lost; part += 1) framing.push(Buffer.alloc(100_000, 'x'));
    assert.ok(framing.lost);
    assert.equal(framing.betweenRequests, false);
  });

  for (const [name, text] of [
    ['a tunnel', 'CONNECT host:1 HTTP/1.1\r\n\r\n'],
    ['a length that is no number', 'POST / HTTP/1.1\r\ncontent-length: 5, 6\r\n\r\n'],
    ['a chunk size that is no number', `${CHUNKED}zz\r\n`],
  ] as const) {
    test(`${name} makes it lost for good`, () => {
      const framing = new RequestFraming();
      framing.push(Buffer.from(text));
      framing.push(Buffer.from(HEAD));
      assert.ok(framing.lost);
      assert.equal(framing.betweenRequests, false);
    });
  }
});
