/**
 * What an unpacked kernel says of itself: its release, its ABI strings, its configuration. A kernel compares such strings
 * exactly, so they are looked for exactly.
 * @source include/linux/kho/abi/{luo,kexec_handover,memfd}.h; kernel/configs.c (IKCFG_ST)
 */
import { gunzipSync } from 'node:zlib';

export interface KernelFacts {
  readonly release: string | null;
  /** `luo-v5`; empty: this kernel has no such part. */
  readonly luo: readonly string[];
  readonly kho: readonly string[];
  readonly memfd: readonly string[];
  /** Option to value, `CONFIG_LIVEUPDATE` to `y`; null: it carries no configuration. */
  readonly config: ReadonlyMap<string, string> | null;
}

export function readKernelFacts(kernel: Buffer): KernelFacts {
  return {
    release: /^Linux version ([^\s\0]+)/.exec(textAt(kernel, 'Linux version '))?.[1] ?? null,
    luo: abiStrings(kernel, 'luo-v'),
    kho: abiStrings(kernel, 'kho-v'),
    memfd: abiStrings(kernel, 'memfd-v'),
    config: readConfig(kernel),
  };
}

/** Strings such as `luo-v5`, ended by a zero, and not the tail of a longer word. What is before may be any binary data. */
export function abiStrings(bytes: Buffer, prefix: string): string[] {
  const found = new Set<string>();
  for (let at = bytes.indexOf(prefix); at >= 0; at = bytes.indexOf(prefix, at + 1)) {
    const text = bytes.toString('latin1', at, at + prefix.length + 8);
    const match = /^[a-z]+-v\d+(?=\0)/.exec(text);
    if (match && (at === 0 || !isWordByte(bytes[at - 1]!))) found.add(match[0]);
  }
  return [...found].sort();
}

function isWordByte(byte: number): boolean {
  return /[A-Za-z0-9_-]/.test(String.fromCharCode(byte));
}

function textAt(bytes: Buffer, prefix: string): string {
  const at = bytes.indexOf(prefix);
  return at < 0 ? '' : bytes.toString('latin1', at, at + 512);
}

function readConfig(kernel: Buffer): ReadonlyMap<string, string> | null {
  const start = kernel.indexOf('IKCFG_ST');
  const end = kernel.indexOf('IKCFG_ED', start + 8);
  if (start < 0 || end < 0) return null;
  try {
    return parseConfig(gunzipSync(kernel.subarray(start + 8, end)).toString());
  } catch {
    return null;
  }
}

export function parseConfig(text: string): ReadonlyMap<string, string> {
  return new Map([...text.matchAll(/^(CONFIG_\w+)=(.*)$/gm)].map((match) => [match[1]!, match[2]!]));
}
