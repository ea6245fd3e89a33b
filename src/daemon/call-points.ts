/** The fault points that a call to a member passes, by what is called: `prepare`, `restore.frozen`. */
import type { FaultPoint } from '../base/fault-points.js';
import { faultPoint } from '../sys/index.js';

const SENT_POINTS: Record<string, FaultPoint> = {
  prepare: 'luod.prepare.sent',
  'restore.prepared': 'luod.restore.prepared',
  freeze: 'luod.freeze.sent',
  'restore.frozen': 'luod.restore.frozen',
  go: 'luod.go.sent',
  retire: 'luod.retire.sent',
  finish: 'luod.finish.sent',
};
const ACKED_POINTS: Record<string, FaultPoint> = {
  prepare: 'luod.prepared',
  freeze: 'luod.frozen',
  go: 'luod.go.acked',
};

export function passSent(call: string): void {
  pass(SENT_POINTS[call]);
}

export function passAcked(call: string): void {
  pass(ACKED_POINTS[call]);
}

function pass(point: FaultPoint | undefined): void {
  if (point !== undefined) faultPoint(point);
}
