/** The systemd units that a page shows. */
import assert from 'node:assert/strict';
import { blocks } from './pages.js';

/** By the name that stands in the first line of each. */
export function unitsOf(page: string): Map<string, string> {
  return new Map(
    blocks(page, 'ini').map((text) => [
      /^# \/etc\/systemd\/system\/(\S+)\n/.exec(text)?.[1] ?? assert.fail(text),
      text,
    ]),
  );
}

/** Each has the sections of its kind, and every unit that one starts is shown. */
export function assertWhole(units: ReadonlyMap<string, string>): void {
  for (const [name, text] of units) {
    assert.match(text, /^\[Unit\]\nDescription=.+$/m, name);
    assert.match(text, name.endsWith('.path') ? /^\[Path\]$/m : /^\[Service\]\nType=(exec|oneshot)$/m, name);
    for (const line of text.split('\n')) assert.match(line, /^(|#.*|\[[A-Z]\w+\]|[A-Z]\w+=.+)$/, name);
    const started = /^Unit=(.+)$/m.exec(text)?.[1];
    assert.ok(started === undefined || units.has(started), started);
  }
}
