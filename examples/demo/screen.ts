/**
 * What a person sees of the demo: a line that moves while something is under way, a line that stays when it is done, and
 * tables. Everything goes to stderr, so that stdout carries the result alone; without a terminal only the lines that stay
 * are written.
 */
const isTerminal = process.stderr.isTTY === true;
const hasColour = isTerminal && process.env.NO_COLOR === undefined;
const SPINNER = '|/-\\';
const SPIN_MS = 120;

function paint(code: number, text: string): string {
  return hasColour ? `\x1b[${code}m${text}\x1b[0m` : text;
}

export const bold = (text: string): string => paint(1, text);
export const dim = (text: string): string => paint(2, text);
export const green = (text: string): string => paint(32, text);
export const red = (text: string): string => paint(31, text);

/** A line that stays. */
export function say(text = ''): void {
  process.stderr.write(`${text}\n`);
}

/** A step that takes time: `update` changes its moving line, `done` and `failed` end it. */
export class Step {
  readonly #title: string;
  #detail = '';
  #turn = 0;
  readonly #timer: NodeJS.Timeout | undefined;

  constructor(title: string) {
    this.#title = title;
    if (isTerminal) this.#timer = setInterval(() => this.#draw(), SPIN_MS);
    this.#timer?.unref();
  }

  update(detail: string): void {
    this.#detail = detail;
  }

  done(result: string): void {
    this.#end(`${green('ok')}  ${this.#title}: ${result}`);
  }

  failed(result: string): void {
    this.#end(`${red('!!')}  ${this.#title}: ${result}`);
  }

  #end(line: string): void {
    clearInterval(this.#timer);
    if (isTerminal) process.stderr.write('\r\x1b[K');
    say(line);
  }

  #draw(): void {
    this.#turn += 1;
    process.stderr.write(`\r\x1b[K${SPINNER[this.#turn % SPINNER.length]}   ${this.#title} ${dim(this.#detail)}`);
  }
}

/** Rows as aligned columns; numbers to the right. The first row is the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows
    .map((row, index) => {
      const cells = row.map((cell, column) => {
        const isNumber = index > 0 && /^[\d.,-]+( |$)/.test(cell);
        return isNumber ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!);
      });
      const line = `  ${cells.join('  ').trimEnd()}`;
      return index === 0 ? bold(line) : line;
    })
    .join('\n');
}

/** `268435456` as `256 MiB`. */
export function bytes(count: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${Number.isInteger(value) ? value : value.toFixed(1)} ${units[unit]}`;
}

export const ms = (value: number | null): string => (value === null ? '-' : `${value.toFixed(1)} ms`);
