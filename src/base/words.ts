/**
 * The words of luo: the same in code, command line, JSON, journal and docs. Strings, never integers: the kernel's own
 * integers for the states changed between two versions of its patches.
 */

/** Where an update stands. One state for the whole machine. */
export const STATES = ['normal', 'prepared', 'frozen', 'updated'] as const;
export type State = (typeof STATES)[number];

/** The transition that is running; null between transitions. The state shown meanwhile is the one it left. */
export const PHASES = ['preparing', 'freezing', 'committing', 'finishing', 'cancelling'] as const;
export type Phase = (typeof PHASES)[number];

/** Across what an update carries state: the next program, or the next kernel. */
export const GAPS = ['handover', 'kexec'] as const;
export type Gap = (typeof GAPS)[number];

/** The three kinds of handle. */
export const KINDS = ['fd', 'device', 'global'] as const;
export type Kind = (typeof KINDS)[number];

/** What a handle wants to happen to it in a gap. */
export const WANTS = ['keep', 'leave'] as const;
export type Want = (typeof WANTS)[number];

/** What happens to a handle that nobody claims: wait for the operator, hold it for the next time, or drop it. */
export const POLICIES = ['fail', 'hold', 'discard'] as const;
export type Policy = (typeof POLICIES)[number];

/** The six calls that luod makes to a participant, and luod's own two words to it. `thaw` is `cancel` of a frozen member. */
export const CALLS = ['prepare', 'freeze', 'restore', 'canFinish', 'finish', 'cancel', 'go', 'retire'] as const;
export type Call = (typeof CALLS)[number];

/** What the keeper records of an attempt: first writer wins. */
export const OUTCOMES = ['committed', 'aborted'] as const;
export type Outcome = (typeof OUTCOMES)[number];

/** Why a process is here: nothing waits for it, an old process is alive, or the old one is gone and its state is kept. */
export const ROLES = ['first', 'successor', 'restart'] as const;
export type Role = (typeof ROLES)[number];

/** When a service is started again after it ended by itself. */
export const RESTARTS = ['no', 'on-failure', 'always'] as const;
export type Restart = (typeof RESTARTS)[number];

/** Names one handle: unique per owner and kind. */
export interface HandleRef {
  readonly owner: string;
  readonly kind: Kind;
  readonly name: string;
}

/** `owner/kind:name`, the one spelling of a handle in messages, files and logs. */
export function handleKey(handle: HandleRef): string {
  return `${handle.owner}/${handle.kind}:${handle.name}`;
}

/** The opposite of {@link handleKey}; undefined when `text` is no handle key. */
export function parseHandleKey(text: string): HandleRef | undefined {
  const match = /^(.+?)\/(fd|device|global):(.+)$/.exec(text);
  if (!match) return undefined;
  return { owner: match[1]!, kind: match[2] as Kind, name: match[3]! };
}

/** For the end of a `switch` over a union: a new member becomes a compile error here. */
export function assertNever(value: never): never {
  throw new TypeError(`unexpected value ${JSON.stringify(value)}`);
}
