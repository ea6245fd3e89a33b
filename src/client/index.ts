/**
 * The library `luo`: a program becomes updatable in a few lines. See docs/client.md for a tutorial.
 *
 * ```ts
 * const luo = await join();
 * const memory = await luo.memory('counter', { sizeBytes: 4096 });
 * await luo.listen(server, { port: 8080 });
 * await luo.ready();
 * ```
 */
export { join } from './join.js';
export { connectLuod, luodSocketPath } from './control.js';
export type { ConnectLuodOptions, LuodConnection, RequestOptions } from './control.js';
export { LuoError } from '../base/errors.js';
export type { ErrorCode } from '../base/errors.js';
export { OwnedFd } from '../sys/index.js';
export type * from './types.js';
