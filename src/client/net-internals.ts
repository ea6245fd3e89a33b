/**
 * The one place that touches what Node keeps inside of its sockets and servers. Node has no public way to stop a socket
 * from reading without taking bytes in, to learn which bytes libuv has not written yet, to make a socket from a
 * descriptor without reading from it, or to end listening without ending connections. `net-selftest.ts` tries all of it
 * on real sockets before anything is frozen, so that a Node that changed is found at start, as CLIENT_INTERNALS.
 *
 * Used, the same on Node 20, 24 and 26 (lib/net.js, lib/internal/stream_base_commons.js, src/stream_base.cc):
 * - `socket._handle`: `fd`, `readStart()`, `readStop()`, `writeQueueSize` (bytes that libuv has not given to the kernel),
 *   `close()`; `reading`, which is JavaScript's own note: while it is true, no stream rearms reading by itself.
 * - the option `pauseOnCreate` of `net.Socket`; a plain `{ fd }` reads at once and would steal bytes.
 * - `socket._write`, `_writev`, `_final`, `_destroy`: the stream calls them one at a time, so that at most one write is
 *   in flight and everything behind it is in `_writableState`.
 * - `server._handle`, `server._connections`, `socket._server`, `server._emitCloseIfDrained()`.
 * - the symbol `owner_symbol` of a handle, by which libuv's events find their socket.
 */
import type { Server as HttpServer, ServerResponse } from 'node:http';
import type { Server } from 'node:net';
import { Socket } from 'node:net';
import { LuoError } from '../base/errors.js';

/** What libuv's stream handle gives to JavaScript. */
interface StreamHandle {
  readonly fd: number;
  readonly writeQueueSize: number;
  reading: boolean;
  readStart(): number;
  readStop(): number;
  close(callback?: () => void): void;
}

export type WriteCallback = (error?: Error | null) => void;
interface Chunk {
  readonly chunk: Uint8Array | string;
  readonly encoding: BufferEncoding | 'buffer';
}
type Chunks = Chunk[] & { allBuffers?: boolean };

/** `net.Socket` with its inside. */
interface SocketInside {
  _handle: StreamHandle | null;
  _server: Server | null;
  server: Server | null;
  _write(chunk: Uint8Array | string, encoding: BufferEncoding | 'buffer', callback: WriteCallback): void;
  _writev(chunks: Chunks, callback: WriteCallback): void;
  _final(callback: WriteCallback): void;
  _destroy(error: Error | null, callback: WriteCallback): void;
  _writableState: { getBuffer(): readonly Chunk[] };
  _readableState: { decoder?: { lastTotal: number; lastNeed: number; lastChar: Uint8Array } | null };
  readableFlowing: boolean | null;
  _httpMessage?: ServerResponse | null;
}
interface ServerInside {
  _handle: { close(callback?: () => void): void; fd: number } | null;
  _connections: number;
  _emitCloseIfDrained(): void;
}

function inside(socket: Socket): SocketInside {
  return socket as unknown as SocketInside;
}
function serverInside(server: Server): ServerInside {
  return server as unknown as ServerInside;
}

/** The error of a Node that is not as this file knows it. */
export function internalsError(what: string, cause?: unknown): LuoError {
  return new LuoError(
    'CLIENT_INTERNALS',
    `Node ${process.versions.node} is not as luo knows it: ${what}; connections could not be handed over`,
    { cause, remedy: 'use a Node that this version of luo was tested with, or a newer luo' },
  );
}

// ---------------------------------------------------------------------------------------------- reading

/** The descriptor of an open socket; undefined when it is closed. */
export function socketFd(socket: Socket): number | undefined {
  const fd = inside(socket)._handle?.fd;
  return fd === undefined || fd < 0 ? undefined : fd;
}

/** Take nothing more from the kernel. What comes stays there; nothing in the stream starts reading again by itself. */
export function stopReading(socket: Socket): void {
  const handle = inside(socket)._handle;
  if (handle === null) return;
  handle.readStop();
  handle.reading = true;
}

/** The opposite of {@link stopReading}. The stream's own back pressure takes over. */
export function startReading(socket: Socket): void {
  const handle = inside(socket)._handle;
  if (handle === null) return;
  handle.reading = true;
  handle.readStart();
}

/**
 * A copy of the bytes that the stream took in and the program did not take out; they stay where they are. From here on
 * the program cannot take them out, until {@link unsealReadable}.
 */
export function sealReadable(socket: Socket): Buffer | undefined {
  let copy: Buffer | undefined;
  if (socket.readableLength > 0) {
    const emit = socket.emit;
    // read() also emits what it returns; nobody may hear it now.
    socket.emit = () => true;
    try {
      const bytes: unknown = socket.read();
      if (typeof bytes === 'string') copy = Buffer.from(bytes, socket.readableEncoding ?? 'utf8');
      else if (bytes instanceof Uint8Array) copy = Buffer.from(bytes);
      if (copy !== undefined) socket.unshift(bytes, socket.readableEncoding ?? undefined);
    } finally {
      socket.emit = emit;
      if (Object.hasOwn(socket, 'emit') && emit === Socket.prototype.emit) Reflect.deleteProperty(socket, 'emit');
    }
  }
  socket.read = () => null;
  const partial = undecodedBytes(socket);
  if (partial === undefined) return copy;
  return copy === undefined ? partial : Buffer.concat([copy, partial]);
}

/** With `setEncoding`: the bytes of a character whose end has not come yet. */
function undecodedBytes(socket: Socket): Buffer | undefined {
  const decoder = inside(socket)._readableState.decoder;
  if (decoder === null || decoder === undefined) return undefined;
  const count = decoder.lastTotal - decoder.lastNeed;
  return count > 0 ? Buffer.from(decoder.lastChar.subarray(0, count)) : undefined;
}

/** The program may take bytes out of the stream again, and is told of those that wait there. */
export function unsealReadable(socket: Socket): void {
  Reflect.deleteProperty(socket, 'read');
  if (socket.readableLength === 0 || socket.destroyed) return;
  if (socket.readableFlowing === true) {
    // A flowing stream that was held back does not begin again by itself.
    socket.pause();
    socket.resume();
  } else {
    socket.read(0);
    if (socket.listenerCount('readable') > 0) process.nextTick(() => socket.emit('readable'));
  }
}

// ---------------------------------------------------------------------------------------------- writing

/** Bytes of the write in flight that libuv has not given to the kernel. */
export function unwrittenBytes(socket: Socket): number {
  return inside(socket)._handle?.writeQueueSize ?? 0;
}

/** What the stream holds behind the write in flight, oldest first. */
export function queuedChunks(socket: Socket): Buffer[] {
  return inside(socket)._writableState.getBuffer().map(chunkBytes);
}

function chunkBytes({ chunk, encoding }: Chunk): Buffer {
  if (typeof chunk === 'string') return Buffer.from(chunk, encoding === 'buffer' ? 'utf8' : encoding);
  return Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
}

/** The four ends of a socket's output, taken over. Each `original` does what Node would have done. */
export interface OutputHooks {
  write(chunks: Buffer[], callback: WriteCallback): void;
  final(callback: WriteCallback): void;
  /** Just before the socket closes its descriptor. */
  destroy(): void;
}
export interface OutputOriginals {
  write(chunks: Buffer[], callback: WriteCallback): void;
  final(callback: WriteCallback): void;
}

/** Let `hooks` stand between the stream and libuv. The stream calls write again only after the callback. */
export function hookOutput(socket: Socket, hooks: OutputHooks): OutputOriginals {
  const self = inside(socket);
  const { _write, _writev, _final, _destroy } = self;
  self._write = (chunk, encoding, callback) => hooks.write([chunkBytes({ chunk, encoding })], callback);
  self._writev = (chunks, callback) => hooks.write(chunks.map(chunkBytes), callback);
  self._final = (callback) => hooks.final(callback);
  self._destroy = (error, callback) => {
    hooks.destroy();
    _destroy.call(self, error, callback);
  };
  return {
    write: (chunks, callback) => {
      if (chunks.length === 1) return _write.call(self, chunks[0]!, 'buffer', callback);
      const all: Chunks = chunks.map((chunk) => ({ chunk, encoding: 'buffer' as const }));
      all.allBuffers = true;
      _writev.call(self, all, callback);
    },
    final: (callback) => _final.call(self, callback),
  };
}

// ---------------------------------------------------------------------------------------------- descriptors

/**
 * A socket of `takenFd` that reads nothing before {@link startReading}, and otherwise behaves as one that was just
 * accepted: listeners, pipes and pauses of the program mean what they always mean.
 */
export function attachSocket(takenFd: number, options: { readonly allowHalfOpen: boolean }): Socket {
  const socket = new Socket({
    fd: takenFd,
    readable: true,
    writable: true,
    allowHalfOpen: options.allowHalfOpen,
    pauseOnCreate: true,
  } as ConstructorParameters<typeof Socket>[0]);
  const self = inside(socket);
  if (self._handle === null) throw internalsError('a socket made from a descriptor has no handle');
  // pauseOnCreate leaves the stream paused by word; a fresh connection is in neither state.
  self.readableFlowing = null;
  self._handle.reading = true;
  return socket;
}

/** Close the socket's handle without the stream noticing: no FIN, as long as another descriptor of it lives. */
export function closeHandle(socket: Socket): void {
  const self = inside(socket);
  self._handle?.close();
  self._handle = null;
}

/** Put a handle of `takenFd` into a socket whose own was closed by {@link closeHandle}. It does not read yet. */
export function replaceHandle(socket: Socket, takenFd: number): void {
  const donor = inside(attachSocket(takenFd, { allowHalfOpen: socket.allowHalfOpen }));
  const handle = donor._handle!;
  const owner = Object.getOwnPropertySymbols(handle).find((symbol) => symbol.description === 'owner_symbol');
  if (owner === undefined) throw internalsError('a handle no longer names its socket by owner_symbol');
  donor._handle = null;
  (handle as unknown as Record<symbol, unknown>)[owner] = socket;
  inside(socket)._handle = handle;
}

// ---------------------------------------------------------------------------------------------- servers

/** Count `socket` among the connections of `server`, as if it had been accepted there. */
export function adoptIntoServer(server: Server, socket: Socket): void {
  const self = inside(socket);
  self._server = server;
  self.server = server;
  serverInside(server)._connections += 1;
}

/** Stop accepting; the server's connections, and what the program knows of it, stay as they are. */
export function closeListening(server: Server): void {
  const self = serverInside(server);
  const handle = self._handle;
  if (handle === null) return;
  self._handle = null;
  // Without a handle the end of the last connection would count as the end of the server.
  self._emitCloseIfDrained = () => {};
  handle.close();
}

/**
 * Accept on `takenFd`, which listens already.
 * @param quiet true: again, so that the program does not hear `listening` a second time
 */
export function openListening(
  server: Server,
  takenFd: number,
  options: { readonly backlog: number; readonly quiet: boolean },
): void {
  Reflect.deleteProperty(server, '_emitCloseIfDrained');
  if (options.quiet) {
    const emit = server.emit;
    const owned = Object.hasOwn(server, 'emit');
    server.emit = function (this: Server, event: string | symbol, ...args: unknown[]): boolean {
      if (event !== 'listening') return (emit as (...all: unknown[]) => boolean).call(this, event, ...args);
      if (owned) server.emit = emit;
      else Reflect.deleteProperty(server, 'emit');
      return true;
    } as Server['emit'];
  }
  server.listen({ fd: takenFd }, options.backlog);
}

/**
 * Let an http server keep account of connections that come to it before it listens. Node begins that account at
 * `listening`; without it such connections would only miss the server's own timeouts, so that nothing fails here.
 */
export function beginHttpAccount(server: HttpServer): void {
  for (const listener of server.listeners('listening')) {
    if (listener.name === 'setupConnectionsTracking') listener.call(server);
  }
}

/**
 * Is this response, the only one of its connection, wholly in the socket's output, with a connection that stays open
 * behind it? Then its unsent bytes can travel. Where Node does not say so, the answer is no and the response drains.
 */
export function responseIsQueued(socket: Socket, response: ServerResponse): boolean {
  const { _last: last, outputSize } = response as unknown as { _last?: boolean; outputSize?: number };
  return (
    response.writableEnded &&
    inside(socket)._httpMessage === response &&
    response.shouldKeepAlive &&
    last === false &&
    outputSize === 0
  );
}
