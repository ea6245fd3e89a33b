/** The options of `npm run diff:kernel`. */
export type Against = 'emulator' | 'model';

export interface Options {
  readonly sequences: number;
  readonly seed: number;
  readonly batch: number;
  readonly against: readonly Against[];
  /** `7.3.4`; null: the newest that there is. */
  readonly kernel: string | null;
  /** Live outcomes of the kernel are written here; those that are there already are not asked for again. */
  readonly record: string | null;
  /** The kernel's outcomes are read from here, and no machine is started. */
  readonly replay: string | null;
  /** At most so many batches are asked of the kernel in this run. */
  readonly batches: number;
  readonly strict: boolean;
  /** Found differences are made small and put here. */
  readonly keep: string | null;
}

export const USAGE = `npm run diff:kernel -- [options]
  --sequences N    how many (100)
  --seed S         where they come from (1)
  --batch N        how many share a jump (100)
  --against WHAT   emulator, model, both, none: only the kernel is asked (emulator)
  --kernel V       the kernel's version (the newest in LUO_VM_KERNELS)
  --record FILE    keep the kernel's outcomes; what is in it already is not asked again
  --replay FILE    take the kernel's outcomes from FILE, without a machine
  --batches N      ask the kernel for at most N batches in this run
  --strict         the emulator traps every open
  --keep FOLDER    make each difference small and keep it here`;

/** @throws Error an option that there is not, with the usage */
export function parseOptions(args: readonly string[]): Options {
  const given = new Map<string, string>();
  for (let index = 0; index < args.length; index += 1) {
    const name = args[index]!;
    if (name === '--strict') given.set(name, 'true');
    else if (USAGE.includes(`${name} `) && name.startsWith('--') && args[index + 1] !== undefined)
      given.set(name, args[(index += 1)]!);
    else throw new Error(`'${name}' is no option, or has no value\n${USAGE}`);
  }
  const count = (name: string, otherwise: number): number => {
    const value = Number(given.get(name) ?? otherwise);
    if (!Number.isSafeInteger(value) || value < 0) throw new Error(`${name} is a number\n${USAGE}`);
    return value;
  };
  const against = given.get('--against') ?? 'emulator';
  if (!['emulator', 'model', 'both', 'none'].includes(against)) throw new Error(`--against ${against}?\n${USAGE}`);
  return {
    sequences: count('--sequences', 100),
    seed: count('--seed', 1),
    batch: Math.max(1, count('--batch', 100)),
    against: against === 'both' ? ['emulator', 'model'] : against === 'none' ? [] : [against as Against],
    kernel: given.get('--kernel') ?? null,
    record: given.get('--record') ?? null,
    replay: given.get('--replay') ?? null,
    batches: count('--batches', Number.MAX_SAFE_INTEGER),
    strict: given.has('--strict'),
    keep: given.get('--keep') ?? null,
  };
}
