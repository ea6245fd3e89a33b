/**
 * When are two fds the same file for a carrier? A memfd is its inode; all else is its open file description, which only a
 * comparison of two fds can tell. This table gives each open file an identity as text; the two questions that need a
 * system call come in as functions.
 *
 * Never here: an fd opened or closed. Whoever holds a file says so with `hold`, and `forget` before closing it.
 * @source kernel/liveupdate/luo_file.c, luo_get_id; kcmp(2), KCMP_FILE
 */
export interface FileQuestions {
  /** @param fd borrowed */
  stat(fd: number): { readonly dev: bigint; readonly ino: bigint; readonly memfd: boolean };
  /** A total order of open file descriptions: 0 when both fds refer to one, else which comes first. */
  compare(fdA: number, fdB: number): number;
}

interface Held {
  readonly fd: number;
  readonly identity: string;
}

export class FileIdentities {
  readonly #questions: FileQuestions;
  /** Held files by inode, in the order of `compare`: all anonymous files of the kernel share one inode, so lists get long. */
  readonly #byInode = new Map<string, Held[]>();
  readonly #inodeOf = new Map<number, string>();
  #next = 1;

  constructor(questions: FileQuestions) {
    this.#questions = questions;
  }

  /** The identity of the file of `fd`, which may be one that is not held. */
  identify(fd: number): string {
    const { dev, ino, memfd } = this.#questions.stat(fd);
    const inode = `${dev}:${ino}`;
    if (memfd) return `inode ${inode}`;
    const held = this.#byInode.get(inode);
    if (held !== undefined) {
      const { index, found } = this.#search(held, fd);
      if (found) return held[index]!.identity;
    }
    return `file ${this.#next++} of ${inode}`;
  }

  /** `fd` stays open from now on and stands for `identity`. */
  hold(fd: number, identity: string): void {
    const { dev, ino, memfd } = this.#questions.stat(fd);
    if (memfd) return;
    const inode = `${dev}:${ino}`;
    const held = this.#byInode.get(inode) ?? [];
    held.splice(this.#search(held, fd).index, 0, { fd, identity });
    this.#byInode.set(inode, held);
    this.#inodeOf.set(fd, inode);
  }

  /** Before `fd` is closed. */
  forget(fd: number): void {
    const inode = this.#inodeOf.get(fd);
    if (inode === undefined) return;
    this.#inodeOf.delete(fd);
    const held = this.#byInode.get(inode)!;
    held.splice(
      held.findIndex((each) => each.fd === fd),
      1,
    );
    if (held.length === 0) this.#byInode.delete(inode);
  }

  /** Where in `held` the file of `fd` is, or would have to be put. */
  #search(held: readonly Held[], fd: number): { index: number; found: boolean } {
    let low = 0;
    let high = held.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = this.#questions.compare(held[middle]!.fd, fd);
      if (order === 0) return { index: middle, found: true };
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return { index: low, found: false };
  }
}
