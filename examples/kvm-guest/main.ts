/**
 * A virtual machine monitor whose guest survives the replacement of the monitor (`luoctl update`), and of the kernel of its host
 * (`luoctl kexec`), with the same code: no line here knows which of the two it is.
 *
 * What is kept: the guest's memory, a region of luo, and the state of its processor, some kilobytes of JSON. What is not: the fds
 * of KVM. A virtual machine belongs to the process that made it, and the kernel preserves none; so the next process builds one
 * around the same memory, in its standby, while the guest still runs in the old one. When the old one has stopped it, the
 * new one gets the registers, and at go the guest takes its next instruction there, after one spurious interrupt.
 *
 * If the monitor is killed, its registers are lost with it: to the guest that is a power failure, and it is booted again.
 *
 *     GET /        how the guest and the monitor are, as JSON
 *     GET /verify  the same, after comparing every word of the guest's memory with what must be there
 *
 * `--fail restore` makes a version that cannot read the processor's state: its update is rolled back.
 */
import { createServer } from 'node:http';
import { release } from 'node:os';
import { parseArgs } from 'node:util';
import { join } from 'luo';
import { parseSize } from '../cache/settings.js';
import { readBoard, verifyMemory, type Board, type Verification } from './guest-memory.js';
import { Machine, type Counters, type SavedMachine } from './machine.js';

/** What `GET /` says. */
export interface Report {
  readonly version: string;
  readonly pid: number;
  readonly kernel: string;
  readonly role: string;
  readonly generation: number;
  readonly memoryBytes: number;
  readonly isHalted: boolean;
  readonly inFlight: number;
  readonly guest: Board;
  readonly monitor: Counters;
  readonly verification?: Verification;
}

const USAGE = 'usage: kvm-guest [--port N] [--memory SIZE] [--version-label TEXT] [--fail restore]';

function settingsOrExit() {
  try {
    const { values } = parseArgs({
      options: {
        port: { type: 'string', default: '7100' },
        memory: { type: 'string', default: '32m' },
        'version-label': { type: 'string', default: 'v1' },
        fail: { type: 'string' },
      },
    });
    if (values.fail !== undefined && values.fail !== 'restore') throw new Error(`--fail cannot be '${values.fail}'`);
    const port = Number(values.port);
    if (!Number.isInteger(port) || port < 0 || port > 65535) throw new Error(`--port cannot be '${values.port}'`);
    return { port, memoryBytes: parseSize(values.memory), version: values['version-label'], fail: values.fail };
  } catch (error) {
    console.error(`kvm-guest: ${(error as Error).message}\n${USAGE}`);
    process.exit(2);
  }
}

const settings = settingsOrExit();
const luo = await join({ client: `luo-kvm-guest/${settings.version}` });
// A guest that waits is taken with its size.
const isWaiting = luo.waiting.some(({ name }) => name === 'guest');
const memory = await luo.memory('guest', {
  compatible: 'kvm-guest/1',
  ...(isWaiting ? {} : { sizeBytes: settings.memoryBytes }),
});

function machineOrExit(): Machine {
  try {
    return new Machine({
      memory,
      onDead(why) {
        console.error(`kvm-guest: the guest is dead: ${why}`);
        process.exit(70);
      },
    });
  } catch (error) {
    console.error(`kvm-guest: no virtual machine can be made here: ${(error as Error).message}`);
    process.exit(69);
  }
}

const machine = machineOrExit();
luo.state('machine', {
  save: () => machine.save(),
  restore(saved) {
    if (settings.fail === 'restore') throw new Error('told to fail at the restore of the machine');
    machine.restore(saved as unknown as SavedMachine);
  },
});
luo.on('freeze', () => machine.stop());
luo.on('thaw', () => machine.start());
luo.on('go', () => {
  if (!machine.hasState) {
    console.log('the registers of the guest were lost with the last monitor: it is booted again');
    machine.boot();
  }
  machine.start();
});

// A guest that is new can be booted while nobody waits; any other memory is not ours to write before go.
if (memory.created) machine.boot();

let role: string = luo.role;
function report(verification?: Verification): Report {
  return {
    version: settings.version,
    pid: process.pid,
    kernel: release(),
    role,
    generation: memory.generation,
    memoryBytes: memory.sizeBytes,
    isHalted: machine.isHalted,
    inFlight: machine.inFlight,
    guest: readBoard(memory.buffer),
    monitor: machine.counters,
    ...(verification === undefined ? {} : { verification }),
  };
}
const server = createServer((request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(`${JSON.stringify(request.url === '/verify' ? report(verifyMemory(memory.buffer)) : report())}\n`);
});
await luo.listen(server, {
  port: settings.port,
  host: '127.0.0.1',
  wants: { handover: 'keep', kexec: 'leave' },
});
({ role } = await luo.ready());
const { rounds } = readBoard(memory.buffer);
console.log(`kvm-guest ${settings.version} (pid ${process.pid}, Linux ${release()}): ${role}, at round ${rounds}`);
