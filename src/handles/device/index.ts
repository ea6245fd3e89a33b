export { createDeviceDescriber, type DeviceDescriberOptions } from './topology.js';
