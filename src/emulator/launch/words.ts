/**
 * Arguments and environment of this process as the kernel has them: bytes, one character each. Node's own are UTF-8 text, and a
 * word that is none would come out changed. The environment is that of the start of this process.
 */
import { readFileSync } from 'node:fs';

/** What stands behind the first `--` of the command line; undefined if there is none. */
export function rawCommand(): string[] | undefined {
  const words = rawList('/proc/self/cmdline');
  const at = words.indexOf('--');
  return at < 0 ? undefined : words.slice(at + 1);
}

/** The environment without the variables called `without`. */
export function rawEnvironment(without: readonly string[]): string[] {
  return rawList('/proc/self/environ').filter((word) => !without.some((name) => word.startsWith(`${name}=`)));
}

/** The value of a variable in a raw environment, the first as getenv(3) finds it; null: it is not set. */
export function rawVariable(environment: readonly string[], name: string): string | null {
  return environment.find((word) => word.startsWith(`${name}=`))?.slice(name.length + 1) ?? null;
}

function rawList(path: string): string[] {
  const text = readFileSync(path, 'latin1');
  return text === '' ? [] : text.replace(/\0$/, '').split('\0');
}
