/**
 * What the answers to all calls share: the sessions, the open files of programs, the loaded image, the
 * name of the boot, the faults, the notes.
 * Never here: an answer.
 */
import { randomUUID } from 'node:crypto';
import type { LoadedImage, RebootKind } from './image.js';
import { errno, type Answer, type Call } from './call.js';
import type { FaultPlan } from './faults.js';
import { type FaultPoint, type FaultSubject } from './faults.js';
import { ObjectTable, type EmulatedObject } from './objects.js';
import { Sessions } from './sessions.js';
import { nameText } from './trace.js';

export interface MachineOptions {
  readonly strict: boolean;
  readonly faults: FaultPlan;
  /** @param call that it is about */
  note(text: string, call?: Call): void;
  /** The emulator's own end, ordered by a fault. Does not return. */
  die(): never;
  /** A program has called reboot(2), and it went through. */
  reboot(kind: RebootKind, call: Call): void;
  /** Between a jump and the boot after it. */
  isLeaving(): boolean;
}

export class Machine {
  readonly sessions = new Sessions();
  readonly objects: ObjectTable;
  image: LoadedImage | null = null;
  /** Of this boot. */
  bootId: string = randomUUID();
  readonly options: MachineOptions;

  constructor(options: MachineOptions) {
    this.options = options;
    this.objects = new ObjectTable({
      closed: (object) => this.#closed(object),
      written: (object) => options.note(`a program wrote into ${describe(object, this)}: the kernel answers EINVAL`),
    });
  }

  get strict(): boolean {
    return this.options.strict;
  }

  /** The fault that acts on `call` at `point`, as an answer; undefined: none does. */
  fault(call: Call, point: FaultPoint, subject: FaultSubject = {}): Answer | undefined {
    if (call.wasDelayed) return undefined;
    const fault = this.options.faults.take(point, subject);
    if (fault === undefined) return undefined;
    call.details.fault = fault.text;
    switch (fault.effect.kind) {
      case 'errno':
        return errno(fault.effect.errno);
      case 'delay':
        return { kind: 'later', delayMs: fault.effect.delayMs };
      case 'die':
        return this.options.die();
    }
  }

  /** The same where nobody calls: at a close, and in reboot(2). */
  faultErrno(point: FaultPoint, subject: FaultSubject): string | undefined {
    const fault = this.options.faults.take(point, subject);
    if (fault === undefined) return undefined;
    this.options.note(`fault ${fault.text} acts on ${point}`);
    if (fault.effect.kind === 'die') return this.options.die();
    return fault.effect.kind === 'errno' ? fault.effect.errno : undefined;
  }

  /** Tokens whose handler says no to the end of `session` now. */
  vetoes(session: number): readonly bigint[] {
    const state = this.sessions.session(session);
    if (state?.direction !== 'incoming' || state.files.size === 0) return [];
    if (this.faultErrno('finish', { session: state.name }) === undefined) return [];
    return [...state.files.entries()].map(([token]) => token);
  }

  /** The next kernel begins: nothing is loaded in it. */
  boot(): void {
    this.image = null;
    this.bootId = randomUUID();
  }

  close(): void {
    this.objects.close();
    this.sessions.close();
  }

  /** The last copy in any program is closed: release() of the file. */
  #closed(object: EmulatedObject): void {
    // It ends with its kernel, and closes nothing of the next one, whose sessions have the same names.
    if (this.options.isLeaving()) return;
    if (object.session === null) {
      this.sessions.step({ op: 'closeDevice' });
      return;
    }
    const vetoes = this.vetoes(object.session);
    const name = this.sessions.session(object.session)?.name ?? '';
    this.sessions.step({ op: 'closeSession', session: object.session, vetoes });
    if (vetoes.length > 0)
      this.options.note(`unable to finish session '${nameText(name)}' on release: nobody can retrieve it any more`);
  }
}

function describe(object: EmulatedObject, machine: Machine): string {
  if (object.session === null) return 'the device';
  return `session '${nameText(machine.sessions.session(object.session)?.name ?? '')}'`;
}
