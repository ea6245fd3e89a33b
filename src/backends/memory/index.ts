export { MemoryBackend, type MemoryFailures } from './memory-backend.js';
