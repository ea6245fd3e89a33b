/**
 * The guest's memory as the monitor sees it: what a guest finds in it at its start, how it is doing, and whether every page is
 * what the guest has made of it. Works on an ArrayBuffer; it never runs anything.
 *
 *     0x1000  segment descriptors          0x5000..0x8000  stack
 *     0x2000  interrupt descriptors        0x8000..0xb000  page tables: 1 GiB at its own address, 2 MiB pages
 *     0x3000  the board                    0x10000..end    the pages that are walked
 *     0x4000  the program
 */
import { BOARD, BOARD_AT, PROGRAM, STRIDE, labelOffset } from './program.js';

export const PAGE_BYTES = 4096;
export const GDT_AT = 0x1000;
export const GDT_BYTES = 24;
export const IDT_AT = 0x2000;
export const IDT_BYTES = 4096;
export const PROGRAM_AT = 0x4000;
export const STACK_TOP = 0x8000;
export const PAGE_TABLES_AT = 0x8000;
export const WALKED_AT = 0x10000;
export const MEMORY_BYTES_MAX = 2 ** 30;
export const CODE_SELECTOR = 0x08;
export const DATA_SELECTOR = 0x10;
/** Of the one device. */
export const VECTOR = 0x20;

/** `luo-kvm1` */
const MAGIC = 0x316d766b2d6f756cn;
const CODE_DESCRIPTOR = 0x00af9b000000ffffn;
const DATA_DESCRIPTOR = 0x00cf93000000ffffn;
/** Present, ring 0, 64-bit interrupt gate: interrupts are off in the handler. */
const GATE = 0x8e00n;
const PRESENT_WRITABLE = 3n;
const LARGE_PAGE = 0x80n;
const LARGE_PAGE_BYTES = 2 ** 21;

export interface Board {
  readonly rounds: number;
  readonly pages: number;
  readonly interrupts: number;
  readonly ticks: number;
  readonly empty: number;
  readonly wrong: number;
  readonly boots: number;
}

export interface Verification {
  readonly pages: number;
  readonly wrongPages: number;
  readonly wrongWords: number;
  /** Guest address of the first wrong word. */
  readonly firstWrong: number | null;
}

/** @throws RangeError size not usable */
export function checkMemorySize(sizeBytes: number): void {
  if (sizeBytes >= WALKED_AT + PAGE_BYTES && sizeBytes <= MEMORY_BYTES_MAX && sizeBytes % PAGE_BYTES === 0) return;
  throw new RangeError(
    `a guest cannot have ${sizeBytes} bytes: whole pages, ${WALKED_AT + PAGE_BYTES} to ${MEMORY_BYTES_MAX}`,
  );
}

/** What stays in a word at `address` after so many rounds is this ^ address. */
export function seed(rounds: number): { readonly low: number; readonly high: number } {
  const value = BigInt.asUintN(64, BigInt(rounds) * STRIDE);
  return { low: Number(value & 0xffffffffn), high: Number(value >> 32n) };
}

/** All that a guest finds when it is switched on. Whatever was there is gone; only boots are counted on. */
export function installGuest(memory: ArrayBuffer): void {
  checkMemorySize(memory.byteLength);
  const boots = isGuest(memory) ? readBoard(memory).boots : 0;
  const bytes = Buffer.from(memory);
  bytes.fill(0, 0, WALKED_AT);
  const view = new DataView(memory);
  const word = (at: number, value: bigint): void => view.setBigUint64(at, value, true);
  word(GDT_AT + CODE_SELECTOR, CODE_DESCRIPTOR);
  word(GDT_AT + DATA_SELECTOR, DATA_DESCRIPTOR);
  installGate(word, VECTOR, PROGRAM_AT + labelOffset('interrupt'));
  installPageTables(word);
  PROGRAM.copy(bytes, PROGRAM_AT);
  fill(memory);
  word(BOARD_AT + BOARD.first, BigInt(WALKED_AT));
  word(BOARD_AT + BOARD.end, BigInt(memory.byteLength));
  word(BOARD_AT + BOARD.boots, BigInt(boots + 1));
  word(BOARD_AT + BOARD.magic, MAGIC);
}

type PutWord = (at: number, value: bigint) => void;

function installGate(word: PutWord, vector: number, handler: number): void {
  const offset = BigInt(handler);
  word(
    IDT_AT + vector * 16,
    (offset & 0xffffn) | (BigInt(CODE_SELECTOR) << 16n) | (GATE << 32n) | ((offset >> 16n) << 48n),
  );
  word(IDT_AT + vector * 16 + 8, offset >> 32n);
}

function installPageTables(word: PutWord): void {
  const [top, pointers, directory] = [PAGE_TABLES_AT, PAGE_TABLES_AT + PAGE_BYTES, PAGE_TABLES_AT + 2 * PAGE_BYTES];
  word(top, BigInt(pointers) | PRESENT_WRITABLE);
  word(pointers, BigInt(directory) | PRESENT_WRITABLE);
  for (let index = 0; index < MEMORY_BYTES_MAX / LARGE_PAGE_BYTES; index += 1) {
    word(directory + index * 8, BigInt(index * LARGE_PAGE_BYTES) | LARGE_PAGE | PRESENT_WRITABLE);
  }
}

/** As after round 0. */
function fill(memory: ArrayBuffer): void {
  const words = new Uint32Array(memory);
  for (let index = WALKED_AT / 4; index < words.length; index += 2) {
    words[index] = index * 4;
    words[index + 1] = 0;
  }
}

/** Whether a guest was ever booted in it. */
export function isGuest(memory: ArrayBuffer): boolean {
  return new DataView(memory).getBigUint64(BOARD_AT + BOARD.magic, true) === MAGIC;
}

export function readBoard(memory: ArrayBuffer): Board {
  const view = new DataView(memory, BOARD_AT);
  const word = (at: number): number => Number(view.getBigUint64(at, true));
  return {
    rounds: word(BOARD.rounds),
    pages: word(BOARD.pages),
    interrupts: word(BOARD.interrupts),
    ticks: word(BOARD.ticks),
    empty: word(BOARD.empty),
    wrong: word(BOARD.wrong),
    boots: word(BOARD.boots),
  };
}

/**
 * Compare every word of every page with what the guest must have left there, wherever it was stopped: pages before the one it is
 * at are of this round, pages behind it of the last, and that one itself is of this round up to some word.
 */
export function verifyMemory(memory: ArrayBuffer): Verification {
  const words = new Uint32Array(memory);
  const pages = (memory.byteLength - WALKED_AT) / PAGE_BYTES;
  const done = readBoard(memory).pages;
  const at = done % pages;
  const rounds = Math.floor(done / pages);
  const [old, current] = [seed(rounds), seed(rounds + 1)];
  const result = { wrongPages: 0, wrongWords: 0, firstWrong: null as number | null };
  for (let page = 0; page < pages; page += 1) {
    const first = (WALKED_AT + page * PAGE_BYTES) / 4;
    let wanted = page <= at ? current : old;
    let wrong = 0;
    for (let index = first; index < first + PAGE_BYTES / 4; index += 2) {
      // `>>> 0`: bitwise results are signed.
      const address = index * 4;
      if (words[index] === (wanted.low ^ address) >>> 0 && words[index + 1] === wanted.high) continue;
      if (page === at && wanted === current) {
        wanted = old;
        if (words[index] === (wanted.low ^ address) >>> 0 && words[index + 1] === wanted.high) continue;
      }
      wrong += 1;
      result.firstWrong ??= address;
    }
    result.wrongWords += wrong;
    if (wrong > 0) result.wrongPages += 1;
  }
  return { pages, ...result };
}
