export {
  HandoverBackend,
  HandoverSession,
  type HandoverBackendOptions,
  type SessionKeeper,
} from './handover-backend.js';
