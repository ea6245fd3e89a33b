/**
 * DIR/keeper.sock: where a participant that lost luod asks for the decision of its attempt. Nothing else can be done here.
 * The random key of the attempt is the authority; the file's mode and folder keep strangers out.
 * A connection is for one question: it is short in time, and its messages are short.
 */
import { LuoError } from '../base/errors.js';
import { LIMITS } from '../base/limits.js';
import { KEEPER_METHODS, type KeeperParams } from '../protocol/spec.js';
import { closeAll } from '../sys/index.js';
import { Listener, Peer, deadlines } from '../transport/index.js';

const connectionsMax = 256;
const lineBytesMax = 4096;
const served = { decide: KEEPER_METHODS.decide };

/** Listen at `path`. @throws LuoError LUOD_RUNNING another keeper answers there; SysError */
export function listenForDecide(
  path: string,
  decide: (params: KeeperParams<'decide'>) => 'committed' | 'aborted' | null,
): Promise<Listener> {
  return Listener.listen(path, 0o660, {
    connectionsMax,
    onConnection: (takenFd, _credentials, release) => {
      const peer = new Peer(takenFd, {
        limits: { lineBytesMax, messageFdsMax: 0, outputBytesMax: 64 * 1024 },
        serves: served,
        requestsMax: 8,
        onRequest: (_method, params, fds, reply) => {
          closeAll(fds);
          reply.result({ outcome: decide(params as KeeperParams<'decide'>) });
        },
        onClose: () => {
          deadline.cancel();
          release();
        },
      });
      const deadline = deadlines.after(LIMITS.helloMs, () =>
        peer.close(new LuoError('PROTO_TIMEOUT', `a question to the keeper takes at most ${LIMITS.helloMs} ms`)),
      );
    },
  });
}
