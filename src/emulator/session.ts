/**
 * `luoctl emulate -- PROGRAM`: one emulated machine whose first program is PROGRAM. When it ends the machine is off: whatever else
 * runs is ended too, and its end is the result. After a simulated kexec the init command takes its place.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { LuoError } from '../base/errors.js';
import type { EmulateRequest } from '../ports/emulator.js';
import { ControlSocket } from './control.js';
import { Emulator } from './emulator.js';
import { parseFault, traceJson, traceText, type TraceEvent } from './kernel/index.js';
import { Foreground } from './launch/foreground.js';
import { INHERITANCE_VARIABLE, readInheritance } from './launch/inheritance.js';
import type { Program, ProgramEnd } from './launch/launcher.js';
import { rawCommand, rawEnvironment, rawVariable } from './launch/words.js';

/** @throws LuoError see EmulatorPort.run */
export async function runSession(request: EmulateRequest): Promise<ProgramEnd> {
  const faults = request.faults.map(parseFault);
  const line = request.trace === 'json' ? traceJson : traceText;
  const trace = request.trace === null ? undefined : (event: TraceEvent): void => request.tell(line(event));
  let tellBoot = (_on: boolean): void => {};
  let tellLost = (_why: LuoError): void => {};
  const lost = new Promise<never>((_, reject) => (tellLost = reject));
  lost.catch(() => {});
  const emulator = await Emulator.start({
    strict: request.strict,
    inheritance: readInheritance(process.env[INHERITANCE_VARIABLE]),
    ownsProcess: true,
    faults,
    trace,
    onBoot: (kind) => tellBoot(kind !== 'powerOff'),
    onLost: (why) => tellLost(why),
  });
  const foreground = new Foreground(emulator.launcher);
  const control = ControlSocket.listen(() => emulator.kexec());
  try {
    let argv = commandBytes(request.argv);
    for (;;) {
      const booted = new Promise<boolean>((resolve) => (tellBoot = resolve));
      const program = await start(emulator, foreground, argv);
      const end = await Promise.race([endOf(program, emulator), booted, lost]);
      if (typeof end !== 'boolean') return end;
      if (!end) return { code: 0, signal: null };
      foreground.unfollow();
      if (request.init !== null) argv = ['/bin/sh', '-c', Buffer.from(request.init).toString('latin1')];
    }
  } finally {
    control?.close();
    foreground.close();
    await emulator.close();
  }
}

function start(emulator: Emulator, foreground: Foreground, argv: readonly string[]): Promise<Program> {
  const env = rawEnvironment([INHERITANCE_VARIABLE]);
  const searchPath = rawVariable(env, 'PATH');
  return emulator.run({ argv, env, cwd: null, searchPath, onPause: foreground.paused }).then((program) => {
    foreground.follow(program);
    return program;
  });
}

/** How the program ended; never, if a jump ended it. */
async function endOf(program: Program, emulator: Emulator): Promise<ProgramEnd> {
  const end = await program.ended;
  // A reboot(2) that was called before the program ended is told in a later turn.
  await nextTurn();
  await nextTurn();
  return emulator.isJumping ? new Promise<never>(() => {}) : end;
}

/** The command as bytes; as text where this process was not started with it, in tests. */
function commandBytes(argv: readonly string[]): readonly string[] {
  const raw = rawCommand();
  return raw !== undefined && raw.length === argv.length
    ? raw
    : argv.map((word) => Buffer.from(word).toString('latin1'));
}
