// Goal: a traced call can be read by a person and by a tool, and both say the same. Method: events as text and as JSON.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nameText, traceJson, traceText, type CallEvent } from '../../../src/emulator/kernel/trace.js';

const event: CallEvent = {
  event: 'call',
  atMs: 12.3456,
  tookUs: 81.4,
  generation: 1,
  pid: 42,
  program: 'vmm',
  call: 'PRESERVE_FD',
  session: 'vm "7"',
  token: 0xffff_ffff_ffff_ffffn,
  fd: 5,
  fdKind: 'memfd',
  result: -12,
  errno: 'ENOMEM',
  fault: 'preserve:ENOMEM',
};

test('a call is one line with who, what, the result by name, the fault and the time', () => {
  assert.equal(
    traceText(event),
    '    12.346 g1 42 vmm: PRESERVE_FD(session="vm \\"7\\"", token=0xffffffffffffffff, fd=5, kind=memfd) = ENOMEM ' +
      '[fault preserve:ENOMEM] <81 us>',
  );
});

test('JSON has one object a line, with tokens that lose no bit', () => {
  const text = traceJson(event);
  assert.doesNotMatch(text, /\n/);
  assert.deepEqual(JSON.parse(text), { ...event, token: '18446744073709551615' });
});

test('a note has its text, and whom it is about where it is about somebody', () => {
  assert.equal(traceText({ event: 'note', atMs: 1, generation: 0, note: 'hello' }), '     1.000 g0: hello');
  assert.match(traceText({ event: 'note', atMs: 1, generation: 0, pid: 7, program: 'a', note: 'x' }), /g0 7 a: x$/);
});

test('a result that is a number is shown as it is', () => {
  const { errno: _, fault: __, ...rest } = event;
  assert.match(traceText({ ...rest, result: 6 }), /\) = 6 <81 us>$/);
});

test('the name of a session is text, and bytes that are none are replaced', () => {
  assert.equal(nameText(Buffer.from('vm-ü').toString('latin1')), 'vm-ü');
  assert.equal(nameText('a\xff'), 'a\ufffd');
});
