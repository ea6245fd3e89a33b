export { createKexecMachine } from './machine.js';
export { KernelBackend, createKernelBackend } from './kernel-backend.js';
