/** Files of /proc and /sys, of which any may be missing. */
import { readFileSync } from 'node:fs';

/** Its text without the line end; undefined: it is not there, or cannot be read. */
export function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return undefined;
  }
}
