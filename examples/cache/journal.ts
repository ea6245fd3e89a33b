/**
 * The one change that is made in place: the expiry of an entry, two words. It is written down in region 0 first, so that
 * a process that is killed between the two words leaves the old expiry or the new one, never half of each.
 *
 * Order: address and both words, then the check (now the change will happen), then the entry's two words, then the check
 * back to 0. A repair replays a record whose check is right, and forgets every other.
 */
import { ENTRY, HEADER } from './layout.js';
import { mix } from './hash.js';
import { type Entries, expiryHigh, expiryLow } from './entries.js';

function recordCheck(header: Uint32Array): number {
  const parts = header[HEADER.journalLow]! ^ Math.imul(header[HEADER.journalHigh]!, 0x9e3779b1);
  return mix(header[HEADER.journalAddress]! ^ mix(parts) ^ header[HEADER.secret]!) || 1;
}

/** Set the expiry of an entry: ms since 1970, or NO_EXPIRY. */
export function changeExpiry(entries: Entries, address: number, expiry: number): void {
  const header = entries.regions[0]!.words;
  header[HEADER.journalAddress] = address;
  header[HEADER.journalLow] = expiryLow(expiry);
  header[HEADER.journalHigh] = expiryHigh(expiry);
  header[HEADER.journalCheck] = recordCheck(header);
  apply(entries, header);
}

/** After a death: finish the change that was in flight, if its record is whole. */
export function replayJournal(entries: Entries): void {
  const header = entries.regions[0]!.words;
  const check = header[HEADER.journalCheck]!;
  if (check !== 0 && check === recordCheck(header)) apply(entries, header);
  else header[HEADER.journalCheck] = 0;
}

function apply(entries: Entries, header: Uint32Array): void {
  const address = header[HEADER.journalAddress]!;
  const words = entries.region(address).words;
  const at = entries.word(address);
  words[at + ENTRY.expiryLow] = header[HEADER.journalLow]!;
  words[at + ENTRY.expiryHigh] = header[HEADER.journalHigh]!;
  header[HEADER.journalCheck] = 0;
}
