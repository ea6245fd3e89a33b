/** Messages with file descriptors between processes: connections, peers, listeners, and the keeper as others see it. */
export {
  CLOSING_EVENT,
  LineConnection,
  type ConnectionHandlers,
  type ConnectionLimits,
  type ConnectionOptions,
} from './line-connection.js';
export {
  Peer,
  type Answer,
  type PeerOptions,
  type RequestHandler,
  type RequestOptions,
  type Responder,
} from './peer.js';
export { Listener, type ListenerOptions } from './listener.js';
export { connectPeer, type ConnectOptions } from './connect.js';
export { KeeperClient, type KeeperClientOptions, type KeptEntry, type SpawnedChild } from './keeper-client.js';
export { decideVia, type DecideOptions } from './decide-via.js';
export { Deadlines, deadlines, type Deadline } from './deadlines.js';
