/**
 * Makes sequences from a seed: the same seed gives the same text for ever, as long as nobody changes this file; recordings
 * carry their sequences, so that a change here does not make them worthless.
 *
 * It keeps a rough idea of what there is (which slot may be a session), to do sensible things mostly and foolish ones often. It
 * does not know what the answers are.
 */
import { Random } from './random.js';
import type { Operation, Sequence } from './sequence.js';

type Kind = 'device' | 'session' | 'memfd' | 'other';
interface Thing {
  readonly slot: number;
  readonly kind: Kind;
  /** Of a session: the field that named it, in hex. */
  readonly name?: string;
  readonly incoming?: boolean;
  /** Nothing speaks against its being what it is taken for. */
  readonly likely: boolean;
}
interface Process {
  /** In front of its operations. */
  readonly prefix: string;
  things: Thing[];
}
interface Known {
  readonly name: string;
  readonly tokens: bigint[];
  readonly likely: boolean;
}

const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NONBLOCK: 0o4000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
};
const NAME_BYTES = 64;
const EMPTY_SLOT = 255;
const COMMANDS = {
  create: 0xba00,
  retrieve: 0xba01,
  preserve: 0xba40,
  retrieveFd: 0xba41,
  finish: 0xba42,
  getName: 0xba43,
};
const SIZES: Record<keyof typeof COMMANDS, number> = {
  create: 72,
  retrieve: 72,
  preserve: 16,
  retrieveFd: 16,
  finish: 8,
  getName: 72,
};
const FILE_KINDS =
  'null zero pipe socket pair eventfd timerfd signalfd epoll inotify pidfd folder tmpfile tmpfile named proc'.split(
    ' ',
  );
const LENGTHS = [0, 1, 17, 4095, 4096, 4097, 10_000, 65_536];
/** Of other devices, of sockets, and of every file: close-on-exec, not blocking, bytes to read. */
const FOREIGN = [
  0x5401, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451, 0x5452, 0x5460, 0x8905, 0x8912, 0xaf00, 0x12, 0x40, 0x0, 0x1,
];
const TOKENS = [0n, 1n, 2n, 3n, 0x1234n, 1n << 32n, 1n << 63n, (1n << 64n) - 1n];

/** The sequence with this number of this seed. */
export function generate(seed: number, number: number): Sequence {
  return new Generator(new Random(seed * 1_000_003 + number * 7919), `q${seed}.${number}`).sequence();
}

class Generator {
  readonly #random: Random;
  readonly #name: string;
  /** Slots whose file may be preserved. */
  readonly #busy = new Set<number>();
  #lines: Operation[] = [];
  #slots = 0;
  #main: Process = { prefix: '', things: [] };
  #helpers = new Map<number, Process>();
  #helperCount = 0;
  /** What may have come over the last jump, and what may go over the next. */
  #incoming: Known[] = [];
  #outgoing: Known[] = [];

  constructor(random: Random, name: string) {
    this.#random = random;
    this.#name = name;
  }

  sequence(): Sequence {
    const random = this.#random;
    const count = random.weighted([
      [20, 1],
      [62, 2],
      [18, 3],
    ]);
    const stages: Operation[][] = [];
    for (let stage = 0; stage < count; stage += 1) {
      stages.push(this.#stage(stage > 0));
      this.#incoming = this.#outgoing;
      this.#outgoing = [];
    }
    return { name: this.#name, stages };
  }

  #stage(arrived: boolean): Operation[] {
    const random = this.#random;
    this.#lines = [];
    this.#slots = 0;
    this.#busy.clear();
    this.#main = { prefix: '', things: [] };
    this.#helpers.clear();
    this.#helperCount = 0;
    if (random.chance(97)) this.#open(this.#main, random.chance(85));
    if (arrived && random.chance(92)) {
      for (const known of this.#incoming)
        if (random.chance(known.likely ? 85 : 20)) this.#retrieveSession(this.#main, known.name);
    } else {
      this.#create(this.#main, random.chance(85));
      for (let files = 1 + random.below(3); files > 0; files -= 1) {
        this.#memfd(this.#main);
        if (random.chance(70)) this.#preserve(this.#main);
      }
    }
    for (let left = 5 + random.below(24); left > 0; left -= 1) {
      const helpers = [...this.#helpers.values()];
      this.#step(helpers.length > 0 && random.chance(35) ? random.of(helpers) : this.#main, arrived);
    }
    this.#say(this.#main, 'closedevices');
    return this.#lines;
  }

  #step(process: Process, arrived: boolean): void {
    const random = this.#random;
    random.weighted<() => void>([
      [5, () => this.#open(process)],
      [9, () => this.#create(process)],
      [arrived ? 8 : 1.5, () => this.#retrieveSession(process)],
      [22, () => this.#preserve(process)],
      [arrived ? 22 : 2, () => this.#retrieveFd(process)],
      [arrived ? 7 : 1.5, () => this.#finish(process)],
      [4, () => this.#getName(process)],
      [7, () => this.#close(process)],
      [4, () => this.#duplicate(process)],
      [7, () => this.#memfd(process)],
      [4, () => this.#file(process)],
      [12, () => this.#change(process)],
      [5, () => this.#look(process)],
      [3, () => this.#helper(process)],
      [3, () => this.#oddIoctl(process)],
      [1.5, () => this.#scarce(process)],
      [1, () => this.#plainCalls(process)],
      [0.3, () => this.#say(process, `reboot ${random.of([672274793, 85072278, 1, 0])}`)],
      [0.3, () => this.#say(process, 'path')],
    ])();
  }

  // ---------------------------------------------------------------------------------------- what there is

  #say(process: Process, line: string): void {
    this.#lines.push(process.prefix + line);
  }

  #add(process: Process, kind: Kind, likely: boolean, more: Pick<Thing, 'name' | 'incoming'> = {}): number {
    const slot = this.#slots++;
    process.things.push({ ...more, slot, kind, likely });
    return slot;
  }

  /** One of these kinds, mostly one that is likely to be it, and mostly a late one. */
  #pick(process: Process, kinds: readonly Kind[], fits: (thing: Thing) => boolean = () => true): Thing | undefined {
    const random = this.#random;
    const all = process.things.filter((thing) => kinds.includes(thing.kind));
    const good = all.filter((thing) => thing.likely && fits(thing));
    const from = good.length > 0 && random.chance(94) ? good : all;
    if (from.length === 0) return undefined;
    return random.chance(40) ? from.at(-1) : random.of(from);
  }

  /** A slot of this kind mostly; of anything, or an empty one, at times. */
  #slotOf(process: Process, kinds: readonly Kind[], fits?: (thing: Thing) => boolean): number {
    const random = this.#random;
    const thing = random.chance(97) ? this.#pick(process, kinds, fits) : undefined;
    if (thing !== undefined) return thing.slot;
    if (process.things.length > 0 && random.chance(80)) return random.of(process.things).slot;
    return EMPTY_SLOT;
  }

  #likely(process: Process, slot: number): boolean {
    return process.things.find((thing) => thing.slot === slot)?.likely ?? false;
  }

  // ---------------------------------------------------------------------------------------- the device

  #open(process: Process, plain = false): void {
    const random = this.#random;
    const flags = plain
      ? O.RDWR | O.CLOEXEC
      : random.weighted([
          [60, O.RDWR | O.CLOEXEC],
          [20, O.RDWR],
          [4, O.RDWR | O.NONBLOCK],
          [3, O.RDWR | O.CREAT | O.CLOEXEC],
          [2, O.RDWR | O.CREAT | O.EXCL],
          [2, O.RDWR | O.EXCL],
          [2, O.RDONLY | O.CLOEXEC],
          [2, O.WRONLY],
          [1, O.PATH | O.CLOEXEC],
        ]);
    const free = ![this.#main, ...this.#helpers.values()].some(({ things }) =>
      things.some(({ kind, likely }) => kind === 'device' && likely),
    );
    this.#say(process, `open ${this.#add(process, 'device', free && (flags & (O.EXCL | O.PATH)) === 0)} ${flags}`);
  }

  #ioctl(
    process: Process,
    on: number,
    call: keyof typeof COMMANDS,
    body: string,
    out?: number,
    plain = !this.#random.chance(12),
  ): void {
    const random = this.#random;
    const size = SIZES[call];
    let claimed = size;
    let tail = '';
    let memory = 'ok';
    if (!plain) {
      random.weighted<() => void>([
        [2, () => (claimed = size - 1)],
        [2, () => (claimed = random.of([0, 4, 7, 8, 12, 15, 16, 71]))],
        [2, () => ([claimed, tail] = [size + 1, '.z1'])],
        [3, () => ([claimed, tail] = [size + 56, '.z56'])],
        [2, () => ([claimed, tail] = [size + 8, '.x0000000000000001'])],
        [1, () => ([claimed, tail] = [size + 1, '.x80'])],
        [1, () => ([claimed, tail] = [size + 8000, '.z8000'])],
        [1, () => ([claimed, tail] = [size + 8000, '.z7999.x01'])],
        // What it claims to have is not there, or is not zero.
        [1, () => (claimed = random.of([size + 4, size + 4096, 0x7fff_ffff, 0xffff_ffff]))],
        [2, () => ([claimed, tail, memory] = [random.of([size + 8, size + 4096, 0xffff_ffff]), '', 'end'])],
        // Something that is not zero, and behind it nothing at all.
        [1, () => ([claimed, tail, memory] = [size + random.of([64, 4096, 100_000]), '.z8.x01', 'end'])],
        [4, () => (memory = random.of(['null', 'low', 'kernel']))],
        [3, () => (memory = `cut${random.below(size)}`)],
        [7, () => (memory = `ro${random.of([0, 0, 4, 8, random.below(size + 1)])}`)],
        [1, () => (memory = `none${random.below(size)}`)],
        [2, () => (memory = 'odd')],
        [2, () => (memory = 'end')],
      ])();
    }
    const command = COMMANDS[call].toString(16);
    this.#say(
      process,
      `ioctl ${on} ${command} ${memory} u${claimed}.${body}${tail}${out === undefined ? '' : ` >${out}`}`,
    );
  }

  #plainName(): string {
    return hex(`${this.#name}-${this.#random.below(1000)}`);
  }

  /** The field of a name. */
  #newName(): string {
    const random = this.#random;
    const own = this.#plainName();
    return random.weighted<() => string>([
      [70, () => own],
      [4, () => ''],
      [6, () => own + '41'.repeat(NAME_BYTES - 1 - own.length / 2)],
      [4, () => own + '58'.repeat(NAME_BYTES - own.length / 2)],
      [6, () => own + random.of(['c3a9', 'e29883', 'ff80fe', '0a', '2f2e2e2f', '20', '5b5d3a25', 'f09f9880'])],
      // Behind the NUL is something.
      [5, () => `${own}00${'67'.repeat(random.below(20) + 1)}`],
      [3, () => own + '7a'.repeat(random.below(30))],
      [2, () => random.of(this.#outgoing)?.name ?? own],
    ])();
  }

  #create(process: Process, plain = !this.#random.chance(10)): void {
    const random = this.#random;
    const known = !plain && random.chance(60) ? random.of([...this.#outgoing, ...this.#incoming]) : undefined;
    const name = known?.name ?? (plain ? this.#plainName() : this.#newName());
    const on = this.#slotOf(process, ['device']);
    const steady = plain || !random.chance(12);
    const likely =
      steady && this.#likely(process, on) && isName(name) && !this.#outgoing.some((each) => each.name === name);
    const slot = this.#add(process, 'session', likely, { name, incoming: false });
    this.#outgoing.push({ name, tokens: [], likely });
    this.#ioctl(process, on, 'create', `i${random.of([-1, 0, 77])}.n${name}`, slot, steady);
  }

  #retrieveSession(process: Process, given?: string): void {
    const random = this.#random;
    const from = random.chance(85) ? this.#incoming : this.#outgoing;
    const name = given ?? (random.chance(92) ? random.of(from)?.name : undefined) ?? this.#newName();
    const on = this.#slotOf(process, ['device']);
    const steady = !random.chance(given === undefined ? 12 : 4);
    const likely =
      steady && this.#likely(process, on) && this.#incoming.some((known) => known.likely && known.name === name);
    const slot = this.#add(process, 'session', likely, { name, incoming: true });
    this.#ioctl(process, on, 'retrieve', `i-1.n${name}`, slot, steady);
  }

  #preserve(process: Process): void {
    const random = this.#random;
    const session = this.#pick(process, ['session'], ({ incoming }) => incoming === false);
    const on = session !== undefined && random.chance(97) ? session.slot : this.#slotOf(process, ['session']);
    const memory = this.#pick(process, ['memfd'], ({ slot }) => !this.#busy.has(slot));
    const what = random.weighted<() => string>([
      [80, () => `f${memory?.slot ?? this.#slotOf(process, ['memfd'])}`],
      [10, () => `f${this.#slotOf(process, ['other'])}`],
      [2, () => `f${this.#slotOf(process, ['session'])}`],
      [1, () => `f${this.#slotOf(process, ['device'])}`],
      [2, () => `i${random.of([-1, 0, 900, -2147483648, 2147483647, 1])}`],
    ])();
    const known = this.#outgoing.filter(({ name }) => name === session?.name).at(-1);
    const unused = TOKENS.filter((token) => known?.tokens.includes(token) !== true);
    const token = unused.length > 0 && random.chance(88) ? random.of(unused) : random.of(TOKENS);
    const steady = !random.chance(12);
    const slot = memory !== undefined && what === `f${memory.slot}` ? memory.slot : EMPTY_SLOT;
    const works = steady && session?.likely === true && session.incoming === false && this.#likely(process, slot);
    if (works && !this.#busy.has(slot) && known?.tokens.includes(token) === false) {
      known.tokens.push(token);
      this.#busy.add(slot);
    }
    this.#ioctl(process, on, 'preserve', `${what}.q${token}`, undefined, steady);
  }

  #retrieveFd(process: Process): void {
    const random = this.#random;
    const tokensOf = (name?: string): readonly bigint[] =>
      this.#incoming.find((known) => known.name === name)?.tokens ?? [];
    const session = this.#pick(
      process,
      ['session'],
      ({ incoming, name }) => incoming === true && tokensOf(name).length > 0,
    );
    const on = session !== undefined && random.chance(97) ? session.slot : this.#slotOf(process, ['session']);
    const tokens = tokensOf(session?.name);
    const known = tokens.length > 0 && random.chance(90);
    const token = random.of(known ? tokens : TOKENS);
    const steady = !random.chance(10);
    const slot = this.#add(process, 'memfd', known && steady && session?.likely === true);
    this.#ioctl(process, on, 'retrieveFd', `i-1.q${token}`, slot, steady);
    if (random.chance(known ? 75 : 20)) this.#say(process, `look ${slot}`);
  }

  #finish(process: Process): void {
    const on = this.#slotOf(process, ['session'], ({ incoming }) => incoming === true);
    this.#ioctl(process, on, 'finish', `u${this.#random.chance(10) ? 1 : 0}`);
  }

  #getName(process: Process): void {
    const random = this.#random;
    const field = random.of(['z64', 'z64', 'r64', 'n6162']);
    this.#ioctl(process, this.#slotOf(process, ['session']), 'getName', `u${random.chance(10) ? 1 : 0}.${field}`);
  }

  /** Numbers that there are not, words of another direction or size, and other devices' commands. */
  #oddIoctl(process: Process): void {
    const random = this.#random;
    const on = this.#slotOf(process, random.of<Kind[]>([['device'], ['session'], ['session'], ['memfd', 'other']]));
    const command = random.weighted<() => number>([
      [3, () => 0xba00 | random.of([0x02, 0x0f, 0x3f, 0x44, 0x4f, 0x80, 0xff])],
      [3, () => 0xba00 | random.of([0x00, 0x01, 0x40, 0x41, 0x42, 0x43])],
      [4, () => (0xc010_ba00 | random.of([0x00, 0x01, 0x40, 0x41, 0x42, 0x43, 0x44])) >>> 0],
      [2, () => 0x4000_ba00 | random.of([0x00, 0x40, 0x42])],
      [4, () => random.of(FOREIGN)],
    ])();
    const memory = random.of(['ok', 'ok', 'ok', 'null', 'cut2', 'ro0']);
    this.#say(process, `ioctl ${on} ${command.toString(16)} ${memory} u${random.of([72, 16, 8, 1, 0])}.z68`);
    if (FOREIGN.includes(command)) this.#say(process, `flags ${on}`);
  }

  /** No fd can be had for the answer. */
  #scarce(process: Process): void {
    this.#say(process, 'limit 0');
    this.#random.weighted<() => void>([
      [3, () => this.#create(process)],
      [2, () => this.#retrieveSession(process)],
      [3, () => this.#retrieveFd(process)],
      [1, () => this.#open(process)],
      [1, () => this.#finish(process)],
    ])();
    this.#say(process, 'limit 1');
  }

  /** What other calls say of the device and of a session. */
  #plainCalls(process: Process): void {
    const on = this.#slotOf(process, this.#random.of<Kind[]>([['device'], ['session']]));
    this.#say(process, `${this.#random.of(['stat', 'poll', 'watch', 'get', 'put', 'seek', 'trunc'])} ${on} 0 0 1`);
  }

  // ---------------------------------------------------------------------------------------- fds and processes

  #close(process: Process): void {
    const random = this.#random;
    const slot = this.#slotOf(
      process,
      random.weighted<Kind[]>([
        [3, ['device']],
        [4, ['session']],
        [3, ['memfd', 'other']],
      ]),
    );
    this.#say(process, `close ${slot}`);
    const name = process.things.find((thing) => thing.slot === slot)?.name;
    if (random.chance(92)) process.things = process.things.filter((thing) => thing.slot !== slot);
    // The last fd of a session: it ends, and its name may be had again.
    if (![this.#main, ...this.#helpers.values()].some(({ things }) => things.some((thing) => thing.name === name)))
      this.#outgoing = this.#outgoing.filter((known) => known.name !== name);
  }

  #duplicate(process: Process): void {
    const random = this.#random;
    const from = this.#pick(process, ['device', 'session', 'memfd', 'other']);
    if (from === undefined) return;
    const how = random.weighted([
      [3, 'dup'],
      [2, 'dupfd'],
      [2, 'dup2'],
      [2, 'pass'],
      [3, 'reopen'],
    ]);
    if (how === 'dup2') {
      const onto = this.#pick(process, ['device', 'session', 'memfd', 'other'])!;
      this.#say(process, `dup2 ${onto.slot} ${from.slot}`);
      process.things = process.things.filter((thing) => thing !== onto);
      process.things.push({ ...from, slot: onto.slot });
    } else if (how === 'reopen') {
      // Of a pipe it would wait for a writer.
      const source = from.kind === 'session' ? from : this.#pick(process, ['memfd']);
      if (source === undefined) return;
      const flags = random.of([O.RDONLY, O.RDWR, O.RDWR | O.CLOEXEC, O.WRONLY, O.PATH, O.RDWR | 0o2000]);
      this.#say(
        process,
        `reopen ${this.#add(process, source.kind, source.kind === 'memfd' && source.likely)} ${source.slot} ${flags}`,
      );
    } else {
      this.#say(process, `${how} ${this.#add(process, from.kind, from.likely, from)} ${from.slot}`);
    }
  }

  #helper(process: Process): void {
    const random = this.#random;
    const numbers = [...this.#helpers.keys()];
    if (process !== this.#main || (numbers.length > 0 && random.chance(50))) {
      if (numbers.length === 0) return;
      const number = random.of(numbers);
      const how = random.weighted([
        [2, 'exec'],
        [2, 'end'],
        [1, 'kill'],
      ]);
      this.#say(this.#main, `${how} ${number}`);
      if (how !== 'exec') this.#helpers.delete(number);
      return;
    }
    if (this.#helperCount >= 4) return;
    const number = this.#helperCount++;
    this.#say(this.#main, `fork ${number}`);
    this.#helpers.set(number, { prefix: `@${number} `, things: [...this.#main.things] });
  }

  // ---------------------------------------------------------------------------------------- files

  #memfd(process: Process): void {
    const random = this.#random;
    const slot = this.#add(process, 'memfd', true);
    // CLOEXEC 1, ALLOW_SEALING 2, NOEXEC_SEAL 8, EXEC 16.
    const flags = random.weighted([
      [60, 2 | 16],
      [10, 1 | 2 | 16],
      [8, 16],
      [8, 2 | 8],
      [4, 1],
    ]);
    this.#say(process, `memfd ${slot} ${flags}`);
    if (random.chance(80)) this.#say(process, `write ${slot} ${random.of(LENGTHS)} ${random.below(256)}`);
    if (random.chance(20)) this.#say(process, `trunc ${slot} ${random.of([0, 5, 4096, 12_289, 65_536])}`);
    if (random.chance(15)) this.#seal(process, slot);
  }

  #seal(process: Process, slot: number): void {
    this.#say(process, `seal ${slot} ${this.#random.of([1, 2, 4, 6, 7, 8, 15, 16, 22, 32, 38, 64])}`);
  }

  #file(process: Process): void {
    const random = this.#random;
    const kind = random.of(FILE_KINDS);
    const shared = kind === 'tmpfile' || kind === 'named';
    const slot = this.#add(process, shared && random.chance(50) ? 'memfd' : 'other', true);
    this.#say(process, `file ${slot} ${kind}`);
    if (shared && random.chance(60)) this.#say(process, `write ${slot} ${random.of(LENGTHS)} ${random.below(256)}`);
    if (kind === 'named') {
      if (random.chance(20)) this.#preserve(process);
      // Names are for the folder of all; none may be left there.
      this.#say(process, `unlink ${slot}`);
    }
  }

  /** What is done to memory, preserved or not. */
  #change(process: Process): void {
    const random = this.#random;
    const thing = this.#pick(process, ['memfd']);
    if (thing === undefined) return;
    const { slot } = thing;
    if (this.#busy.has(slot) && random.chance(65)) return this.#changeInPlace(process, slot);
    const offset = (): number => random.of([0, 1, 100, 4090, 4096, 9000, 70_000]);
    random.weighted<() => void>([
      [3, () => this.#say(process, `write ${slot} ${random.of(LENGTHS)} ${random.below(256)}`)],
      [4, () => this.#say(process, `pwrite ${slot} ${offset()} ${random.of(LENGTHS)} ${random.below(256)}`)],
      [1, () => this.#say(process, `pwrite ${slot} ${random.of([0, 2_097_000])} 300000 ${random.below(256)}`)],
      [2, () => this.#say(process, `read ${slot} ${random.of(LENGTHS)}`)],
      [3, () => this.#say(process, `trunc ${slot} ${random.of([0, 5, 4096, 10_000, 65_536, -1])}`)],
      [
        2,
        () =>
          this.#say(
            process,
            `falloc ${slot} ${random.of([0, 1, 3, 16, 8, 32])} ${offset()} ${random.of([0, 1, 4096, 8192])}`,
          ),
      ],
      [3, () => this.#seal(process, slot)],
      [3, () => this.#say(process, `seek ${slot} ${offset()} ${random.of([0, 0, 1, 2])}`)],
      [1, () => this.#say(process, `seek ${slot} ${random.of([0, 5000])} ${random.of([3, 4])}`)],
      // Only what lies inside of it: a touch behind its end is a signal.
      [1, () => this.#say(process, `map ${slot} 0 ${random.of([1, 0, 4096])} ${random.below(256)}`)],
    ])();
  }

  /** What a preserved file allows, mostly. */
  #changeInPlace(process: Process, slot: number): void {
    const random = this.#random;
    random.weighted<() => void>([
      [
        4,
        () =>
          this.#say(process, `pwrite ${slot} ${random.of([0, 0, 1, 9])} ${random.of([1, 17])} ${random.below(256)}`),
      ],
      [2, () => this.#say(process, `map ${slot} 0 ${random.of([1, 4096])} ${random.below(256)}`)],
      [2, () => this.#say(process, `seek ${slot} ${random.of([0, 5, 4096])} 0`)],
      [1, () => this.#say(process, `read ${slot} ${random.of(LENGTHS)}`)],
      [1, () => this.#say(process, `trunc ${slot} ${random.of([0, 5, 4096, 65_536])}`)],
      [1, () => this.#seal(process, slot)],
    ])();
  }

  #look(process: Process): void {
    const random = this.#random;
    const thing = this.#pick(process, random.chance(30) ? ['device', 'session'] : ['memfd']);
    if (thing === undefined) return;
    this.#say(process, `${thing.kind === 'memfd' ? 'look' : 'flags'} ${thing.slot}`);
  }
}

function isName(field: string): boolean {
  const bytes: readonly string[] = field.match(/../g) ?? [];
  const end = bytes.indexOf('00');
  const length = end < 0 ? bytes.length : end;
  return length > 0 && length < NAME_BYTES;
}

function hex(text: string): string {
  return Buffer.from(text, 'utf8').toString('hex');
}
