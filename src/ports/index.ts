/** The interfaces that the outside implements. Types only: nothing here exists at run time. */
export type * from './backend.js';
export type * from './conformance.js';
export type * from './describers.js';
export type * from './doctor.js';
export type * from './emulator.js';
export type * from './kexec.js';
