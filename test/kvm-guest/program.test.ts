// Goal: the guest's bytes are what the listing says, and everything in its memory is where the processor looks for it.
// Method: jumps and operands are decoded from the bytes; the whole listing goes through `as`, where there is one.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { BOARD, BOARD_AT, LISTING, PORT, PROGRAM, STRIDE, labelOffset } from '../../examples/kvm-guest/program.js';
import { PROGRAM_AT, STACK_TOP, PAGE_TABLES_AT } from '../../examples/kvm-guest/guest-memory.js';

const SHORT_JUMPS: Readonly<Record<string, number>> = { jne: 0x75, jb: 0x72, je: 0x74, jmp: 0xeb };

/** Instructions with where they begin. */
function instructions(): { at: number; bytes: Buffer; text: string }[] {
  let at = 0;
  return LISTING.filter(([bytes]) => bytes !== '').map(([hex, text]) => {
    const bytes = Buffer.from(hex.replaceAll(' ', ''), 'hex');
    const found = { at, bytes, text };
    at += bytes.length;
    return found;
  });
}

test('the bytes are what the assembler makes of the listing', (context) => {
  const isMissing = spawnSync('as', ['--version']).status !== 0 || spawnSync('objcopy', ['--version']).status !== 0;
  if (isMissing || process.arch !== 'x64') return context.skip('needs as and objcopy (Debian: binutils) on x86-64');
  const folder = mkdtempSync(join(tmpdir(), 'luo-kvm-guest-'));
  try {
    const [source, object, binary] = ['s', 'o', 'bin'].map((ending) => join(folder, `guest.${ending}`)) as [
      string,
      string,
      string,
    ];
    writeFileSync(source, `.intel_syntax noprefix\n${LISTING.map(([, text]) => text).join('\n')}\n`);
    for (const [program, ...args] of [
      ['as', '--64', '-o', object, source],
      ['objcopy', '-O', 'binary', '-j', '.text', object, binary],
    ] as const) {
      const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
      assert.equal(status, 0, stderr);
    }
    assert.equal(PROGRAM.toString('hex'), readFileSync(binary).toString('hex'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('every jump lands on the label that it names', () => {
  let jumps = 0;
  for (const { at, bytes, text } of instructions()) {
    const [name, label] = text.split(' ');
    const opcode = SHORT_JUMPS[name!];
    if (opcode === undefined) continue;
    jumps += 1;
    assert.equal(bytes[0], opcode, text);
    assert.equal(at + bytes.length + bytes.readInt8(1), labelOffset(label!), text);
  }
  assert.equal(jumps, 10);
});

test('a label that is not there is an error, not an address', () => {
  assert.throws(() => labelOffset('nowhere'), /nowhere/);
});

test('every word of the board that the guest touches is one that has a name', () => {
  const named = new Set<number>(Object.values(BOARD));
  const touched = LISTING.flatMap(([, text]) =>
    [...text.matchAll(/\[rbp\+(0x[0-9a-f]+)\]/g)].map((match) => +match[1]!),
  );
  for (const offset of touched) assert.ok(named.has(offset), offset.toString(16));
  // Not the guest's: who it is, and how often it was booted.
  assert.deepEqual(
    [...named].filter((offset) => !touched.includes(offset)),
    [BOARD.magic, BOARD.boots],
  );
});

test('the guest knows the board, the ports and the pattern of the monitor', () => {
  const text = LISTING.map(([, line]) => line);
  assert.ok(text.includes(`mov ebp, 0x${BOARD_AT.toString(16)}`));
  assert.ok(text.includes(`movabs rbx, 0x${STRIDE.toString(16)}`));
  const ports = text.flatMap((line) => /^(?:out|in eax,) ?(0x[0-9a-f]+)/.exec(line)?.[1] ?? []).map(Number);
  assert.deepEqual(new Set(ports), new Set(Object.values(PORT)));
});

test('an interrupt handler gives back every register that it uses', () => {
  const from = LISTING.findIndex(([, text]) => text === 'interrupt:');
  const handler = LISTING.slice(from).map(([, text]) => text);
  assert.equal(handler[1], 'push rax');
  handler.forEach((text, index) => {
    if (text === 'iretq') assert.equal(handler[index - 1], 'pop rax');
  });
  // Nothing but rax is written, and the flags come back with iretq.
  const written = handler.flatMap((text) => /^(?:mov|in|inc|pop|add|xor|lea) (?!qword ptr)(\w+)/.exec(text)?.[1] ?? []);
  assert.deepEqual(new Set(written), new Set(['eax', 'rax']));
});

test('program, stack and page tables do not lie in each other', () => {
  assert.ok(PROGRAM_AT + PROGRAM.length < PROGRAM_AT + 4096);
  assert.ok(STACK_TOP - 4096 >= PROGRAM_AT + PROGRAM.length);
  assert.ok(STACK_TOP <= PAGE_TABLES_AT);
});
