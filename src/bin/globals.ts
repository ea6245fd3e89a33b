/**
 * The program that runs the hooks of global handles: a participant like any other. The luod of /run/luo starts it as the service
 * `luo-globals` when something depends on a hook; elsewhere it is started like any service.
 *
 *   globals [--folder DIR] [--timeout MS]
 *
 * Each hook is a global handle of its name that nobody keeps for itself (`leave`): it takes part in an update when something that
 * does depends on it. Which hooks there are is looked at once, at the start; `luoctl update luo-globals` looks again.
 * Composition only: what hooks are told, and when, is src/handles/global.
 */
import { dirname, join as joinPath } from 'node:path';
import { parseArgs } from 'node:util';
import { LuoError } from '../base/errors.js';
import { join } from '../client/index.js';
import { findHooks, GLOBALS_FOLDER, HookRecords, Hooks, type Hook } from '../handles/global/index.js';

const TIMEOUT_MS = 5000;
/** A hook that could not restore is tried again when luod asks whether it may finish; for that it waits longer than this. */
const RETRY_MS = 10_000;
const COMPATIBLE = 'luo-hook/1';
const NAME = 'luo-globals';

function log(line: string): void {
  process.stderr.write(`${line}\n`);
}

function settings(): { folder: string; timeoutMs: number } {
  const { values } = parseArgs({ options: { folder: { type: 'string' }, timeout: { type: 'string' } } });
  const timeoutMs = values.timeout === undefined ? TIMEOUT_MS : Number(values.timeout);
  if (!Number.isInteger(timeoutMs) || timeoutMs <= 0) throw new Error(`--timeout cannot be '${values.timeout}'`);
  return { folder: values.folder ?? GLOBALS_FOLDER, timeoutMs };
}

async function main(): Promise<void> {
  const { folder, timeoutMs } = settings();
  const socket = process.env['LUO_SOCKET'];
  if (socket === undefined) throw new Error('luod starts this program; without LUO_SOCKET it has nobody to work for');
  const uid = process.getuid?.() ?? 0;
  const found = findHooks(folder, uid);
  for (const { name, reason } of found.refused) log(`${name} is no hook: ${reason}`);

  const records = new HookRecords(joinPath(dirname(socket), 'globals'));
  const hooks = new Hooks({ uid, records, timeoutMs, log });
  process.on('SIGTERM', () => {
    hooks.end();
    process.exit(0);
  });
  const luo = await join({ client: NAME });

  const waiting = luo.waiting.filter((one) => one.kind === 'global').map((one) => one.name);
  const present = new Set(found.hooks.map((hook) => hook.name));
  const names = new Set(present);
  for (const name of waiting) {
    if (present.has(name)) continue;
    // The old process of an update still runs, with all that it saved; else the state is here, or nowhere.
    if (luo.role === 'successor') await luo.release(name, 'global');
    else names.add(name);
  }
  for (const name of records.names()) names.add(name);
  const claimed = new Map<string, Hook>();
  for (const name of [...names].sort()) {
    const hook = hooks.add(name, joinPath(folder, name));
    if (!present.has(name) && !waiting.includes(name)) continue;
    await luo.global(
      name,
      {
        prepare: async (given) => ({ ...(await hooks.prepare(hook, given)) }),
        freeze: async (given) => ({ ...(await hook.freeze(given)) }),
        restore: (_given, saved) => hook.receive(saved),
        finish: (given) => hook.finish(given),
        cancel: (given) => hook.cancel(given),
      },
      { compatible: COMPATIBLE, wants: { handover: 'leave', kexec: 'leave' } },
    );
    if (!present.has(name)) claimed.set(name, hook);
  }
  luo.on('go', (given) => hooks.go(given));
  luo.canFinish(() =>
    hooks.veto({ attempt: 0, deadlineMs: RETRY_MS, signal: new AbortController().signal, gap: undefined }),
  );
  await luo.ready();
  // Hooks that are gone, and of which nothing is left to be brought back.
  for (const [name, hook] of claimed) {
    if (!hook.isPending) await luo.unregister(name, 'global').catch((error: unknown) => log(String(error)));
  }
  log(present.size === 0 ? `there are no hooks in '${folder}'` : `hooks: ${[...present].join(', ')}`);
}

try {
  // Nothing else keeps this process: it waits for luod's calls.
  setInterval(() => undefined, 0x7fffffff);
  await main();
} catch (error) {
  log(`${NAME}: ${LuoError.from(error).message}`);
  process.exit(1);
}
