/**
 * Programs of classic BPF, as seccomp runs them: written with labels, assembled to bytes. A jump names the label to go to when
 * its test holds and when it does not; falling through is the default. Classic BPF jumps only forward and, in a test, at
 * most 255 instructions far: longer ones are refused here, since the kernel would only say EINVAL.
 * @source include/uapi/linux/filter.h, include/uapi/linux/bpf_common.h
 */

/** Codes of the instructions that a seccomp filter needs. */
export const BPF = {
  /** A = the 32-bit word at offset k of struct seccomp_data. */
  LOAD_WORD: 0x20,
  AND: 0x54,
  SHIFT_RIGHT: 0x74,
  JUMP: 0x05,
  JUMP_EQUAL: 0x15,
  JUMP_GREATER_OR_EQUAL: 0x35,
  /** Any of the bits of k is set in A. */
  JUMP_ANY_BIT: 0x45,
  RETURN: 0x06,
} as const;

/** struct sock_filter, and the longest program. @source include/uapi/linux/filter.h, bpf_common.h */
export const SOCK_FILTER = { sizeBytes: 8, code: 0, jumpTrue: 2, jumpFalse: 3, k: 4 } as const;
export const BPF_INSTRUCTIONS_MAX = 4096;
/** struct sock_fprog: the count, then the pointer. */
export const SOCK_FPROG = { sizeBytes: 16, length: 0, filter: 8 } as const;

/** One instruction of an assembled program. */
export interface BpfInstruction {
  readonly code: number;
  readonly jumpTrue: number;
  readonly jumpFalse: number;
  readonly k: number;
}

interface Draft {
  readonly code: number;
  readonly k: number;
  readonly whenTrue?: string | undefined;
  readonly whenFalse?: string | undefined;
}

/** Collects instructions; each method returns the program, so that calls can be chained. */
export class BpfProgram {
  readonly #drafts: Draft[] = [];
  readonly #labels = new Map<string, number>();

  /** The next instruction is called `name`. @throws RangeError it is taken */
  label(name: string): this {
    if (this.#labels.has(name)) throw new RangeError(`the label '${name}' stands twice`);
    this.#labels.set(name, this.#drafts.length);
    return this;
  }

  loadWord(offset: number): this {
    return this.#add({ code: BPF.LOAD_WORD, k: offset });
  }

  and(mask: number): this {
    return this.#add({ code: BPF.AND, k: mask });
  }

  shiftRight(bits: number): this {
    return this.#add({ code: BPF.SHIFT_RIGHT, k: bits });
  }

  /** Go to `label`, however far. */
  jump(label: string): this {
    return this.#add({ code: BPF.JUMP, k: 0, whenTrue: label });
  }

  /** Without a label: go on with the next instruction. */
  ifEqual(value: number, whenTrue?: string, whenFalse?: string): this {
    return this.#add({ code: BPF.JUMP_EQUAL, k: value, whenTrue, whenFalse });
  }

  ifAtLeast(value: number, whenTrue?: string, whenFalse?: string): this {
    return this.#add({ code: BPF.JUMP_GREATER_OR_EQUAL, k: value, whenTrue, whenFalse });
  }

  ifAnyBit(bits: number, whenTrue?: string, whenFalse?: string): this {
    return this.#add({ code: BPF.JUMP_ANY_BIT, k: bits, whenTrue, whenFalse });
  }

  return(action: number): this {
    return this.#add({ code: BPF.RETURN, k: action });
  }

  /**
   * The instructions with their distances.
   * @throws RangeError a label is missing, behind or too far away; the program is too long, or can run off its end
   */
  assemble(): BpfInstruction[] {
    const drafts = this.#drafts;
    if (drafts.length === 0 || drafts.length > BPF_INSTRUCTIONS_MAX) {
      throw new RangeError(`a filter has 1 to ${BPF_INSTRUCTIONS_MAX} instructions, not ${drafts.length}`);
    }
    if (drafts.at(-1)!.code !== BPF.RETURN) throw new RangeError('the last instruction of a filter returns');
    return drafts.map((draft, at) => {
      if (draft.code === BPF.JUMP) {
        return { code: draft.code, jumpTrue: 0, jumpFalse: 0, k: this.#distance(at, draft.whenTrue) };
      }
      const jumpTrue = this.#distance(at, draft.whenTrue);
      const jumpFalse = this.#distance(at, draft.whenFalse);
      if (jumpTrue > 255 || jumpFalse > 255) {
        throw new RangeError(
          `instruction ${at} jumps ${Math.max(jumpTrue, jumpFalse)} instructions far; 255 is the most`,
        );
      }
      return { code: draft.code, jumpTrue, jumpFalse, k: draft.k >>> 0 };
    });
  }

  #add(draft: Draft): this {
    this.#drafts.push(draft);
    return this;
  }

  #distance(from: number, label: string | undefined): number {
    if (label === undefined) return 0;
    const to = this.#labels.get(label);
    if (to === undefined || to >= this.#drafts.length) throw new RangeError(`there is no instruction '${label}'`);
    if (to <= from) throw new RangeError(`instruction ${from} would jump back to '${label}'`);
    return to - from - 1;
  }
}

/** The bytes of `program`, an array of struct sock_filter. */
export function encodeBpf(program: readonly BpfInstruction[]): Uint8Array {
  const bytes = new Uint8Array(program.length * SOCK_FILTER.sizeBytes);
  const view = new DataView(bytes.buffer);
  program.forEach(({ code, jumpTrue, jumpFalse, k }, index) => {
    const at = index * SOCK_FILTER.sizeBytes;
    view.setUint16(at + SOCK_FILTER.code, code, true);
    view.setUint8(at + SOCK_FILTER.jumpTrue, jumpTrue);
    view.setUint8(at + SOCK_FILTER.jumpFalse, jumpFalse);
    view.setUint32(at + SOCK_FILTER.k, k, true);
  });
  return bytes;
}

/**
 * What `program` answers for `data`, as the kernel's interpreter would: for tests of filters without a kernel.
 * @throws RangeError an instruction that is not one of BPF
 */
export function runBpf(program: readonly BpfInstruction[], data: DataView): number {
  let accumulator = 0;
  for (let at = 0; ; at += 1) {
    const { code, jumpTrue, jumpFalse, k } = program[at]!;
    const branch = (holds: boolean): void => void (at += holds ? jumpTrue : jumpFalse);
    switch (code) {
      case BPF.LOAD_WORD:
        accumulator = data.getUint32(k, true);
        break;
      case BPF.AND:
        accumulator = (accumulator & k) >>> 0;
        break;
      case BPF.SHIFT_RIGHT:
        accumulator >>>= k;
        break;
      case BPF.JUMP:
        at += k;
        break;
      case BPF.JUMP_EQUAL:
        branch(accumulator === k);
        break;
      case BPF.JUMP_GREATER_OR_EQUAL:
        branch(accumulator >= k);
        break;
      case BPF.JUMP_ANY_BIT:
        branch((accumulator & k) !== 0);
        break;
      case BPF.RETURN:
        return k;
      default:
        throw new RangeError(`instruction ${at} has the unknown code ${code}`);
    }
  }
}
