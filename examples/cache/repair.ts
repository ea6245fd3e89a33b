/**
 * Makes a store whole again whose last process died at any instant, perhaps in the middle of a write.
 *
 * It believes two things only: the kind of each page, one aligned word, and the check of each entry. First pass: every
 * entry whose check does not hold is made void, and bitmap, free lists and counts are written anew from what is left.
 * Second pass: the index is built anew; where a key has two whole entries (its process died between the new one and the
 * end of the old one) the later one stays. Killed in between, it is simply done again: it only makes void what is torn.
 */
import { ENTRY, HEADER, KIND, PAGE, PAGE_BYTES, PAGE_RECORD_WORDS, SLOT_BYTES } from './layout.js';
import { NO_EXPIRY } from './entries.js';
import { replayJournal } from './journal.js';
import { SLOTS_OF_CLASS } from './slabs.js';
import type { Store } from './store.js';
import { addressesOf, usedPages, type UsedPage } from './walk.js';

/** What a repair found. */
export interface RepairReport {
  /** Entries that were whole and stay. */
  readonly kept: number;
  /** Half-written entries that were dropped. */
  readonly dropped: number;
  /** Older values that were dropped because the newer one was whole. */
  readonly duplicates: number;
  readonly durationMs: number;
}

/** Repair `store`, which its process may write and nobody else uses. Takes time by the size of what is stored. */
export function repair(store: Store): RepairReport {
  const startNs = process.hrtime.bigint();
  const header = store.regions[0]!.words;
  replayJournal(store.entries);
  const dropped = rebuildPages(store);
  const { kept, duplicates } = rebuildIndex(store);
  header[HEADER.repairs]! += 1;
  header[HEADER.repairedKept] = kept;
  header[HEADER.repairedDropped] = dropped;
  header[HEADER.repairedDuplicates] = duplicates;
  return { kept, dropped, duplicates, durationMs: Number(process.hrtime.bigint() - startNs) / 1e6 };
}

/** First pass. @returns how many half-written entries were dropped */
function rebuildPages(store: Store): number {
  let dropped = 0;
  const header = store.regions[0]!.words;
  for (let index = 0; index < SLOT_BYTES.length; index += 1) header[HEADER.partial + index] = 0;
  for (const region of store.regions) store.pages.format(region);
  store.pages.forget();
  for (const used of usedPages(store.regions)) {
    if (used.kind === 'slab') dropped += rebuildSlab(store, used);
    else if (used.kind === 'run') dropped += rebuildRun(store, used);
    else used.region.words[used.record + PAGE.kind] = KIND.free;
  }
  return dropped;
}

function rebuildSlab(store: Store, used: UsedPage): number {
  const words = used.region.words;
  const carved = words[used.record + PAGE.carved]!;
  const roomBytes = SLOT_BYTES[used.sizeClass]!;
  let live = 0;
  let dropped = 0;
  let freeSlot = 0;
  const addresses = addressesOf(used);
  for (let slot = addresses.length - 1; slot >= 0; slot -= 1) {
    const address = addresses[slot]!;
    const at = store.entries.word(address);
    if (store.entries.isWhole(address, roomBytes)) {
      live += 1;
      continue;
    }
    // Rooms that were never used hold whatever the page held before.
    if (words[at + ENTRY.check] !== 0 && slot < carved) dropped += 1;
    words[at + ENTRY.check] = 0;
    words[at + ENTRY.next] = freeSlot;
    freeSlot = slot + 1;
  }
  words[used.record + PAGE.used] = live;
  words[used.record + PAGE.freeSlot] = freeSlot;
  words[used.record + PAGE.carved] = SLOTS_OF_CLASS[used.sizeClass]!;
  words[used.record + PAGE.next] = 0;
  words[used.record + PAGE.previous] = 0;
  if (live === 0) {
    words[used.record + PAGE.kind] = KIND.free;
  } else {
    store.pages.claim(used.region, used.page, 1);
    if (live < SLOTS_OF_CLASS[used.sizeClass]!) store.slabs.link(used.pageId, used.sizeClass);
  }
  return dropped;
}

function rebuildRun(store: Store, used: UsedPage): number {
  const address = addressesOf(used)[0]!;
  if (!store.entries.isWhole(address, used.count * PAGE_BYTES)) {
    const torn = used.region.words[store.entries.word(address) + ENTRY.check] === 0 ? 0 : 1;
    store.entries.kill(address);
    used.region.words[used.record + PAGE.kind] = KIND.free;
    return torn;
  }
  for (let page = used.page + 1; page < used.page + used.count; page += 1) {
    used.region.words[used.region.recordsWord + page * PAGE_RECORD_WORDS + PAGE.kind] = KIND.free;
  }
  store.pages.claim(used.region, used.page, used.count);
  return 0;
}

/** Second pass. */
function rebuildIndex(store: Store): { kept: number; duplicates: number } {
  const header = store.regions[0]!.words;
  const { entries, table, slabs } = store;
  header[HEADER.entries] = 0;
  header[HEADER.volatileEntries] = 0;
  table.format();
  let duplicates = 0;
  for (const used of usedPages(store.regions)) {
    for (const address of addressesOf(used)) {
      if (used.region.words[entries.word(address) + ENTRY.check] === 0) continue;
      const hash = entries.hash(address);
      const bytes = used.region.bytes;
      const other = table.find(hash, bytes, entries.keyStart(address), entries.keyLength(address));
      const isLater = other === 0 || ((entries.sequence(address) - entries.sequence(other)) | 0) > 0;
      const loser = isLater ? other : address;
      if (other === 0) {
        header[HEADER.entries]! += 1;
        table.insert(address, hash);
      } else if (isLater) {
        table.replace(other, address);
      }
      if (loser !== 0) {
        duplicates += 1;
        if (loser !== address && entries.expiry(loser) !== NO_EXPIRY) header[HEADER.volatileEntries]! -= 1;
        entries.kill(loser);
        slabs.free(loser);
      }
      if (isLater && entries.expiry(address) !== NO_EXPIRY) header[HEADER.volatileEntries]! += 1;
    }
  }
  return { kept: header[HEADER.entries]!, duplicates };
}
