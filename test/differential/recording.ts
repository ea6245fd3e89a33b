/**
 * What a kernel answered to sequences, as a file: a line of JSON with what it is, then one for each sequence with its operations and
 * their outcomes. A file with `.gz` at its end is compressed, as a whole; one without is written line by line, and an
 * interrupted recording goes on where it was.
 */
import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { formatSequence, parseSequence, type Outcomes, type Sequence } from './sequence.js';

export interface RecordedSequence {
  readonly sequence: Sequence;
  readonly outcomes: Outcomes;
}

export interface Recording {
  /** What answered: `Linux 7.3.4`. */
  readonly side: string;
  /** Jumps that it took; of an interrupted recording those of all its parts. */
  readonly jumps: number;
  readonly sequences: readonly RecordedSequence[];
}

interface Line {
  readonly side?: string;
  readonly jumps?: number;
  readonly name?: string;
  readonly operations?: string;
  readonly outcomes?: Outcomes;
}

/** Begin a recording, or go on with one. */
export function appendToRecording(path: string, part: Recording): void {
  const lines: Line[] = [{ side: part.side, jumps: part.jumps }, ...part.sequences.map(lineOf)];
  appendFileSync(path, lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
}

export function writeRecording(path: string, recording: Recording): void {
  const { side, jumps, sequences } = recording;
  const text = [{ side, jumps }, ...sequences.map(lineOf)].map((line) => `${JSON.stringify(line)}\n`).join('');
  writeFileSync(path, path.endsWith('.gz') ? gzipSync(text, { level: 9 }) : text);
}

/** An absent file is an empty recording. */
export function readRecording(path: string): Recording {
  if (!existsSync(path)) return { side: '', jumps: 0, sequences: [] };
  const bytes = readFileSync(path);
  const text = (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8');
  const sides = new Set<string>();
  let jumps = 0;
  const sequences: RecordedSequence[] = [];
  for (const each of text.split('\n').slice(0, -1)) {
    const line = JSON.parse(each) as Line;
    if (line.side !== undefined) {
      sides.add(line.side);
      jumps += line.jumps ?? 0;
    } else {
      sequences.push({ sequence: parseSequence(line.name!, line.operations!), outcomes: line.outcomes! });
    }
  }
  if (sides.size > 1) throw new Error(`'${path}' is of more than one: ${[...sides].join(', ')}`);
  return { side: [...sides][0] ?? '', jumps, sequences };
}

function lineOf({ sequence, outcomes }: RecordedSequence): Line {
  return { name: sequence.name, operations: formatSequence(sequence), outcomes };
}
