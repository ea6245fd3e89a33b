/**
 * The answering side of bench:participants, in a process of its own: `answerers.js participants|echo SOCKET COUNT`, with an
 * IPC channel. Participants join luod under names of their own and answer every call at once; echoers send every line
 * back. Both use the same connection code. Ends when its parent disconnects.
 */
import { unixConnect } from '../../src/sys/index.js';
import { LineConnection, connectPeer } from '../../src/transport/index.js';
import { PROTOCOL_VERSION } from '../../src/protocol/spec.js';

const [kind, socket, countText] = process.argv.slice(2);
const count = Number(countText);
/** Connections that are made at the same time: a listener's backlog is finite. */
const AT_ONCE = 200;

async function participant(index: number): Promise<void> {
  const peer = await connectPeer(socket!, {
    waitMs: 10_000,
    onRequest: (_method, _params, _fds, reply) => reply.result({}),
  });
  await peer.request('hello', {
    protocol: [PROTOCOL_VERSION],
    client: 'bench-participants',
    join: true,
    service: `bench-${index}`,
  });
  await peer.request('register', { handles: [{ kind: 'fd', name: 'state', compatible: 'bench/1' }] });
}

function echoer(): void {
  const connection: LineConnection = new LineConnection(unixConnect(socket!), {
    onMessage: (message) => connection.send(JSON.stringify({ re: (message as { id: number }).id, result: {} })),
    onClose: () => undefined,
  });
}

for (let index = 0; index < count; index += AT_ONCE) {
  const batch = Array.from({ length: Math.min(AT_ONCE, count - index) }, (_, offset) => index + offset);
  if (kind === 'participants') await Promise.all(batch.map(participant));
  else {
    batch.forEach(echoer);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
process.on('disconnect', () => process.exit(0));
process.send!('ready');
