/**
 * What a C compiler says of the kernel's headers: golden/NAME.c and its output golden/NAME.txt, a name and a value a line. The
 * output lies in the tree, so that no compiler is needed; where there is one it is made again and must be the same.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const folder = join(dirname(fileURLToPath(import.meta.url)), '../../../test/abi/golden');

export interface Golden {
  readonly lines: ReadonlyMap<string, string>;
  /** The value of a line that must be there. */
  text(name: string): string;
  number(name: string): number;
}

/** Read golden/NAME.txt, and register the test that a compiler still says so. */
export function goldenOf(name: string): Golden {
  const output = readFileSync(join(folder, `${name}.txt`), 'utf8');
  const lines = new Map(
    output
      .trim()
      .split('\n')
      .map((line) => line.split(' ') as [string, string]),
  );
  test('the golden output is what this compiler says', { skip: cannotCompile() }, () => {
    const place = mkdtempSync(join(tmpdir(), 'luo-golden-'));
    try {
      const program = join(place, name);
      execFileSync('cc', ['-Wall', '-Wextra', '-Werror', '-o', program, join(folder, `${name}.c`)], { stdio: 'pipe' });
      assert.equal(execFileSync(program, { encoding: 'utf8' }), output);
    } finally {
      rmSync(place, { recursive: true });
    }
  });
  const text = (wanted: string): string => lines.get(wanted) ?? assert.fail(`no line '${wanted}'`);
  return { lines, text, number: (wanted) => Number(text(wanted)) };
}

function cannotCompile(): string | false {
  if (process.arch !== 'x64') return 'needs x86-64: the numbers of system calls are those of its table';
  return spawnSync('cc', ['--version']).status === 0 ? false : 'needs a C compiler';
}
