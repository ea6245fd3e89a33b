/**
 * What a successor tries out before its standby, beside the switch itself (rehearsed-switch.ts): the checks of luod's calls, and
 * whatever the program wants to have warm.
 */
import { once } from 'node:events';
import { Server as HttpServer } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { MEMBER_CALLS } from '../protocol/spec.js';
import { parseParams } from '../protocol/validate.js';
import { beginHttpAccount, closeListening } from './net-internals.js';
import type { RehearsalContext } from './types.js';

/** Compile the checks of luod's calls, which otherwise would happen at the first of each, in the blackout. */
export function warmCalls(): void {
  for (const method of Object.keys(MEMBER_CALLS) as (keyof typeof MEMBER_CALLS)[]) {
    try {
      parseParams(MEMBER_CALLS, method, { attempt: 0 });
    } catch {
      // Only that it was compiled matters.
    }
  }
}

/** What a program's own rehearsal works with; `end()` takes all of it away. */
export class RehearsalStage implements RehearsalContext {
  readonly #controller = new AbortController();
  readonly #sockets: Socket[] = [];

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  async connect(server: Server): Promise<Socket> {
    if (server instanceof HttpServer) beginHttpAccount(server);
    const gate = createServer({ allowHalfOpen: (server as unknown as { allowHalfOpen: boolean }).allowHalfOpen });
    gate.listen(0, '127.0.0.1');
    await once(gate, 'listening');
    const accepted = once(gate, 'connection') as Promise<[Socket]>;
    const client = connect((gate.address() as { port: number }).port, '127.0.0.1');
    this.#sockets.push(client);
    await once(client, 'connect');
    const [socket] = await accepted;
    this.#sockets.push(socket);
    closeListening(gate);
    server.emit('connection', socket);
    return client;
  }

  async end(): Promise<void> {
    this.#controller.abort();
    await Promise.all(
      this.#sockets.map(async (socket) => {
        if (socket.closed) return;
        const closed = once(socket, 'close');
        socket.on('error', () => {});
        socket.destroy();
        await closed;
      }),
    );
  }
}
