/** The process that keeps fds and decides. */
export { startKeeper, type KeeperOptions, type RunningKeeper } from './keeper.js';
export { Store, storeLimits, type NewEntry, type StoreLimits } from './store.js';
export { Table, type About, type Held } from './table.js';
export { Children, type ChildCommand, type RunningChild } from './children.js';
export { JOURNAL_ENTRY } from './methods.js';
