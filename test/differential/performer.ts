/**
 * The performer as a program: performer.c, compiled without any library that the machine under test would need.
 * Unhappy path: without a C compiler there is none, which is an error that says so.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../../..', import.meta.url));
const source = join(root, 'test/differential/performer.c');

/** True where it can be compiled. */
export function canCompile(): boolean {
  return spawnSync('cc', ['--version'], { stdio: 'ignore' }).status === 0;
}

/** Its path; compiled when it is not there yet. @throws Error there is no compiler, or no static C library */
export function performerProgram(): string {
  const hash = createHash('sha256').update(readFileSync(source)).digest('hex').slice(0, 16);
  const folder = join(root, '.cache/differential');
  const program = join(folder, `performer-${hash}`);
  if (existsSync(program)) return program;
  mkdirSync(folder, { recursive: true });
  const made = `${program}.${process.pid}`;
  const { status, stderr, error } = spawnSync('cc', ['-O1', '-static', '-Wall', '-Wextra', '-o', made, source], {
    encoding: 'utf8',
  });
  if (status !== 0)
    throw new Error(
      `the performer cannot be compiled (it needs cc and a static C library): ${error?.message ?? stderr}`,
    );
  renameSync(made, program);
  return program;
}
