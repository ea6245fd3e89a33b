/**
 * The guest: 64-bit code without an operating system. It walks its memory without end, a round after the other. At each word it
 * first looks whether it is as the last round left it, then writes what this round leaves there. It tells the monitor
 * about its progress by OUT, and sleeps after each round until the next tick.
 *
 * `pages` is the one word that says how far it is: incremented by one instruction when a page is whole, so that whoever stops
 * the guest, between any two instructions, knows what must be in every page. Beside it xmm0 counts the rounds as well:
 * a register of the floating-point unit that does not come back right is found by the guest itself.
 *
 * The bytes are what `as` makes of the text beside them; a test holds them together.
 */

/** Words of the board, the page in which guest and monitor tell each other how they are: byte offsets, 64 bit each. */
export const BOARD = {
  magic: 0x00,
  rounds: 0x08,
  pages: 0x10,
  interrupts: 0x18,
  ticks: 0x20,
  /** Interrupts for which the device had nothing to say: spurious ones. */
  empty: 0x28,
  /** Words that the guest did not find as it had left them. */
  wrong: 0x30,
  first: 0x38,
  end: 0x40,
  /** How often the guest was booted; the monitor's. */
  boots: 0x48,
} as const;
export const BOARD_AT = 0x3000;

/** Ports of the one device. `tick` says 1 when a tick is due, and takes it back with that. */
export const PORT = { progress: 0xe0, round: 0xe1, wrong: 0xe2, tick: 0xe3 } as const;

/** What a round adds to the pattern: 2^64 divided by the golden ratio. */
export const STRIDE = 0x9e3779b97f4a7c15n;

/** A line of the listing: bytes in hex and the instruction; a label has no bytes. */
export type Line = readonly [bytes: string, text: string];

export const LISTING: readonly Line[] = [
  ['', 'start:'],
  ['fc', 'cld'],
  ['bd 00 30 00 00', 'mov ebp, 0x3000'], // the board
  ['48 bb 15 7c 4a 7f b9 79 37 9e', 'movabs rbx, 0x9e3779b97f4a7c15'], // what a round adds to the pattern
  ['f3 0f 7e 45 08', 'movq xmm0, qword ptr [rbp+0x08]'], // rounds, in a register too
  ['b8 01 00 00 00', 'mov eax, 1'],
  ['66 48 0f 6e c8', 'movq xmm1, rax'],
  ['4c 8b 65 20', 'mov r12, [rbp+0x20]'], // the last tick that was seen
  ['fb', 'sti'],
  ['', 'round:'],
  ['48 8b 4d 08', 'mov rcx, [rbp+0x08]'],
  ['48 0f af cb', 'imul rcx, rbx'], // the last round left this ^ address
  ['48 8d 14 19', 'lea rdx, [rcx+rbx]'], // and this one leaves this ^ address
  ['48 8b 7d 38', 'mov rdi, [rbp+0x38]'],
  ['', 'page:'],
  ['48 8d b7 00 10 00 00', 'lea rsi, [rdi+0x1000]'],
  ['', 'each:'],
  ['48 89 f8', 'mov rax, rdi'],
  ['48 31 c8', 'xor rax, rcx'],
  ['48 3b 07', 'cmp rax, [rdi]'],
  ['75 4e', 'jne wrong'],
  ['', 'store:'],
  ['48 89 f8', 'mov rax, rdi'],
  ['48 31 d0', 'xor rax, rdx'],
  ['48 ab', 'stosq'],
  ['48 39 f7', 'cmp rdi, rsi'],
  ['72 e8', 'jb each'],
  ['48 ff 45 10', 'inc qword ptr [rbp+0x10]'], // the page is whole
  ['f7 c7 ff ff 03 00', 'test edi, 0x3ffff'], // every 256 KiB
  ['75 04', 'jne next'],
  ['89 f8', 'mov eax, edi'],
  ['e7 e0', 'out 0xe0, eax'],
  ['', 'next:'],
  ['48 3b 7d 40', 'cmp rdi, [rbp+0x40]'],
  ['72 cb', 'jb page'],
  ['48 ff 45 08', 'inc qword ptr [rbp+0x08]'],
  ['66 0f d4 c1', 'paddq xmm0, xmm1'],
  ['66 48 0f 7e c0', 'movq rax, xmm0'],
  ['48 3b 45 08', 'cmp rax, [rbp+0x08]'],
  ['74 04', 'je kept'],
  ['48 ff 45 30', 'inc qword ptr [rbp+0x30]'],
  ['', 'kept:'],
  ['e7 e1', 'out 0xe1, eax'],
  ['', 'sleep:'],
  ['fa', 'cli'], // a tick between the look and the hlt would be slept through
  ['4c 3b 65 20', 'cmp r12, [rbp+0x20]'],
  ['75 04', 'jne awake'],
  ['fb', 'sti'],
  ['f4', 'hlt'],
  ['eb f5', 'jmp sleep'],
  ['', 'awake:'],
  ['4c 8b 65 20', 'mov r12, [rbp+0x20]'],
  ['fb', 'sti'],
  ['eb 90', 'jmp round'],
  ['', 'wrong:'],
  ['48 ff 45 30', 'inc qword ptr [rbp+0x30]'],
  ['89 f8', 'mov eax, edi'],
  ['e7 e2', 'out 0xe2, eax'],
  ['eb a8', 'jmp store'],
  ['', 'interrupt:'],
  ['50', 'push rax'],
  ['48 ff 45 18', 'inc qword ptr [rbp+0x18]'],
  ['e5 e3', 'in eax, 0xe3'], // is anything the matter?
  ['85 c0', 'test eax, eax'],
  ['74 07', 'je empty'],
  ['48 ff 45 20', 'inc qword ptr [rbp+0x20]'],
  ['58', 'pop rax'],
  ['48 cf', 'iretq'],
  ['', 'empty:'],
  ['48 ff 45 28', 'inc qword ptr [rbp+0x28]'],
  ['58', 'pop rax'],
  ['48 cf', 'iretq'],
];

const bytesOf = ([bytes]: Line): Buffer => Buffer.from(bytes.replaceAll(' ', ''), 'hex');

export const PROGRAM: Buffer = Buffer.concat(LISTING.map(bytesOf));

/** Where a label is, in bytes from the program's begin. @throws Error there is no such label */
export function labelOffset(label: string): number {
  let offset = 0;
  for (const line of LISTING) {
    if (line[1] === `${label}:`) return offset;
    offset += bytesOf(line).length;
  }
  throw new Error(`the guest's program has no label '${label}'`);
}
