/**
 * Memory outside the V8 heap with a fixed address, for structs that hold pointers and for buffers that the kernel fills.
 * It is never moved and never freed by the collector: `free()` it, or keep it for the life of the process.
 */
import koffi from 'koffi';

/** `sizeBytes` zeroed bytes at `address`, with views on them. After `free()` the views must not be touched. */
export class NativeMemory {
  readonly address: bigint;
  readonly sizeBytes: number;
  readonly view: DataView;
  readonly buffer: Buffer;

  constructor(sizeBytes: number) {
    this.sizeBytes = sizeBytes;
    this.address = BigInt(koffi.alloc('uint8', sizeBytes));
    const bytes = koffi.view(this.address, sizeBytes);
    this.view = new DataView(bytes);
    this.buffer = Buffer.from(bytes);
    this.buffer.fill(0);
  }

  free(): void {
    koffi.free(this.address);
  }
}
