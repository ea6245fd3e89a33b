export { createDeviceResetter, resetDevice, type DeviceResetterOptions } from './reset.js';
export { createDeviceDescriber, type DeviceDescriberOptions } from './topology.js';
