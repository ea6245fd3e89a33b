// Goal: MATCH patterns mean what they mean in Redis, and no pattern takes for ever.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { matches } from '../../examples/cache/glob.js';

const match = (pattern: string, text: string): boolean => matches(Buffer.from(pattern), Buffer.from(text));

for (const [pattern, yes, no] of [
  ['*', ['', 'a', '**'], []],
  ['', [''], ['a']],
  ['a*', ['a', 'ab'], ['', 'ba']],
  ['*a', ['a', 'ba', 'aa'], ['ab', '']],
  ['a*b*c', ['abc', 'a--b--c', 'abbbc'], ['ab', 'acb', 'abcd']],
  ['h?llo', ['hello', 'hallo'], ['hllo', 'heello']],
  ['h[ae]llo', ['hello', 'hallo'], ['hillo']],
  ['h[^e]llo', ['hallo'], ['hello', 'hllo']],
  ['h[a-c]llo', ['hallo', 'hcllo'], ['hdllo']],
  ['h[c-a]llo', ['hbllo'], ['hdllo']],
  ['[\\]]', [']'], ['\\', 'a']],
  ['[a', ['a'], ['b', '']],
  ['\\*', ['*'], ['a', '\\*']],
  ['a\\', ['a\\'], ['a']],
  ['[', [], ['[', 'a']],
  ['key:*:x', ['key:1:x', 'key::x'], ['key:1:y']],
] as const) {
  test(`pattern '${pattern}'`, () => {
    for (const text of yes) assert.ok(match(pattern, text), `'${text}' should match`);
    for (const text of no) assert.ok(!match(pattern, text), `'${text}' should not match`);
  });
}

test('any text matches itself with every byte escaped, and with any part replaced by a star', () => {
  fc.assert(
    fc.property(fc.string(), fc.nat(), fc.nat(), (text, a, b) => {
      const escaped = [...text].map((c) => `\\${c}`);
      assert.ok(match(escaped.join(''), text));
      const [from, to] = [a % (escaped.length + 1), b % (escaped.length + 1)].sort((x, y) => x - y) as [number, number];
      assert.ok(match([...escaped.slice(0, from), '*', ...escaped.slice(to)].join(''), text));
    }),
  );
});

test('a hostile pattern does not explode', () => {
  assert.ok(!match(`${'a*'.repeat(50)}b`, 'a'.repeat(2000)));
});
