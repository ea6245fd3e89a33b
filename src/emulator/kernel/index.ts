/** The half of the emulator that answers the trapped calls of programs; how they come under it is not here. */
export { EmulatedKernel, type EmulatedKernelOptions, type KernelInfo, type SessionInfo } from './kernel.js';
export { FAULT_GRAMMAR, FAULT_POINTS, parseFault, type Fault, type FaultPoint } from './faults.js';
export type { LoadedImage, RebootKind } from './image.js';
export { traceJson, traceText, type CallEvent, type NoteEvent, type TraceEvent } from './trace.js';
