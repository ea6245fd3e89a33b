/**
 * What a machine has beyond memory, processors and its root disk, as arguments of QEMU: PCI devices behind each other, and
 * disks. Pure: values in, words out.
 */

/** A device, and what is plugged into it: a root port or a bridge has children. */
export interface PciDevice {
  /** As QEMU names it: `pcie-root-port`, `pcie-pci-bridge`, `edu`, `e1000`, `nvme`. */
  readonly device: string;
  readonly options?: Readonly<Record<string, string | number | boolean>>;
  readonly children?: readonly PciDevice[];
}

export interface Disk {
  /** In the machine it is the block device whose /sys/block/NAME/serial says so; at most 20 characters. */
  readonly serial: string;
  /** File here, raw. */
  readonly path: string;
  readonly writable?: boolean;
}

/** QEMU's device for teaching, which does DMA and interrupts, where a real one would be: behind a bridge, behind a root port. */
export function eduBehindBridge(options: PciDevice['options'] = {}): PciDevice {
  return {
    device: 'pcie-root-port',
    children: [{ device: 'pcie-pci-bridge', children: [{ device: 'edu', options }] }],
  };
}

/** A root port needs a chassis and a slot of its own; these are given here, unless the options have them. */
export function pciArguments(trees: readonly PciDevice[]): string[] {
  const words: string[] = [];
  let count = 0;
  const add = ({ device, options = {}, children = [] }: PciDevice, bus?: string): void => {
    count += 1;
    const id = `bed${count}`;
    const place = device === 'pcie-root-port' ? { chassis: count, slot: count } : {};
    const all = { id, ...(bus === undefined ? {} : { bus }), ...place, ...options };
    const list = Object.entries(all).map(([key, value]) => `${key}=${optionText(value)}`);
    words.push('-device', [device, ...list].join(','));
    for (const child of children) add(child, 'id' in options ? String(options['id']) : id);
  };
  for (const tree of trees) add(tree);
  return words;
}

function optionText(value: string | number | boolean): string {
  if (typeof value === 'boolean') return value ? 'on' : 'off';
  return quoted(String(value));
}

/** A comma ends an option, two are one in its text. */
function quoted(text: string): string {
  return text.replaceAll(',', ',,');
}

/** @throws RangeError a serial that the machine would see cut */
export function diskArguments(disks: readonly Disk[]): string[] {
  return disks.flatMap(({ serial, path, writable = false }, index) => {
    if (!/^[\w.-]{1,20}$/.test(serial)) throw new RangeError(`'${serial}' is no serial of a disk`);
    const drive = `file=${quoted(path)},format=raw,if=none,id=disk${index},readonly=${writable ? 'off' : 'on'}`;
    return ['-drive', drive, '-device', `virtio-blk-pci,drive=disk${index},serial=${serial}`];
  });
}
