/**
 * A program with one region of memory, as small as can be: `participant.js NAME BYTES [options as JSON]`. On a first start it
 * fills the region with a pattern; later it compares. What it found is in FOLDER/NAME.json, by default /run/p.
 */
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join, type MemoryOptions } from 'luo';

interface Options extends MemoryOptions {
  /** Registers at once, claims never. */
  readonly neverClaims?: boolean;
  readonly dependsOn?: readonly { readonly owner: string; readonly name: string }[];
  /** Small state that is handed over as words, of so many bytes. */
  readonly stateBytes?: number;
  /** Where it says what it found. */
  readonly folder?: string;
  /** Fails its freeze. */
  readonly failFreeze?: boolean;
}

const [name, bytes, text = '{}'] = process.argv.slice(2) as [string, string, string?];
const {
  neverClaims,
  dependsOn = [],
  stateBytes = 0,
  folder = '/run/p',
  failFreeze,
  ...options
} = JSON.parse(text) as Options;
const luo = await join();

function tell(what: object): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(`${folder}/${name}.new`, JSON.stringify({ pid: process.pid, role: luo.role, ...what }));
  renameSync(`${folder}/${name}.new`, `${folder}/${name}.json`);
}

if (neverClaims === true && luo.waiting.length > 0) {
  tell({ waiting: luo.waiting.length });
  setInterval(() => undefined, 1 << 30);
} else {
  let state = stateBytes > 0 ? 'x'.repeat(stateBytes) : undefined;
  let restored = false;
  luo.state('words', {
    save: () => state,
    restore: (value) => {
      state = value as string;
      restored = true;
    },
  });
  const memory = await luo.memory(name, {
    ...options,
    ...(luo.waiting.some((one) => one.name === name) ? {} : { sizeBytes: Number(bytes) }),
    dependencies: dependsOn.map((one) => ({ kind: 'fd' as const, ...one })),
  });
  const words = new Uint32Array(memory.buffer);
  let freezes = 0;
  luo.on('freeze', () => {
    freezes += 1;
    if (failFreeze === true) throw new Error('it does not want to stop');
  });
  const check = (): number => {
    let wrong = 0;
    for (let index = 0; index < words.length; index += 1) if (words[index] !== (index * 2654435761) >>> 0) wrong += 1;
    return wrong;
  };
  await luo.ready();
  if (memory.created) for (let index = 0; index < words.length; index += 1) words[index] = (index * 2654435761) >>> 0;
  const found = (): object => ({
    created: memory.created,
    torn: memory.torn,
    wrong: check(),
    stateBytes: state?.length ?? 0,
    restored,
    freezes,
  });
  tell(found());
  luo.on('thaw', () => tell({ ...found(), thawed: true }));
  setInterval(() => undefined, 1 << 30);
}
