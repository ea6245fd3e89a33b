/** `luo/testing`: what authors of programs that use luo need in their own tests. */
export { MemoryBackend, type MemoryFailures } from '../backends/memory/index.js';
export { backendContract, type ContractSubject, type MakeSubject } from './backend-contract.js';
export {
  TestEmulator,
  startEmulator,
  type ProgramOptions,
  type ProgramResult,
  type TestEmulatorOptions,
  type TestProgram,
} from './emulator.js';
export { freePort } from './free-port.js';
export { processesOf, type LeftoverProcess, type Leftovers } from './leftovers.js';
export * from './luod.js';
