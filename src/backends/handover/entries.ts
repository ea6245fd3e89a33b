/**
 * How sessions lie in the keeper: one entry for the session itself, `session/NAME/ID/`, without fds, and one for each
 * token, `session/NAME/ID/TOKEN`, with its fd. NAME is percent-encoded, ID the number of the session in decimal (an outgoing and
 * an incoming session may share a name), TOKEN 16 digits of hexadecimal.
 * Unhappy path: entries that do not read as this, or come from a newer version, are left alone: `unread` names them.
 */
import type { Direction } from '../../ports/index.js';

const VERSION = 1;
export const SESSIONS_PREFIX = 'session/';

export interface SessionMeta {
  readonly v: number;
  readonly direction: Direction;
  readonly held: boolean;
}
export interface TokenMeta {
  readonly v: number;
  /** Order of preserving in its session. */
  readonly sequence: number;
}

/** A session as its entries tell it, tokens in the order of preserving. */
export interface KeptSession {
  readonly name: string;
  readonly number: number;
  readonly direction: Direction;
  readonly held: boolean;
  readonly tokens: readonly { readonly token: bigint; readonly entry: string; readonly sequence: number }[];
}

export function sessionEntry(name: string, number: number): string {
  return `${SESSIONS_PREFIX}${encodeURIComponent(name)}/${number}/`;
}

export function tokenEntry(name: string, number: number, token: bigint): string {
  return sessionEntry(name, number) + token.toString(16).padStart(16, '0');
}

export function sessionMeta(direction: Direction, held: boolean): SessionMeta {
  return { v: VERSION, direction, held };
}

export function tokenMeta(sequence: number): TokenMeta {
  return { v: VERSION, sequence };
}

/** The sessions of a list of entries, in the order of their numbers, and the names of entries that cannot be read. */
export function readEntries(
  entries: readonly { readonly name: string; readonly fds: number; readonly meta?: unknown }[],
): { readonly sessions: readonly KeptSession[]; readonly unread: readonly string[] } {
  const sessions = new Map<string, KeptSession & { tokens: { token: bigint; entry: string; sequence: number }[] }>();
  const unread: string[] = [];
  const tokens: { owner: string; token: bigint; entry: string; sequence: number }[] = [];
  for (const entry of entries) {
    const parts = /^session\/([^/]+)\/(\d+)\/([0-9a-f]{16})?$/.exec(entry.name);
    const meta = entry.meta as Partial<SessionMeta & TokenMeta> | undefined;
    const name = parts === null ? undefined : decoded(parts[1]!);
    if (parts === null || name === undefined || meta?.v !== VERSION) {
      unread.push(entry.name);
      continue;
    }
    if (parts[3] === undefined) {
      const direction = meta.direction === 'incoming' ? 'incoming' : 'outgoing';
      const kept = { name, number: Number(parts[2]), direction, held: meta.held === true, tokens: [] } as const;
      sessions.set(entry.name, { ...kept, tokens: [] });
    } else if (entry.fds === 1) {
      const owner = entry.name.slice(0, -16);
      tokens.push({ owner, token: BigInt(`0x${parts[3]}`), entry: entry.name, sequence: meta.sequence ?? 0 });
    } else unread.push(entry.name);
  }
  for (const { owner, ...token } of tokens) {
    const session = sessions.get(owner);
    if (session === undefined) unread.push(token.entry);
    else session.tokens.push(token);
  }
  for (const session of sessions.values()) session.tokens.sort((a, b) => a.sequence - b.sequence);
  return { sessions: [...sessions.values()].sort((a, b) => a.number - b.number), unread };
}

function decoded(text: string): string | undefined {
  try {
    return decodeURIComponent(text);
  } catch {
    return undefined;
  }
}
