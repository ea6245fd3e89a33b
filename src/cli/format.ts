/** Text for people: aligned tables, sizes, times, colour. Pure; the caller says whether colour is wanted. */

/** Paints a word, or leaves it as it is. */
export interface Paint {
  good(text: string): string;
  bad(text: string): string;
  warn(text: string): string;
  dim(text: string): string;
  strong(text: string): string;
}

/** Escape codes if `colour`, else the plain text. */
export function makePaint(colour: boolean): Paint {
  const wrap = (code: number) => (text: string) => (colour ? `\u001b[${code}m${text}\u001b[0m` : text);
  return { good: wrap(32), bad: wrap(31), warn: wrap(33), dim: wrap(2), strong: wrap(1) };
}

/** Width on the screen of a text that may carry colour. */
function width(text: string): number {
  return text.replace(/\u001b\[\d+m/g, '').length;
}

/** Rows below a header, columns two spaces apart, no blanks at line ends; empty when there are no rows. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  if (rows.length === 0) return '';
  const lines = [header, ...rows];
  const widths = header.map((_, column) => Math.max(...lines.map((line) => width(line[column] ?? ''))));
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell + ' '.repeat(widths[column]! - width(cell)))
        .join('  ')
        .trimEnd(),
    )
    .map((line) => `${line}\n`)
    .join('');
}

/** `label  value` lines, labels padded to one width. */
export function fields(pairs: readonly (readonly [string, string])[]): string {
  const widest = Math.max(...pairs.map(([label]) => label.length));
  return pairs.map(([label, value]) => `${label.padEnd(widest)}  ${value}`.trimEnd() + '\n').join('');
}

/** 1536 as `1.5 KiB`; null as `-`. */
export function size(bytes: number | null): string {
  if (bytes === null) return '-';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = bytes;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : Number(value.toFixed(1))} ${units[unit]}`;
}

/** 4.26 as `4.3 ms`, 2500 as `2.5 s`; null as `-`. */
export function time(ms: number | null): string {
  if (ms === null) return '-';
  return ms < 1000 ? `${Number(ms.toFixed(1))} ms` : `${Number((ms / 1000).toFixed(2))} s`;
}

/** How long ago, roughly: 90_000 as `90 s`, then minutes, hours, days. */
export function age(ms: number): string {
  const steps: readonly (readonly [string, number])[] = [
    ['s', 1000],
    ['min', 60_000],
    ['h', 3_600_000],
    ['d', 86_400_000],
  ];
  const [unit, unitMs] = steps.findLast(([, each]) => ms >= 2 * each) ?? steps[0]!;
  return `${Math.max(0, Math.floor(ms / unitMs))} ${unit}`;
}

/** A command as it could be typed into a shell; text from outside never brings control characters to the terminal. */
export function shellWords(argv: readonly string[]): string {
  return argv
    .map((word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${printable(word).replaceAll("'", "'\\''")}'`))
    .join(' ');
}

/** `text` without control characters: a service's words must not steer the operator's terminal. */
export function printable(text: string): string {
  return text.replace(/[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/g, '\ufffd');
}

/** `1 entry`, `2 entries`. */
export function count(n: number, one: string, more = `${one}s`): string {
  return `${n} ${n === 1 ? one : more}`;
}
