/** Kernel numbers, names and layouts: pure data, no calls. */
export * from './errno.js';
export * from './linux.js';
export * from './structs.js';
export * from './kexec.js';
export * from './liveupdate.js';
export * from './bpf.js';
export * from './seccomp.js';
