// Goal: memory that is not what the guest has left there is found, wherever the guest was stopped, and nothing else is.
// Method: a model of the guest, some lines of JavaScript, walks a small memory and is stopped after any word.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  CODE_SELECTOR,
  GDT_AT,
  IDT_AT,
  MEMORY_BYTES_MAX,
  PAGE_BYTES,
  PAGE_TABLES_AT,
  PROGRAM_AT,
  VECTOR,
  WALKED_AT,
  checkMemorySize,
  installGuest,
  isGuest,
  readBoard,
  seed,
  verifyMemory,
} from '../../examples/kvm-guest/guest-memory.js';
import { BOARD, BOARD_AT, PROGRAM, STRIDE, labelOffset } from '../../examples/kvm-guest/program.js';

const PAGES = 5;
const WORDS = PAGE_BYTES / 8;

function booted(): ArrayBuffer {
  const memory = new ArrayBuffer(WALKED_AT + PAGES * PAGE_BYTES);
  installGuest(memory);
  return memory;
}

/** What the guest does, for so many words; `pages` is counted when the last word of a page is written. */
function walk(memory: ArrayBuffer, words: number): void {
  const view = new DataView(memory);
  const board = BOARD_AT + BOARD.pages;
  for (let done = 0; done < words; done += 1) {
    const rounds = BigInt(Math.floor(done / (PAGES * WORDS)));
    const address = WALKED_AT + (done % (PAGES * WORDS)) * 8;
    const value = BigInt.asUintN(64, (rounds + 1n) * STRIDE) ^ BigInt(address);
    view.setBigUint64(address, value, true);
    if ((done + 1) % WORDS === 0) view.setBigUint64(board, view.getBigUint64(board, true) + 1n, true);
  }
}

function flip(memory: ArrayBuffer, address: number): void {
  const view = new DataView(memory);
  view.setUint8(address, view.getUint8(address) ^ 0x40);
}

test('a guest that was just booted has nothing wrong, in every page', () => {
  const memory = booted();
  assert.deepEqual(verifyMemory(memory), { pages: PAGES, wrongPages: 0, wrongWords: 0, firstWrong: null });
  assert.deepEqual(readBoard(memory), {
    rounds: 0,
    pages: 0,
    interrupts: 0,
    ticks: 0,
    empty: 0,
    wrong: 0,
    boots: 1,
  });
});

test('wherever the guest is stopped, nothing is wrong', () => {
  for (const words of [1, WORDS - 1, WORDS, WORDS + 1, PAGES * WORDS - 1, PAGES * WORDS, PAGES * WORDS * 3 + 777]) {
    const memory = booted();
    walk(memory, words);
    assert.equal(verifyMemory(memory).wrongWords, 0, `${words} words`);
  }
});

test('between a page and its count nothing is wrong either', () => {
  const memory = booted();
  walk(memory, WORDS * 2);
  const view = new DataView(memory);
  view.setBigUint64(BOARD_AT + BOARD.pages, 1n, true);
  assert.equal(verifyMemory(memory).wrongWords, 0);
});

test('one bit is found, in any page: done, at work, to do', () => {
  for (const page of [0, 1, 2, 3, 4]) {
    const memory = booted();
    walk(memory, PAGES * WORDS + 2 * WORDS + 100);
    const address = WALKED_AT + page * PAGE_BYTES + 4001;
    flip(memory, address);
    assert.deepEqual(verifyMemory(memory), {
      pages: PAGES,
      wrongPages: 1,
      wrongWords: 1,
      firstWrong: address - (address % 8),
    });
  }
});

test('a page of the round before the last is found', () => {
  const memory = booted();
  walk(memory, PAGES * WORDS);
  const stale = memory.slice(WALKED_AT + PAGE_BYTES, WALKED_AT + 2 * PAGE_BYTES);
  walk(memory, 2 * PAGES * WORDS);
  new DataView(memory).setBigUint64(BOARD_AT + BOARD.pages, BigInt(2 * PAGES), true);
  new Uint8Array(memory).set(new Uint8Array(stale), WALKED_AT + PAGE_BYTES);
  assert.equal(verifyMemory(memory).wrongWords, WORDS);
});

test('two pages that have changed places are found, and a page of zeros', () => {
  const memory = booted();
  walk(memory, PAGES * WORDS);
  const bytes = new Uint8Array(memory);
  const first = bytes.slice(WALKED_AT, WALKED_AT + PAGE_BYTES);
  bytes.copyWithin(WALKED_AT, WALKED_AT + PAGE_BYTES, WALKED_AT + 2 * PAGE_BYTES);
  bytes.set(first, WALKED_AT + PAGE_BYTES);
  bytes.fill(0, WALKED_AT + 4 * PAGE_BYTES, WALKED_AT + 5 * PAGE_BYTES);
  assert.equal(verifyMemory(memory).wrongPages, 3);
});

test('the page at work is of this round up to one word: a new word behind an old one is wrong', () => {
  const memory = booted();
  walk(memory, 10);
  const address = WALKED_AT + 20 * 8;
  new DataView(memory).setBigUint64(address, BigInt.asUintN(64, STRIDE) ^ BigInt(address), true);
  assert.deepEqual(verifyMemory(memory), { pages: PAGES, wrongPages: 1, wrongWords: 1, firstWrong: address });
});

test('a lie about how far the guest is, is found', () => {
  const memory = booted();
  walk(memory, 2 * WORDS);
  new DataView(memory).setBigUint64(BOARD_AT + BOARD.pages, 4n, true);
  assert.equal(verifyMemory(memory).wrongPages, 2);
});

test('the seed of a round is 64 bit, for millions of rounds', () => {
  assert.deepEqual(seed(0), { low: 0, high: 0 });
  assert.deepEqual(seed(1), { low: 0x7f4a7c15, high: 0x9e3779b9 });
  const value = BigInt.asUintN(64, 123_456_789n * STRIDE);
  assert.deepEqual(seed(123_456_789), { low: Number(value & 0xffffffffn), high: Number(value >> 32n) });
});

test('booting again clears the memory, and counts on', () => {
  const memory = booted();
  walk(memory, 3000);
  flip(memory, WALKED_AT);
  installGuest(memory);
  assert.equal(verifyMemory(memory).wrongWords, 0);
  assert.deepEqual([readBoard(memory).pages, readBoard(memory).boots], [0, 2]);
});

test('memory in which no guest was booted is not taken for one', () => {
  const memory = new ArrayBuffer(WALKED_AT + PAGE_BYTES);
  assert.equal(isGuest(memory), false);
  new Uint8Array(memory).fill(0xff);
  assert.equal(isGuest(memory), false);
  installGuest(memory);
  assert.equal(isGuest(memory), true);
  assert.equal(readBoard(memory).boots, 1);
});

test('sizes that no guest can have are refused', () => {
  for (const size of [
    0,
    4096,
    WALKED_AT,
    WALKED_AT + 1,
    WALKED_AT + PAGE_BYTES + 8,
    MEMORY_BYTES_MAX + PAGE_BYTES,
    NaN,
  ])
    assert.throws(() => checkMemorySize(size), RangeError, `${size}`);
  checkMemorySize(WALKED_AT + PAGE_BYTES);
  checkMemorySize(MEMORY_BYTES_MAX);
});

test('the interrupt of the device leads to its handler, and no other vector leads anywhere', () => {
  const view = new DataView(booted());
  for (let vector = 0; vector < 256; vector += 1) {
    const at = IDT_AT + vector * 16;
    if (vector !== VECTOR) {
      assert.equal(view.getBigUint64(at, true), 0n, `${vector}`);
      continue;
    }
    assert.equal(view.getUint16(at, true), PROGRAM_AT + labelOffset('interrupt'));
    assert.equal(view.getUint16(at + 2, true), CODE_SELECTOR);
    // No stack of its own; present, ring 0, a gate that turns interrupts off.
    assert.deepEqual([view.getUint8(at + 4), view.getUint8(at + 5)], [0, 0x8e]);
    assert.equal(view.getUint16(at + 6, true) + view.getUint32(at + 8, true), 0);
  }
  // The code segment: present, ring 0, executable, 64 bit.
  assert.equal(view.getUint8(GDT_AT + CODE_SELECTOR + 5) & 0xf8, 0x98);
  assert.equal(view.getUint8(GDT_AT + CODE_SELECTOR + 6) & 0x60, 0x20);
});

test('every address of the guest is its own page of memory', () => {
  const view = new DataView(booted());
  const entry = (table: bigint, index: number): bigint => view.getBigUint64(Number(table) + index * 8, true);
  for (const address of [0, PROGRAM_AT, WALKED_AT, 0x1fffff, 0x200000, 0x12345678, MEMORY_BYTES_MAX - 1]) {
    let table = BigInt(PAGE_TABLES_AT);
    for (const shift of [39, 30]) {
      const found = entry(table, Math.floor(address / 2 ** shift) % 512);
      assert.equal(found & 0x83n, 3n);
      table = found & ~0xfffn;
    }
    const large = entry(table, Math.floor(address / 2 ** 21) % 512);
    assert.equal(large & 0x83n, 0x83n);
    assert.equal(Number(large & ~0x1fffffn) + (address % 2 ** 21), address);
  }
});

test('the program is in the memory as it is', () => {
  const memory = Buffer.from(booted());
  assert.deepEqual(memory.subarray(PROGRAM_AT, PROGRAM_AT + PROGRAM.length), PROGRAM);
});
