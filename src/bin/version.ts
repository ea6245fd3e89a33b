/** The version of this package, read once. */
import { readFileSync } from 'node:fs';

let version: string | undefined;

/** As in package.json, which lies three folders above the built file. */
export function packageVersion(): string {
  version ??= (
    JSON.parse(readFileSync(new URL('../../../package.json', import.meta.url), 'utf8')) as { version: string }
  ).version;
  return version;
}
