/**
 * A small sequence with the kernel's outcomes, as a file for people: `operation => outcome` on a line, `kexec` for the jump, and a
 * first line that says what it shows.
 */
import type { RecordedSequence } from './recording.js';

const ARROW = ' => ';
const JUMP = 'kexec';

export function formatCase({ sequence, outcomes }: RecordedSequence, what: string): string {
  const stages = sequence.stages.map((stage, at) =>
    stage.map((operation, index) => `${operation}${ARROW}${outcomes[at]?.[index] ?? 'nothing'}`).join('\n'),
  );
  return `# ${what}\n${stages.join(`\n${JUMP}\n`)}\n`;
}

export function parseCase(name: string, text: string): RecordedSequence {
  const stages: string[][] = [[]];
  const outcomes: string[][] = [[]];
  for (const line of text.split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    if (line === JUMP) {
      stages.push([]);
      outcomes.push([]);
      continue;
    }
    const at = line.indexOf(ARROW);
    if (at < 0) throw new Error(`${name}: '${line}' has no outcome`);
    stages.at(-1)!.push(line.slice(0, at));
    outcomes.at(-1)!.push(line.slice(at + ARROW.length));
  }
  return { sequence: { name, stages }, outcomes };
}
