/** What the tests of src/transport share: a peer opposite a bare socket, and raw writes of any shape. */
import assert from 'node:assert/strict';
import { LuoError } from '../../src/base/errors.js';
import {
  MessageReceiver,
  MessageSender,
  OwnedFd,
  WOULD_BLOCK,
  closeAll,
  memfdCreate,
  socketpair,
} from '../../src/sys/index.js';
import { LineConnection, type ConnectionOptions } from '../../src/transport/index.js';
import type { Envelope } from '../../src/protocol/envelope.js';

export { leakCheck, limitWithFree, openFds, until, withFolder } from '../sys/support.js';

const sender = new MessageSender(256 * 1024);
const receiver = new MessageReceiver(256 * 1024);

/** One received message. */
export interface Got {
  readonly envelope: Envelope;
  readonly fds: number;
  readonly lost: LuoError | undefined;
}

/** A LineConnection whose other end is a bare socket in the test's hands. */
export class Bench {
  readonly raw: OwnedFd;
  readonly connection: LineConnection;
  readonly got: Got[] = [];
  /** Set once it is closed; null: without an error. */
  closed: LuoError | null | undefined;
  onMessage: ((envelope: Envelope) => void) | undefined;

  constructor(options: ConnectionOptions = {}) {
    const [raw, ours] = socketpair();
    this.raw = raw;
    this.connection = new LineConnection(
      ours,
      {
        onMessage: (envelope, fds, lost) => {
          this.got.push({ envelope, fds: fds.length, lost });
          closeAll(fds);
          this.onMessage?.(envelope);
        },
        onClose: (error) => {
          assert.equal(this.closed, undefined, 'closed twice');
          this.closed = error ?? null;
        },
      },
      options,
    );
  }

  /** Write bytes, and fds with their first byte; returns how many went. */
  write(data: string | Uint8Array, fds: readonly number[] = []): number {
    const bytes = Buffer.from(data as string);
    bytes.copy(sender.buffer);
    return sender.send(this.raw.fd, bytes.length, fds);
  }

  /** Everything that was sent to the bare end so far; its fds are closed. */
  read(): { text: string; fds: number } {
    let text = '';
    let fds = 0;
    for (;;) {
      const count = receiver.receive(this.raw.fd);
      if (count === WOULD_BLOCK || count === 0) return { text, fds };
      text += receiver.buffer.toString('utf8', 0, count);
      fds += receiver.fds.length;
      closeAll(receiver.fds.map((fd) => new OwnedFd(fd)));
    }
  }

  /** The reason that was told before the connection was closed. */
  farewell(): Record<string, unknown> | undefined {
    const line = this.read()
      .text.split('\n')
      .find((text) => text.includes('"closing"'));
    return line === undefined ? undefined : (JSON.parse(line) as { data: Record<string, unknown> }).data;
  }

  end(): void {
    this.connection.close();
    this.raw.close();
  }
}

/** An event line, the simplest message; `fds` declares. */
export function event(data: unknown, fds = 0): string {
  return `${JSON.stringify(fds === 0 ? { event: 'e', data } : { event: 'e', data, fds })}\n`;
}

/** Run `use` with some memfd number to send. */
export async function withMemfd(use: (fd: number) => void | Promise<void>): Promise<void> {
  const memfd = memfdCreate('sent');
  try {
    await use(memfd.fd);
  } finally {
    memfd.close();
  }
}

/** Assert that a promise is rejected with that code; returns the error. */
export async function rejectsWith(promise: Promise<unknown>, code: string): Promise<LuoError> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof LuoError, String(error));
    assert.equal(error.code, code, error.message);
    return error;
  }
  return assert.fail(`was not rejected with ${code}`);
}
