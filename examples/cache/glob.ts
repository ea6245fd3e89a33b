/**
 * Patterns as MATCH takes them: `*`, `?`, `[a-z]`, `[^a]`, and a backslash before a character that stands for itself.
 * Works on bytes. Takes time by length of pattern times length of text at most, whatever the pattern.
 */

/** Does the whole text match the pattern? */
export function matches(
  pattern: Uint8Array,
  text: Uint8Array,
  textStart = 0,
  textLength = text.length - textStart,
): boolean {
  const end = textStart + textLength;
  let p = 0;
  let t = textStart;
  // Where to go on when what follows the last star does not match after all: it takes one byte more.
  let starPattern = -1;
  let starText = 0;
  for (;;) {
    if (p < pattern.length && pattern[p] === 0x2a) {
      starPattern = p + 1;
      starText = t;
      p += 1;
      continue;
    }
    if (t < end && p < pattern.length) {
      const next = matchOne(pattern, p, text[t]!);
      if (next > 0) {
        p = next;
        t += 1;
        continue;
      }
    } else if (t === end && p === pattern.length) {
      return true;
    }
    if (starPattern < 0 || starText >= end) return false;
    starText += 1;
    p = starPattern;
    t = starText;
  }
}

/** @returns where the pattern goes on after it took `byte`, or 0 when it does not take it */
function matchOne(pattern: Uint8Array, at: number, byte: number): number {
  const first = pattern[at]!;
  if (first === 0x3f) return at + 1;
  if (first === 0x5c && at + 1 < pattern.length) return pattern[at + 1] === byte ? at + 2 : 0;
  if (first !== 0x5b) return first === byte ? at + 1 : 0;
  let p = at + 1;
  const negated = pattern[p] === 0x5e;
  if (negated) p += 1;
  let found = false;
  for (; p < pattern.length && pattern[p] !== 0x5d; p += 1) {
    if (pattern[p] === 0x5c && p + 1 < pattern.length) {
      p += 1;
      found ||= pattern[p] === byte;
    } else if (pattern[p + 1] === 0x2d && p + 2 < pattern.length) {
      const [low, high] = [pattern[p]!, pattern[p + 2]!].sort((a, b) => a - b);
      found ||= byte >= low! && byte <= high!;
      p += 2;
    } else {
      found ||= pattern[p] === byte;
    }
  }
  // A class without its end reaches to the end of the pattern, as in Redis.
  return found !== negated ? Math.min(p + 1, pattern.length) : 0;
}
