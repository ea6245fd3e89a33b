/** The two sides of a scenario, run inside of the machine. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { runProgram, startProgram } from './programs.js';
import { root } from './root.js';
import type { Machine, Scenario } from './scenario.js';

const RUN_MS = 120_000;
const UNTIL_MS = 120_000;
const LOOK_MS = 100;

/** @returns what is carried over the gap. @throws Error with what was logged before */
export function runBefore(module: string, luodFolder: string): Promise<unknown> {
  return side('before', module, luodFolder, (scenario, machine) => scenario.before(machine));
}

export function runAfter(module: string, luodFolder: string, carried: unknown): Promise<unknown> {
  return side('after', module, luodFolder, (scenario, machine) => scenario.after(machine, carried));
}

async function side(
  name: string,
  module: string,
  luodFolder: string,
  act: (scenario: Scenario, machine: Machine) => Promise<unknown>,
): Promise<unknown> {
  const { scenario } = (await import(join(root, 'dist', module))) as { scenario?: Scenario };
  if (!scenario) throw new Error(`'${module}' exports no 'scenario'`);
  const lines: string[] = [];
  const workFolder = mkdtempSync(join(tmpdir(), 'scenario-'));
  try {
    const result = await act(scenario, machineAt(luodFolder, workFolder, lines));
    // Else a side that returns what JSON cannot carry would fail on the other side only.
    return result === undefined ? null : JSON.parse(JSON.stringify(result));
  } catch (error) {
    const said = lines.length === 0 ? '' : `\nit had logged:\n${lines.join('\n')}`;
    throw new Error(
      `${name} the gap: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}${said}`,
    );
  } finally {
    if (name === 'after') rmSync(workFolder, { recursive: true, force: true });
  }
}

function machineAt(luodFolder: string, workFolder: string, lines: string[]): Machine {
  const machine: Machine = {
    luodFolder,
    runFolder: dirname(luodFolder),
    workFolder,
    packageFolder: root,
    exec: (argv, options = {}) => runProgram(argv, { timeoutMs: RUN_MS, ...options }),
    async must(argv, options) {
      const { code, signal, late, stdout, stderr } = await machine.exec(argv, options);
      if (code === 0) return stdout;
      throw new Error(`${argv.join(' ')} ended with ${signal ?? code}${late ? ' (late)' : ''}:\n${stdout}${stderr}`);
    },
    async luoctl<T>(args: readonly string[], options = {}) {
      const out = await machine.must(['luoctl', '--dir', luodFolder, '--json', ...args], options);
      return JSON.parse(out.trim().split('\n').at(-1)!) as T;
    },
    start: (argv, options = {}) => startProgram(argv, join(workFolder, 'output'), options),
    async until(what, check, timeoutMs = UNTIL_MS) {
      for (const end = Date.now() + timeoutMs; ;) {
        const found = await check();
        if (found !== undefined) return found;
        if (Date.now() > end) throw new Error(`${what} did not come within ${timeoutMs} ms`);
        await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
      }
    },
    log: (text) => void lines.push(text),
  };
  return machine;
}
