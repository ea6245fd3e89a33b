/** What can be preserved, one file per kind of thing, and what this machine can do about it. */
import type { Describers } from '../ports/index.js';
import { createDeviceDescriber } from './device/index.js';
import { fdDescriber } from './fd/index.js';
import { globalDescriber } from './global/index.js';

export { createDeviceDescriber, type DeviceDescriberOptions } from './device/index.js';
export { createDoctor, type DoctorOptions } from './doctor.js';
export { describeFd, fdDescriber } from './fd/index.js';
export { describeGlobal, globalDescriber, GLOBAL_HOOKS } from './global/index.js';

/** The three describers of this machine, as luod gets them. */
export const describers: Describers = {
  fd: fdDescriber,
  device: createDeviceDescriber(),
  global: globalDescriber,
};
