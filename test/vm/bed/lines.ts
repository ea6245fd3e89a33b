/** Lines out of pieces of text as they come. A long line is looked through once, not again with each piece. */
export class Lines {
  readonly #take: (line: string) => void;
  #pieces: string[] = [];

  constructor(take: (line: string) => void) {
    this.#take = take;
  }

  push(text: string): void {
    const parts = text.split('\n');
    const last = parts.pop()!;
    for (const part of parts) {
      this.#pieces.push(part);
      const line = this.#pieces.join('');
      this.#pieces = [];
      this.#take(line);
    }
    if (last !== '') this.#pieces.push(last);
  }
}
