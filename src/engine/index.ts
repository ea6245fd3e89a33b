/** The engine's surface: everything that another folder may use. */
export type * from './types.js';
export { JOURNAL_VERSION } from './types.js';
export { Registry, mayDepend, type Registration, type RegistryView } from './registry.js';
export { peers, plan, toCome, type PlanRequest, type PlanWork } from './plan.js';
export {
  handlesDeath,
  initialState,
  mayBeReady,
  shown,
  participantAt,
  stuckNames,
  type EngineState,
  type MemberState,
} from './state.js';
export { step, type Step } from './machine.js';
export { parseRecord, recover } from './recover.js';
