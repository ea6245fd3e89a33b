/**
 * Says what is wrong with a store: compares everything that is kept twice (index and entries, bitmap and page records,
 * counters and what they count). For tests and for a doubt; reads all of the memory and changes nothing.
 */
import { BITMAP_WORD, ENTRY, HEADER, PAGE, PAGE_BYTES, SLOT_BYTES } from './layout.js';
import { NO_EXPIRY } from './entries.js';
import { SLOTS_OF_CLASS } from './slabs.js';
import type { Store } from './store.js';
import { addressesOf, usedPages } from './walk.js';

/** @returns one sentence for each thing that is wrong; none when the store is sound */
export function problemsOf(store: Store): string[] {
  const problems: string[] = [];
  const indexed = indexedAddresses(store, problems);
  let volatileCount = 0;
  for (const address of indexed) if (store.entries.expiry(address) !== NO_EXPIRY) volatileCount += 1;
  expect(problems, 'entries in the index', indexed.size, store.count);
  expect(problems, 'entries with an expiry', volatileCount, store.volatileCount);
  checkPages(store, indexed, problems);
  checkPartialLists(store, problems);
  if (store.headerWord(HEADER.journalCheck) !== 0) problems.push('the journal of expiries is not empty');
  return problems;
}

function expect(problems: string[], what: string, found: number, recorded: number): void {
  if (found !== recorded) problems.push(`${what}: ${found} found, ${recorded} recorded`);
}

function indexedAddresses(store: Store, problems: string[]): Set<number> {
  const indexed = new Set<number>();
  const keys = new Set<string>();
  const { entries, table } = store;
  for (let bucket = 0; bucket < table.buckets; bucket += 1) {
    for (let address = table.head(bucket); address !== 0; address = entries.next(address)) {
      if (indexed.has(address)) {
        problems.push(`entry ${address} is twice in the index`);
        break;
      }
      indexed.add(address);
      if (!entries.isWhole(address, store.slabs.roomBytes(address))) problems.push(`entry ${address} is not whole`);
      if (table.bucketOf(entries.hash(address)) !== bucket) problems.push(`entry ${address} is in a wrong bucket`);
      const start = entries.keyStart(address);
      const key = entries.region(address).bytes.toString('latin1', start, start + entries.keyLength(address));
      if (keys.has(key)) problems.push(`key '${key}' has two entries`);
      keys.add(key);
    }
  }
  return indexed;
}

function checkPages(store: Store, indexed: ReadonlySet<number>, problems: string[]): void {
  const segments = new Set(store.table.segments());
  const usedOf = new Map(store.regions.map((region) => [region, new Set<number>()]));
  let roomsUsed = 0;
  for (const used of usedPages(store.regions)) {
    for (let page = used.page; page < used.page + used.count; page += 1) usedOf.get(used.region)!.add(page);
    if (used.kind === 'index') {
      if (!segments.delete(used.pageId))
        problems.push(`page ${used.pageId} says index, and the index does not know it`);
      continue;
    }
    const addresses = addressesOf(used);
    const live = addresses.filter((address) => indexed.has(address)).length;
    roomsUsed += live;
    if (used.kind === 'slab')
      checkSlab(store, used.pageId, used.record, used.region.words, used.sizeClass, live, problems);
    else if (live !== 1) problems.push(`run ${used.pageId} holds no entry`);
    const roomBytes = used.kind === 'slab' ? SLOT_BYTES[used.sizeClass]! : used.count * PAGE_BYTES;
    for (const address of addresses) {
      if (!indexed.has(address) && store.entries.isWhole(address, roomBytes)) {
        problems.push(`entry ${address} is whole and not in the index`);
      }
    }
  }
  expect(problems, 'rooms with an entry', roomsUsed, indexed.size);
  if (segments.size > 0) problems.push(`index pages ${[...segments].join()} are not marked as such`);
  for (const [index, region] of store.regions.entries()) {
    const used = usedOf.get(region)!;
    expect(problems, `pages of region ${index}`, used.size + region.layout.firstPage, region.words[HEADER.pagesUsed]!);
    for (let page = 0; page < region.pageCount; page += 1) {
      const marked = ((region.words[BITMAP_WORD + (page >>> 5)]! >>> (page & 31)) & 1) === 1;
      const wanted = page < region.layout.firstPage || used.has(page);
      if (marked !== wanted) problems.push(`page ${page} of region ${index} is ${marked ? '' : 'not '}marked as used`);
    }
  }
}

function checkSlab(
  store: Store,
  pageId: number,
  record: number,
  words: Uint32Array,
  sizeClass: number,
  live: number,
  problems: string[],
): void {
  expect(problems, `entries of page ${pageId}`, live, words[record + PAGE.used]!);
  const first = pageId * 1024;
  let free = SLOTS_OF_CLASS[sizeClass]! - words[record + PAGE.carved]!;
  for (let slot = words[record + PAGE.freeSlot]!; slot !== 0; free += 1) {
    const at = store.entries.word(first + (slot - 1) * (SLOT_BYTES[sizeClass]! / 16));
    if (words[at + ENTRY.check] !== 0 || free > SLOTS_OF_CLASS[sizeClass]!) {
      problems.push(`the free list of page ${pageId} runs into a used room`);
      break;
    }
    slot = words[at + ENTRY.next]!;
  }
  expect(problems, `free rooms of page ${pageId}`, free, SLOTS_OF_CLASS[sizeClass]! - live);
}

function checkPartialLists(store: Store, problems: string[]): void {
  const listed = new Set<number>();
  const records = new Map([...usedPages(store.regions)].map((used) => [used.pageId, used]));
  for (let sizeClass = 0; sizeClass < SLOT_BYTES.length; sizeClass += 1) {
    let previous = 0;
    for (let pageId = store.headerWord(HEADER.partial + sizeClass); pageId !== 0;) {
      const used = records.get(pageId);
      if (used?.sizeClass !== sizeClass || listed.has(pageId)) {
        problems.push(`page ${pageId} is wrongly in the list of class ${sizeClass}`);
        break;
      }
      listed.add(pageId);
      if (used.region.words[used.record + PAGE.previous] !== previous)
        problems.push(`page ${pageId} is linked wrongly`);
      previous = pageId;
      pageId = used.region.words[used.record + PAGE.next]!;
    }
  }
  for (const used of records.values()) {
    if (used.kind !== 'slab') continue;
    const hasRoom = used.region.words[used.record + PAGE.used]! < SLOTS_OF_CLASS[used.sizeClass]!;
    if (hasRoom !== listed.has(used.pageId)) problems.push(`page ${used.pageId} is ${hasRoom ? 'not ' : ''}listed`);
  }
}
