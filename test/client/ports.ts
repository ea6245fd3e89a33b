/** The port of a listening socket that a service gave to the fake luod. */
import assert from 'node:assert/strict';
import { getsockname } from '../../src/sys/index.js';
import type { FakeLuod } from './fake-luod.js';

export function listeningPort(luod: FakeLuod, name: string): number {
  const kept = luod.handles.get(`fd:${name}`);
  assert(kept?.fd !== undefined, `'${name}' was registered with its fd`);
  const address = getsockname(kept.fd.fd);
  assert(address.family === 'ipv4' || address.family === 'ipv6');
  return address.port;
}
