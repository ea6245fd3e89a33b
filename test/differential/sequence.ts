/**
 * A sequence: operations in stages, with a jump into the next kernel between two stages. Written as text, an operation a line
 * and `kexec` between the stages; `#` begins a comment.
 *
 * Operations, of the performer (performer.c). S is a slot for an fd, filled once in a stage; `@K` in front lets helper K do it.
 *
 *     open S FLAGS | close S | dup S FROM | dupfd S FROM | dup2 S FROM | pass S FROM | reopen S FROM FLAGS
 *     fork K | exec K | end K | kill K | limit 0 | limit 1 | reboot MAGIC | closedevices | path
 *     ioctl S COMMAND MEMORY STRUCT [>S]
 *     memfd S FLAGS | file S KIND | unlink S | write S LENGTH SEED | pwrite S OFFSET LENGTH SEED | read S LENGTH
 *     trunc S SIZE | falloc S MODE OFFSET LENGTH | seal S MASK | seek S OFFSET WHENCE | map S OFFSET LENGTH SEED
 *     look S | flags S | stat S | poll S | watch S | get S | put S
 *
 * STRUCT is pieces with dots between: uN u32, iN s32, qN u64, fS the fd of a slot, nHEX a name in its field of 64 bytes, xHEX,
 * zN zeros, rN bytes 0xff. MEMORY says where it lies: `ok`, `odd`, `end` at the end of what is mapped, `cutN` with only N bytes
 * mapped, `roN` and `noneN` with what is behind N bytes read-only or without any right, `null`, `low`, `kernel`.
 */
export type Operation = string;

export interface Sequence {
  /** Names its files and sessions; no two of a batch are equal. */
  readonly name: string;
  readonly stages: readonly (readonly Operation[])[];
}

/** What each operation of each stage answered; a stage that ended early has fewer. */
export type Outcomes = readonly (readonly string[])[];

const JUMP = 'kexec';

export function formatSequence({ stages }: Sequence): string {
  return stages.map((stage) => stage.join('\n')).join(`\n${JUMP}\n`) + '\n';
}

export function parseSequence(name: string, text: string): Sequence {
  const stages: string[][] = [[]];
  for (const line of text.split('\n').map((each) => each.trim())) {
    if (line === '' || line.startsWith('#')) continue;
    if (line === JUMP) stages.push([]);
    else stages.at(-1)!.push(line);
  }
  return { name, stages };
}

/** The performer's input for one kernel: of each sequence one stage. */
export function performerInput(parts: readonly { readonly sequence: Sequence; readonly stage: number }[]): string {
  return parts
    .map(({ sequence, stage }) => {
      const last = stage === sequence.stages.length - 1;
      return `S ${sequence.name}\n${sequence.stages[stage]!.map((each) => `${each}\n`).join('')}${last ? 'E' : 'H'}\n`;
    })
    .join('');
}

/** The performer's output by the name of the sequence. @throws Error it did not get to its end */
export function parsePerformed(text: string): ReadonlyMap<string, readonly string[]> {
  if (!text.endsWith('END\n')) throw new Error(`the performer did not get to its end; last: ${text.slice(-300)}`);
  const performed = new Map<string, string[]>();
  for (const line of text.split('\n').slice(0, -2)) {
    const [name, index, ...outcome] = line.split(' ');
    const outcomes = performed.get(name!) ?? [];
    performed.set(name!, outcomes);
    // The death of its process comes after all else.
    outcomes[index === '-1' ? outcomes.length : Number(index)] = outcome.join(' ');
  }
  return performed;
}
