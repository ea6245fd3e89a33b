/**
 * What the emulator and its launcher process say to each other: JSON in packets, fds beside them. Both are of one build, so
 * that nothing here is versioned or checked. Bytes that are no text (arguments, environment, paths) travel as strings of
 * one character per byte.
 */

/** A program to start. Its text does not fit a packet: it travels as JSON in a memfd, the first fd of the message. */
export interface ProgramText {
  /** argv[0] is searched in `searchPath` if it has no slash. */
  readonly argv: readonly string[];
  readonly env: readonly string[];
  /** Directory; null: the launcher's own. */
  readonly cwd: string | null;
  /** PATH for the search; null: the C library's own. */
  readonly searchPath: string | null;
}

export type ToLauncher =
  /** `stdio`: the fds after the first become 0, 1, 2; otherwise the program inherits what the launcher has. */
  | { readonly kind: 'spawn'; readonly id: number; readonly stdio: boolean }
  /** End every program and whatever they left; answered by `ended-all`. */
  | { readonly kind: 'end-all'; readonly id: number; readonly deadlineMs: number }
  /** How often has the launcher seen this signal? Answered by `signals`. */
  | { readonly kind: 'signals'; readonly id: number; readonly signal: string };

export type FromLauncher =
  /** With the listener. */
  | { readonly kind: 'listening' }
  /** There is no listener: what the kernel said. */
  | { readonly kind: 'unable'; readonly errno: number; readonly syscall: string }
  /** With a pidfd. */
  | { readonly kind: 'spawned'; readonly id: number; readonly pid: number }
  | { readonly kind: 'not-spawned'; readonly id: number; readonly errno: number; readonly path: string }
  | { readonly kind: 'changed'; readonly id: number; readonly change: ProgramChange }
  /** `left`: processes that would not end within the deadline. */
  | { readonly kind: 'ended-all'; readonly id: number; readonly left: readonly number[] }
  | { readonly kind: 'signals'; readonly id: number; readonly count: number };

/** What became of a program. */
export type ProgramChange =
  | { readonly kind: 'ended'; readonly code: number | null; readonly signal: number | null }
  | { readonly kind: 'stopped'; readonly signal: number }
  | { readonly kind: 'continued' };

/** What the launcher's main thread and its spawner thread say to each other. */
export interface SpawnOrder {
  readonly id: number;
  readonly text: ProgramText;
  /** Borrowed, three or none. */
  readonly stdio: readonly number[];
}
export type FromSpawner =
  | { readonly kind: 'listening'; readonly listenerFd: number }
  | { readonly kind: 'unable'; readonly errno: number; readonly syscall: string }
  | { readonly kind: 'spawned'; readonly id: number; readonly pid: number }
  | { readonly kind: 'not-spawned'; readonly id: number; readonly errno: number; readonly path: string };
