/** What LUO sessions do, errno by errno, as values: for the handover, the emulator and tests. */
export * from './carrier.js';
export * from './file-identity.js';
export * from './ioctl.js';
export * from './memfd.js';
export * from './names.js';
export * from './persistent-map.js';
export * from './profiles.js';
export * from './sessions.js';
export type * from './state.js';
