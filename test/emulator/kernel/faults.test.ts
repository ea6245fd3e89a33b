// Goal: an ordered fault acts on the call that it names, once or always, and what could never act is refused.
// Method: texts, and a plan that is asked call by call.
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { FaultPlan, parseFault, type FaultPoint, type FaultSubject } from '../../../src/emulator/kernel/faults.js';

/** Which of `calls` a fault acts on, by number from 1. */
function actsOn(texts: readonly string[], calls: readonly [FaultPoint, FaultSubject?][]): (string | undefined)[] {
  const plan = new FaultPlan(texts.map(parseFault));
  return calls.map(([point, subject]) => plan.take(point, subject)?.text);
}

suite('the text of a fault', () => {
  test('has a point, selectors and an effect', () => {
    assert.deepEqual(parseFault('preserve:3:ENOMEM'), {
      text: 'preserve:3:ENOMEM',
      point: 'preserve',
      nth: 3,
      effect: { kind: 'errno', errno: 'ENOMEM' },
      always: false,
    });
    const { token, session, always } = parseFault('retrieve:token=0xff:session=vm-ü:EIO:always');
    assert.deepEqual([token, session, always], [255n, Buffer.from('vm-ü').toString('latin1'), true]);
    assert.deepEqual(parseFault('open:delay=250').effect, { kind: 'delay', delayMs: 250 });
    assert.deepEqual(parseFault('freeze:die').effect, { kind: 'die' });
  });

  for (const text of [
    '',
    'preserve',
    'preserve:',
    'preserve:ENOTHING',
    'preserve:0:EIO',
    'preserve:-1:EIO',
    'preserve:1:2:EIO',
    'preserve:EIO:3',
    'preserve:always',
    'preserve:token=:EIO',
    'preserve:token=x:EIO',
    'preserve:token=18446744073709551616:EIO',
    'preserve:token=1:token=2:EIO',
    'close:EIO',
    'open:token=1:EIO',
    'open:session=a:EIO',
    'create:token=1:EEXIST',
    'finish:EIO',
    'freeze:delay=5',
    'open:delay=-5',
    'open:delay=99999999999',
    'open:2:EIO:always',
    'open:die:always',
    'Open:EIO',
  ])
    test(`'${text}' is none, and the grammar is told`, () =>
      assert.throws(
        () => parseFault(text),
        (error: unknown) => {
          assert.equal((error as { code: unknown }).code, 'FAULT_INVALID');
          assert.match((error as Error).message, /POINT\[:SELECTOR\]/);
          return true;
        },
      ));
});

suite('a plan', () => {
  test('without faults never acts', () => {
    assert.deepEqual(actsOn([], [['open'], ['preserve', { token: 1n }]]), [undefined, undefined]);
  });

  test('a fault acts once on the next call at its point, and on no other point', () => {
    assert.deepEqual(actsOn(['open:EIO'], [['preserve'], ['open'], ['open']]), [undefined, 'open:EIO', undefined]);
  });

  test('with always it acts on every call', () => {
    assert.deepEqual(actsOn(['open:EIO:always'], [['open'], ['open']]), ['open:EIO:always', 'open:EIO:always']);
  });

  test('the N-th call is counted among those that fit the other selectors', () => {
    const calls: [FaultPoint, FaultSubject][] = [1n, 2n, 1n, 1n].map((token) => ['preserve', { token }]);
    const text = 'preserve:token=1:2:ENOMEM';
    assert.deepEqual(actsOn([text], calls), [undefined, undefined, text, undefined]);
  });

  test('of two faults that fit the first acts, and the second has counted the call', () => {
    assert.deepEqual(actsOn(['create:EIO', 'create:2:ENOMEM'], [['create'], ['create']]), [
      'create:EIO',
      'create:2:ENOMEM',
    ]);
  });

  test('a session of another name is left alone', () => {
    const text = 'finish:session=a:EBUSY';
    assert.deepEqual(
      actsOn(
        [text],
        [
          ['finish', { session: 'b' }],
          ['finish', { session: 'a' }],
        ],
      ),
      [undefined, text],
    );
  });

  test('it says which faults can still act', () => {
    const plan = new FaultPlan(['open:EIO', 'open:ENOMEM:always'].map(parseFault));
    plan.take('open');
    assert.deepEqual(
      plan.faults.map(({ text }) => text),
      ['open:ENOMEM:always'],
    );
  });
});
